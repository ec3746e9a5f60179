"""Figures in words and states in signs: durations, bytes, rates, numbers, glyphs. Pure.

Everything comes out with a width that hardly changes, so that columns stand still while figures
move. Every sign has an ASCII twin of the same width, for terminals that know no other.
"""

from __future__ import annotations

import math
import unicodedata

from engine.run.fact import Fact

# a viewer's words.duration and its like
from engine.run.figures import NOTHING as NOTHING
from engine.run.figures import bytes_ as bytes_
from engine.run.figures import duration as duration
from engine.run.figures import is_figure, three_figures
from engine.run.figures import number as number
from engine.run.figures import printable as printable
from engine.run.figures import score as score
from engine.run.figures import timesteps as timesteps

BARS = "▁▂▃▄▅▆▇█"
FULL, EMPTY = "█", "░"
PARTS = "▏▎▍▌▋▊▉"  # of a full cell, from the left


class Mark(Fact):
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
    "missed": Mark("≠", "-", "missed"),  # done, and the target was not reached
    "damaged": Mark("✗", "x", "damaged"),
    "gone": Mark("✗", "x", "gone"),  # its folder
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


def left(seconds: float | None) -> str:
    """Return a time still to go, rounded so that it does not flicker: 20s, 4m, 1h05m."""
    if not is_figure(seconds):
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))}s"
    if seconds < 3600:
        return f"{round(seconds / 60)}m"
    return duration(60 * round(seconds / 60))


def age(seconds: float | None) -> str:
    """Return how long ago something was, coarsely: 14 s, 3 min, 2 h, 5 d."""
    if not is_figure(seconds):
        return NOTHING
    whole = int(max(0.0, seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart: 48 211."""
    return f"{round(value):,}".replace(",", " ") if is_figure(value) else NOTHING


def rate(per_second: float | None, unit: str = "") -> str:
    """Return how many a second: 2.71/s, 1 240 img/s."""
    if not is_figure(per_second):
        return NOTHING
    figure = count(per_second) if abs(per_second) >= 1000 else three_figures(per_second)
    return f"{figure}{' ' + unit if unit else ''}/s"


def percent(fraction: float | None) -> str:
    """Return a share of one as a percentage, three places wide: " 61 %", "100 %".

    Only what is whole is 100 %.
    """
    if not is_figure(fraction):
        return NOTHING
    whole = 100 if fraction >= 1 else min(99, math.floor(100 * max(0.0, fraction)))
    return f"{whole:3d} %"


def bar(fraction: float | None, width: int) -> str:
    """Return a bar of `width` cells, filled so far to an eighth of a cell.

    It is full only when all is done, and not empty once something is.
    """
    share = min(1.0, max(0.0, fraction)) if is_figure(fraction) else 0.0
    if width <= 0:
        return ""
    eighths = 8 * width if share >= 1 else min(int(share * 8 * width), 8 * width - 1)
    if share > 0:
        eighths = max(1, eighths)
    full, part = divmod(eighths, 8)
    filled = FULL * full + (PARTS[part - 1] if part else "")
    return filled + EMPTY * (width - len(filled))


def clipped(text: str, width: int) -> str:
    """Return `text` in at most `width` characters; what is cut off ends in an ellipsis."""
    if len(text) <= width:
        return text
    return text[: width - 1] + "…" if width > 0 else ""
