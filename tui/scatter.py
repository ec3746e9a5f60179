"""A chart of a few measured points in characters. Pure.

Lines are dots, points are signs, and ticks stand where something was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from textual.content import Content

from engine.run.fact import Fact
from tui import format as words
from tui.plot import limits_of

_GUTTER = 8  # of the labels at the left
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_QUIET = "$text-muted"
_GROUND = "$text-disabled"


class Line(NamedTuple):
    """Points by rising x, each drawn as `sign`; joined where `stroke` is "solid" or "dotted"."""

    points: tuple[tuple[float, float], ...]
    sign: str
    style: str
    stroke: str = ""


@dataclass(slots=True)
class _Cell:
    dots: int = 0
    sign: str = ""
    style: str = ""


def scatter(
    lines: Sequence[Line],
    width: int,
    height: int,
    *,
    levels: Sequence[tuple[float, str]] = (),
    is_distance: bool = False,
) -> list[Content]:
    """Return the chart in `height` rows; [] where it has no room or nothing to show.

    x is logarithmic. `levels` (value, words) are drawn across. `is_distance` draws 1 - y on a
    logarithmic scale, the best at the top, which tells scores near one apart.
    """
    across, down = width - _GUTTER - 1, height - 2
    points = [point for line in lines for point in line.points if point[0] > 0]
    if across < 10 or down < 3 or not points:
        return []
    heights = [one for _, one in points]
    # a level far below all points would press them into one row; it is left out
    least = min(heights) - max(0.02, 0.6 * (max(heights) - min(heights)))
    levels = [(level, text) for level, text in levels if is_distance or level >= least]
    y = _Scale.of([*heights, *(level for level, _ in levels)], is_distance)
    x_low, x_high = math.log(min(x for x, _ in points)), math.log(max(x for x, _ in points))
    if x_high - x_low < 1e-9:
        x_low, x_high = x_low - 0.7, x_high + 0.7

    def place(point: tuple[float, float]) -> tuple[float, float]:
        share = (math.log(point[0]) - x_low) / (x_high - x_low)
        return 2 + share * (2 * across - 6), (1 - y.height(point[1])) * (4 * down - 1)

    cells = [[_Cell() for _ in range(across)] for _ in range(down)]
    for line in lines:
        placed = [place(point) for point in line.points if point[0] > 0]
        if line.stroke:
            for start, end in pairwise(placed):
                _stroke(cells, start, end, line.style, is_dotted=line.stroke == "dotted")
    for line in lines:
        for point in line.points:
            if point[0] > 0:
                _sign(cells, place(point), line)
    named = {round((1 - y.height(level)) * (down - 1)): text for level, text in levels}
    labels = y.labels(down)
    rows = [_row(cells[row], labels[row], named.get(row)) for row in range(down)]
    ticks = sorted({x for x, _ in points})
    return [*rows, *_axis(ticks, across, lambda x: round(place((x, 1.0))[0] / 2))]


class _Scale(Fact):
    low: float
    high: float
    is_distance: bool

    @classmethod
    def of(cls, values: Sequence[float], is_distance: bool) -> _Scale:
        if is_distance:
            gaps = [max(1e-5, 1 - value) for value in values if value < 1] or [1e-3]
            low = 10 ** math.floor(math.log10(min(gaps)))
            return cls(low, max(max(gaps), 1e-4, 10 * low), True)
        limits = limits_of(values)
        low = limits.low if limits.low > 0 or min(values) < 0.5 else min(values)
        return cls(low, max(limits.high, low + 1e-6), False)

    def height(self, value: float) -> float:
        if self.is_distance:
            gap = min(self.high, max(self.low, 1 - value))
            spread = math.log(self.high) - math.log(self.low)
            return (math.log(self.high) - math.log(gap)) / spread
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def labels(self, rows: int) -> list[str]:
        """Return a label a row, "" for most; each stands at its value's own row."""
        out = [""] * rows
        for value, text in self._marks(max(2, rows // 3)):
            row = round((1 - self.height(value)) * (rows - 1))
            out[row] = out[row] or text
        return out

    def _marks(self, most: int) -> list[tuple[float, str]]:
        if self.is_distance:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            gaps = [part * 10.0**decade for decade in decades for part in (1, 2, 5)]
            gaps = [gap for gap in gaps if self.low * 0.999 <= gap <= self.high * 1.001]
            kept = gaps[:: max(1, -(-len(gaps) // most))]
            return [(1 - gap, f"{1 - gap:.5f}".rstrip("0")) for gap in kept]
        rough = (self.high - self.low) / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(part * unit for part in (1, 2, 5, 10) if part * unit >= rough * 0.999)
        places = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(n * step, f"{n * step:.{places}f}") for n in range(first, last + 1)]


def _stroke(
    cells: list[list[_Cell]],
    start: tuple[float, float],
    end: tuple[float, float],
    style: str,
    *,
    is_dotted: bool,
) -> None:
    steps = max(1, round(max(abs(end[0] - start[0]), abs(end[1] - start[1]))))
    for step in range(steps + 1):
        if is_dotted and step % 4 > 1:
            continue
        share = step / steps
        x = round(start[0] + share * (end[0] - start[0]))
        y = round(start[1] + share * (end[1] - start[1]))
        cell = cells[min(len(cells) - 1, y // 4)][min(len(cells[0]) - 1, x // 2)]
        cell.dots |= _DOTS[y % 4][x % 2]
        cell.style = cell.style or style


def _sign(cells: list[list[_Cell]], place: tuple[float, float], line: Line) -> None:
    row = cells[min(len(cells) - 1, round(place[1]) // 4)]
    column = min(len(row) - 1, round(place[0]) // 2)
    for at in (column, column + 1, column - 1):  # beside one that stands there
        if 0 <= at < len(row) and not row[at].sign:
            row[at].sign, row[at].style = line.sign, line.style
            return


def _row(cells: Sequence[_Cell], label: str, level_words: str | None) -> Content:
    parts: list[tuple[str, str]] = [
        (f"{label:>{_GUTTER}}", _QUIET),
        ("┤" if label else "│", _GROUND),
    ]
    level_words = level_words and f" {level_words} "
    words_at = len(cells) - len(level_words or "") - 1
    for column, cell in enumerate(cells):
        if cell.sign:
            parts.append((cell.sign, cell.style))
        elif cell.dots:
            parts.append((chr(0x2800 + cell.dots), cell.style))
        elif level_words and words_at <= column < words_at + len(level_words):
            parts.append((level_words[column - words_at], _QUIET))
        elif level_words is not None:
            parts.append(("╌", _GROUND))
        else:
            parts.append((" ", ""))
    return Content.assemble(*_joined(parts))


def _joined(parts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for text, style in parts:
        if out and out[-1][1] == style:
            out[-1] = (out[-1][0] + text, style)
        else:
            out.append((text, style))
    return out


def _axis(ticks: Sequence[float], across: int, column_of: Callable[[float], int]) -> list[Content]:
    """Return the line below with a mark at each tick, and the ticks' words where they fit."""
    line, text = ["─"] * across, [" "] * (across + _GUTTER)
    free = -1
    for tick in ticks:
        column = min(across - 1, column_of(tick))
        line[column] = "┬"
        word = tick_words(tick)
        at = min(across - len(word), max(0, column - len(word) // 2))
        if at > free:
            text[at : at + len(word)] = word
            free = at + len(word)
    blank = " " * _GUTTER
    return [
        Content.styled(f"{blank}└{''.join(line)}", _GROUND),
        Content.styled(f"{blank} {''.join(text[:across])}", _QUIET),
    ]


def tick_words(value: float) -> str:
    """Return a place of the x axis in words: 4, 12.5, 0.0034."""
    if value == round(value) and value < 1e5:
        return str(round(value))
    return words.number(value, 3 if value >= 0.01 else 2)
