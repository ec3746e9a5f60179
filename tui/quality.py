"""The gate's measurements as text: the score in a line, and every try on a chart. Pure.

A score is a mark, its one-sided 95 % lower bound a whisker down or left of it, the threshold a line
across: the gate lets pass what has its whisker above the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content

from engine.run.fact import Fact
from tui import format as words
from tui.plot import Limits, gauge, value_labels
from tui.state import RunView

_BOTTOMS = (0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.92, 0.9, 0.85, 0.8, 0.7, 0.5)
_SIGNS = {True: ("✓", "$success"), False: ("✗", "$error"), None: ("●", "$primary")}


class Mark(Fact):
    """The last word on the quality of one try."""

    label: str  # stage.try
    score: float
    lower: float
    is_accepted: bool | None = None


def marks_of(view: RunView) -> list[Mark]:
    """Return the marks of all tries that were measured, oldest first."""
    marks = []
    for stage in view.stages:
        for one in stage.tries:
            said = one.final or one.select
            if said is not None:
                is_accepted = {"accepted": True, "rejected": False}.get(one.state)
                label = f"{stage.stage}.{one.attempt}"
                marks.append((one.started, Mark(label, said.score, said.lower_bound, is_accepted)))
    return [mark for _, mark in sorted(marks, key=lambda pair: pair[0])]


def limits_for(marks: Sequence[Mark], threshold: float | None) -> Limits:
    """Return round limits up to 1 that leave room below the lowest bound."""
    values = [mark.lower for mark in marks] + ([] if threshold is None else [threshold])
    low = min((value for value in values if 0 <= value <= 1), default=0.0)
    bottom = next((one for one in _BOTTOMS if low >= one + (1 - one) * 0.05), 0.0)
    return Limits(bottom, 1.0)


def quality_words(view: RunView, width: int) -> tuple[Content, str, str]:
    """Return (a gauge of `width` cells, the score, "≥" or "<" the threshold).

    Of the newest try; of a run that has ended, of the last student that passed.
    """
    marks, threshold = marks_of(view), view.threshold
    if not marks:
        text = "no stage was measured" if view.is_over else "after the first stage"
        return Content.styled(words.clipped(text, width), "$text-muted"), "", ""
    accepted = [mark for mark in marks if mark.is_accepted]
    mark = accepted[-1] if view.is_over and accepted else marks[-1]
    row = gauge(mark.score, mark.lower, threshold, width, limits_for(marks, threshold))
    if threshold is None:
        return Content.styled(row, "$primary"), words.score(mark.score), ""
    is_bad = not mark.lower >= threshold
    colour = "$warning" if is_bad else "$success"
    return Content.styled(row, colour), words.score(mark.score), "<" if is_bad else "≥"


def quality_chart(view: RunView, width: int, height: int) -> list[Content]:
    """Return the chart of all tries, `height` rows with labels, a plot of `width` cells beside."""
    marks, threshold = marks_of(view), view.threshold
    if not marks:
        return [Content.styled("quality: measured when a stage has been trained", "$text-muted")]
    limits = limits_for(marks, threshold)
    rows = max(3, height - 3)
    cells = _cells(marks, width, rows, limits, threshold)
    against = "" if threshold is None else f"   ┄ threshold {threshold:g}"
    out = [Content.assemble(("quality", "bold"), (f"   ┴ lower bound{against}", "$text-muted"))]
    for label, row in zip(value_labels(limits, rows), cells, strict=True):
        pieces = [(f"{label:>9} ", "$text-muted"), ("┤" if label else "│", "$text-disabled")]
        out.append(Content.assemble(*pieces, *_joined(row)))
    out.append(Content.assemble(" " * 10, ("╰" + "─" * width, "$text-disabled")))
    out.append(Content.assemble("stage.try  ", (_labels(marks, width), "$text-muted")))
    return out


_Cell = tuple[str, str]


def _columns(marks: Sequence[Mark], width: int) -> list[tuple[int, Mark]]:
    """Return (column, mark) of the marks that fit, the newest at the right."""
    shown = marks[-max(1, width // 4) :]
    room = min(12, max(4, width // len(shown)))
    return [
        (room * place + room // 2, mark)
        for place, mark in enumerate(shown)
        if room * place + room // 2 < width
    ]


def _cells(
    marks: Sequence[Mark], width: int, height: int, limits: Limits, threshold: float | None
) -> list[list[_Cell]]:
    cells: list[list[_Cell]] = [[(" ", "")] * width for _ in range(height)]

    def row_of(value: float) -> int:
        return height - 1 - round(limits.height(value) * (height - 1))

    if threshold is not None and math.isfinite(threshold):
        cells[row_of(threshold)] = [("┄", "$warning")] * width
    for column, mark in _columns(marks, width):
        if not math.isfinite(mark.score):
            continue
        sign, colour = _SIGNS[mark.is_accepted]
        top = row_of(mark.score)
        if math.isfinite(mark.lower):
            bottom = row_of(mark.lower)
            for row in range(top + 1, bottom):
                cells[row][column] = ("│", colour)
            if bottom > top:
                cells[bottom][column] = ("┴", colour)
        cells[top][column] = (sign, f"bold {colour}")
    return cells


def _labels(marks: Sequence[Mark], width: int) -> str:
    line = [" "] * width
    end = -1
    for column, mark in _columns(marks, width):
        start = min(max(0, column - len(mark.label) // 2), max(0, width - len(mark.label)))
        if start > end and len(mark.label) <= width:
            line[start : start + len(mark.label)] = mark.label
            end = start + len(mark.label)
    return "".join(line)


def _joined(row: Sequence[_Cell]) -> list[_Cell]:
    """Return the cells with those of one colour joined."""
    pieces: list[_Cell] = []
    for text, colour in row:
        if pieces and pieces[-1][1] == colour:
            pieces[-1] = (pieces[-1][0] + text, colour)
        else:
            pieces.append((text, colour))
    return pieces
