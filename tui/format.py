"""Figures in words and states in signs: durations, bytes, rates, numbers, glyphs. Pure.

Everything comes out with a width that hardly changes, so that columns stand still while figures
move. Every sign has an ASCII twin of the same width, for terminals that know no other.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TypeGuard

NOTHING = "—"

BARS = "▁▂▃▄▅▆▇█"
FULL, EMPTY = "█", "░"
PARTS = "▏▎▍▌▋▊▉"  # of a full cell, from the left


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state is shown: never by colour alone."""

    glyph: str
    ascii: str
    word: str


GLYPHS: dict[str, Mark] = {
    # of a run
    "queued": Mark("○", "o", "queued"),
    "running": Mark("●", "*", "running"),
    "paused": Mark("‖", "=", "paused"),
    "stopping": Mark("◌", "~", "stopping"),
    "done": Mark("✓", "+", "done"),
    "failed": Mark("✗", "x", "failed"),
    "cancelled": Mark("⊘", "/", "cancelled"),
    "lost": Mark("?", "?", "lost"),
    "stuck": Mark("!", "!", "stuck"),
    # of a line in a run's tree
    "waiting": Mark("○", "o", "waiting"),
    "accepted": Mark("✓", "+", "accepted"),
    "rejected": Mark("✗", "x", "rejected"),
    "rolled back": Mark("↶", "<", "rolled back"),
    "retried": Mark("↻", "@", "retried"),
    "split": Mark("÷", "%", "split in two"),
    "skipped": Mark("·", ".", "not needed"),
    "unknown": Mark("¿", "?", "unknown"),
}

_ASCII = str.maketrans(
    {mark.glyph: mark.ascii for mark in GLYPHS.values()}
    | dict(zip(BARS, "_.-:=+*#", strict=True))
    | dict(zip("╵╷╽│┃├└┌┐┘┤┬┴┼┿╎┆", "||||||`++++++++::", strict=True))
    | dict(zip("─━┄╌╴╶", "------", strict=True))
    | dict(zip("╭╮╰╯┏┓┗┛▼▶◀▲▽▷•◆◇■□★▸▾", "++++++++v><^v>**o##*>v", strict=True))
    | dict(zip("△☆◦✶", "^*o*", strict=True))
    | dict(zip(PARTS, "...----", strict=True))
    | {"█": "#", "▓": "#", "▒": "=", "░": ".", "▀": "^"}
    | {"—": "-", "·": ".", "…": "~", "→": ">", "←": "<", "↑": "^", "↓": "v"}
    | {"±": "~", "≥": ">", "≤": "<", "≈": "~", "°": "o", "⟨": "<", "⟩": ">"}
    | {chr(code): "." if code == 0x2800 else ":" for code in range(0x2800, 0x2900)}
)


def glyph(state: str, is_ascii: bool = False) -> str:
    """Return the one-cell sign of a state; that of "unknown" for a word from a newer engine."""
    mark = GLYPHS.get(state, GLYPHS["unknown"])
    return mark.ascii if is_ascii else mark.glyph


def word(state: str) -> str:
    """Return the word of a state; an unknown one is its own word."""
    return GLYPHS[state].word if state in GLYPHS else state


def to_ascii(text: str) -> str:
    """Return `text` in ASCII, as wide as it was: our own signs by their twins, others as ?."""
    if text.isascii():
        return text
    text = text.translate(_ASCII)
    return text if text.isascii() else "".join(map(_plain_letter, text))


def _plain_letter(letter: str) -> str:
    if letter.isascii():
        return letter
    if unicodedata.combining(letter):
        return ""
    base = unicodedata.normalize("NFKD", letter)[0]
    width = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
    return (base if base.isascii() and base.isprintable() else "?").ljust(width, "?")


def duration(seconds: float | None) -> str:
    """Return a time as 0.4s, 45s, 3m20s, 2h05m or 3d04h: five characters at most up to a day."""
    if not _is_figure(seconds):
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def left(seconds: float | None) -> str:
    """Return a time still to go, rounded so that it does not flicker: 20s, 4m, 1h05m."""
    if not _is_figure(seconds):
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))}s"
    if seconds < 3600:
        return f"{round(seconds / 60)}m"
    return duration(60 * round(seconds / 60))


def age(seconds: float | None) -> str:
    """Return how long ago something was, coarsely: 14 s, 3 min, 2 h, 5 d."""
    if not _is_figure(seconds):
        return NOTHING
    whole = int(max(0.0, seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def bytes_(count: float | None, *, is_binary: bool = False) -> str:
    """Return a size with three figures: 412 MB, 1.21 GB.

    Binary, as memory is counted: 22.1 GiB.
    """
    if not _is_figure(count):
        return NOTHING
    base, units = (1024, "B KiB MiB GiB TiB") if is_binary else (1000, "B kB MB GB TB")
    value, names = float(count), units.split()
    for name in names:
        if abs(value) < base * 0.9995 or name == names[-1]:
            return f"{_three(value) if name != 'B' else f'{value:.0f}'} {name}"
        value /= base
    raise AssertionError


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure with so many significant digits: 0.0312, 2.71, 6.10e-05."""
    if not _is_figure(value):
        return str(value) if isinstance(value, float) else NOTHING
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 10 ** max(digits, 5):
        return f"{value:.{digits - 1}e}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def score(value: float | None) -> str:
    """Return a quality score, always four places, so that scores stand in a column."""
    return f"{value:.4f}" if _is_figure(value) else NOTHING


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart: 48 211."""
    return f"{round(value):,}".replace(",", " ") if _is_figure(value) else NOTHING


def rate(per_second: float | None, unit: str = "") -> str:
    """Return how many a second: 2.71/s, 1 240 img/s."""
    if not _is_figure(per_second):
        return NOTHING
    figure = count(per_second) if abs(per_second) >= 1000 else _three(per_second)
    return f"{figure}{' ' + unit if unit else ''}/s"


def percent(fraction: float | None) -> str:
    """Return a share of one as a percentage, three places wide: " 61 %", "100 %".

    Only what is whole is 100 %.
    """
    if not _is_figure(fraction):
        return NOTHING
    whole = 100 if fraction >= 1 else min(99, math.floor(100 * max(0.0, fraction)))
    return f"{whole:3d} %"


def bar(fraction: float | None, width: int) -> str:
    """Return a bar of `width` cells, filled so far to an eighth of a cell.

    It is full only when all is done, and not empty once something is.
    """
    share = min(1.0, max(0.0, fraction)) if _is_figure(fraction) else 0.0
    if width <= 0:
        return ""
    eighths = 8 * width if share >= 1 else min(int(share * 8 * width), 8 * width - 1)
    if share > 0:
        eighths = max(1, eighths)
    full, part = divmod(eighths, 8)
    filled = FULL * full + (PARTS[part - 1] if part else "")
    return filled + EMPTY * (width - len(filled))


def timesteps(values: tuple[float, ...]) -> str:
    """Return the points of a grid: 999, 749, 499, 249."""
    return ", ".join(f"{value:g}" if value.is_integer() else f"{value:.4g}" for value in values)


def printable(text: str) -> str:
    """Return `text` on one line, without anything that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " for one in text).rstrip()


def clipped(text: str, width: int) -> str:
    """Return `text` in at most `width` characters; what is cut off ends in an ellipsis."""
    if len(text) <= width:
        return text
    return text[: width - 1] + "…" if width > 0 else ""


def _is_figure(value: float | None) -> TypeGuard[float]:
    try:
        return value is not None and math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _three(value: float) -> str:
    """Return three significant figures without an exponent."""
    size = abs(value)
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{value:.{places}f}"
