"""Charts out of text cells. Pure: points in, rows of characters out.

A bar is a span of steps that the journal sums up: while a run grows only the newest bar changes.
Limits are round and hold until they are exceeded or hardly used, for every new limit would draw
every bar again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from engine.run.fact import Fact
from engine.run.metrics import MetricPoint
from tui import format as words
from tui.format import BARS

_LEAST_USED = 0.4
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # braille, by row and column
NOT_FINITE = "!"


class Limits(Fact):
    """The lowest and highest value of a chart."""

    low: float
    high: float
    is_log: bool = False

    def height(self, value: float) -> float:
        """Return how high a value stands, from 0 to 1."""
        return self.heights([value])[0]

    def heights(self, values: Iterable[float]) -> list[float]:
        """Return how high each value stands, from 0 to 1."""
        low, high = self.low, self.high
        if self.is_log:
            values = [math.log10(max(value, low)) for value in values]
            low, high = math.log10(low), math.log10(high)
        spread = high - low
        return [min(1.0, max(0.0, (value - low) / spread)) for value in values]

    def value(self, height: float) -> float:
        """Return the value that stands so high."""
        if self.is_log:
            return self.low * (self.high / self.low) ** height
        return self.low + (self.high - self.low) * height


def limits_of(
    values: Iterable[float], before: Limits | None = None, *, is_log: bool = False
) -> Limits:
    """Return round limits around the values; those of `before` as long as they serve."""
    finite = [value for value in values if math.isfinite(value) and abs(value) < 1e300]
    if is_log:
        finite = [value for value in finite if value > 1e-300]
        if not finite:
            return before if before is not None and before.is_log else Limits(0.1, 1.0, True)
    if not finite:
        return before if before is not None and not before.is_log else Limits(0.0, 1.0)
    low, high = min(finite), max(finite)
    if before is not None and before.is_log == is_log and before.low <= low and high <= before.high:
        used = before.height(high) - before.height(low)
        if used >= _LEAST_USED or (len(finite) < 2 and used >= 0):
            return before
    return _log_limits(low, high) if is_log else _linear_limits(low, high)


def _log_limits(low: float, high: float) -> Limits:
    bottom = 10.0 ** math.floor(math.log10(low) + 1e-9)
    top = 10.0 ** math.ceil(math.log10(high) - 1e-9)
    if top / bottom <= 1.01:
        top = bottom * 10
    if top / bottom < 15:  # one decade: nearer round limits use it better
        bottom = max(one for one in (bottom, 2 * bottom, 5 * bottom) if one <= low * 1.0001)
        top = min(one for one in (top / 5, top / 2, top) if one >= high * 0.9999)
        if top / bottom < 1.5:
            top = bottom * 2
    return Limits(bottom, top, True)


def _linear_limits(low: float, high: float) -> Limits:
    if 0 <= low < 0.5 * high:
        low = 0.0
    spread = high - low
    if spread <= abs(high) * 1e-9:
        spread = abs(high) * 0.1 or 1.0
    step = _round_step(spread / 4)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Limits(bottom, top if top > bottom else bottom + step)


def _round_step(rough: float) -> float:
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)


def span_of(points: Sequence[MetricPoint]) -> int:
    """Return how many steps a bar stands for."""
    return points[0].last - points[0].first + 1 if points else 1


def columns_of(points: Sequence[MetricPoint], count: int) -> list[float | None]:
    """Return each column's value, None past the newest; the first point is at the left.

    A metric that is told every so many steps holds until it is told again.
    """
    columns: list[float | None] = [None] * count
    span, at, last = span_of(points), 0, None
    for point in points:
        column = (point.first - points[0].first) // span
        if not at <= column < count:
            continue
        columns[at:column] = [last] * (column - at)
        columns[column] = last = point.mean
        at = column + 1
    return columns


def widened(
    columns: Sequence[float | None], width: int, *, is_whole: bool = False
) -> list[float | None]:
    """Return the columns drawn wider where they leave room.

    By whole factors, so that they seldom move while a run grows; to all of the width for one that
    has ended (`is_whole`).
    """
    used = max((place + 1 for place, one in enumerate(columns) if one is not None), default=0)
    if not 0 < used <= width:
        return list(columns[:width])
    if is_whole:
        return [columns[place * used // width] for place in range(width)]
    factor = width // used
    wide = [columns[place // factor] for place in range(used * factor)]
    return wide + [None] * (width - len(wide))


def bars(columns: Sequence[float | None], height: int, limits: Limits) -> list[str]:
    """Return `height` rows of bars, the top one first."""
    rows = [[" "] * len(columns) for _ in range(height)]
    finite: list[tuple[int, float]] = []
    for at, value in enumerate(columns):
        if value is not None and math.isfinite(value):
            finite.append((at, value))
        elif value is not None:
            rows[-1][at] = NOT_FINITE
    for (at, _), share in zip(finite, limits.heights(value for _, value in finite), strict=True):
        full, part = divmod(max(1, round(share * 8 * height)), 8)
        for row in range(full):
            rows[height - 1 - row][at] = BARS[-1]
        if part:
            rows[height - 1 - full][at] = BARS[part - 1]
    return ["".join(row) for row in rows]


def braille(columns: Sequence[float | None], height: int, limits: Limits) -> list[str]:
    """Return `height` rows of a line in dots, two columns a cell."""
    width = (len(columns) + 1) // 2
    cells = [[0] * width for _ in range(height)]
    last: int | None = None
    for column, value in enumerate(columns):
        if value is None or not math.isfinite(value):
            last = None
            continue
        level = round(limits.height(value) * (4 * height - 1))
        # the line is drawn whole: from beside the last dot up or down to this one
        start = level if last is None else last + (level > last) - (level < last)
        for one in range(min(start, level), max(start, level) + 1):
            row = 4 * height - 1 - one
            cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
        last = level
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in cells]


def value_labels(limits: Limits, height: int) -> list[str]:
    """Return a label a row, "" for most; the top one first."""
    count = 2 if height < 5 else 3 if height < 9 else 5
    labels = [""] * height
    for index in range(count):
        share = index / (count - 1)
        row = round((1 - share) * (height - 1))
        labels[row] = words.number(limits.value(share))
    return labels


def step_axis(first: int, last: int, width: int) -> tuple[str, str]:
    """Return the axis and its labels for the steps `first` to `last` over `width` cells."""
    if width < 12:
        return "─" * width, ""
    ticks = max(2, min(6, width // 14))
    line, labels = ["─"] * width, [" "] * width
    end = -2
    for index in range(ticks):
        column = round(index * (width - 1) / (ticks - 1))
        step = round(first + (last - first) * index / (ticks - 1))
        text = words.count(step)
        start = min(max(0, column - len(text) // 2), width - len(text))
        line[column] = "┬"
        if start > end + 1:
            labels[start : start + len(text)] = text
            end = start + len(text)
    return "".join(line), "".join(labels)


def gauge(
    score: float | None,
    lower: float | None,
    threshold: float | None,
    width: int,
    limits: Limits,
) -> str:
    """Return a score on a line, its lower bound as a whisker, the threshold as a mark."""

    def at(value: float) -> int:
        return min(width - 1, max(0, round(limits.height(value) * (width - 1))))

    cells = ["─"] * width
    if threshold is not None and math.isfinite(threshold):
        cells[at(threshold)] = "┼"
    if score is not None and math.isfinite(score):
        if lower is not None and math.isfinite(lower):
            for column in range(at(lower), at(score)):
                cells[column] = "━"
            if threshold is not None and at(lower) <= at(threshold) < at(score):
                cells[at(threshold)] = "┿"
        cells[at(score)] = "●"
    return "".join(cells)
