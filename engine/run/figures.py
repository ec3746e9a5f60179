"""Figures in words, with a width that hardly changes. No MLX; used by telling.py and by viewers."""

from __future__ import annotations

import math
from typing import TypeGuard

NOTHING = "—"


def duration(seconds: float | None) -> str:
    """Return a time as 0.4s, 45s, 3m20s, 2h05m or 3d04h: five characters at most up to a day."""
    if not is_figure(seconds):
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


def bytes_(count: float | None, *, is_binary: bool = False) -> str:
    """Return a size with three figures: 412 MB, 1.21 GB.

    Binary, as memory is counted: 22.1 GiB.
    """
    if not is_figure(count):
        return NOTHING
    base, units = (1024, "B KiB MiB GiB TiB") if is_binary else (1000, "B kB MB GB TB")
    value, names = float(count), units.split()
    for name in names:
        if abs(value) < base * 0.9995 or name == names[-1]:
            return f"{three_figures(value) if name != 'B' else f'{value:.0f}'} {name}"
        value /= base
    raise AssertionError


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure with so many significant digits: 0.0312, 2.71, 6.10e-05."""
    if not is_figure(value):
        return str(value) if isinstance(value, float) else NOTHING
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 10 ** max(digits, 5):
        return f"{value:.{digits - 1}e}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def score(value: float | None) -> str:
    """Return a quality score, always four places, so that scores stand in a column."""
    return f"{value:.4f}" if is_figure(value) else NOTHING


def timesteps(values: tuple[float, ...]) -> str:
    """Return the points of a grid: 999, 749, 499, 249."""
    return ", ".join(f"{value:g}" if value.is_integer() else f"{value:.4g}" for value in values)


def printable(text: str) -> str:
    """Return `text` on one line, without anything that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " for one in text).rstrip()


def is_figure(value: float | None) -> TypeGuard[float]:
    """Return whether there is a finite figure."""
    try:
        return value is not None and math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def three_figures(value: float) -> str:
    """Return three significant figures without an exponent."""
    size = abs(value)
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{value:.{places}f}"
