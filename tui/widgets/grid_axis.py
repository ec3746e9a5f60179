"""The chosen timesteps on the axis of noise: where the student looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual import events
from textual.content import Content

from tui import format as words
from tui.state import RunView
from tui.widgets.pane import Line, Pane

_RANKED = 6
_BEFORE = ("Chosen once the teacher's paths", "are cached.")
_CHOOSING = ("They are being chosen.",)


def _kept(view: RunView) -> tuple[str, ...]:
    kept = f"keeps its {view.original_steps} steps; O tells more."
    return "No student passed: the original", kept


class GridAxis(Pane):
    """The grid in use, drawn from noise (left) to picture (right)."""

    def __init__(self, *, id: str | None = None) -> None:
        """Make it without a grid."""
        super().__init__("Timesteps", id=id)
        self._view = RunView()

    def show_view(self, view: RunView) -> None:
        """Show the newest grid of a run."""
        self._view = view
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        """Fit the axis to the width."""
        self._draw()

    def _draw(self) -> None:
        view = self._view
        width = max(16, self.scrollable_content_region.width or self.content_size.width)
        points, name = grid_of(view)
        if not points:
            self.set_title("Timesteps", "")
            is_choosing = view.plan is not None and view.plan.state == "running"
            waiting = _CHOOSING if is_choosing else _BEFORE
            if view.keeps_original:
                waiting = _kept(view)
            self.set_lines([Content.styled(line, "$text-muted") for line in waiting])
            return
        self.set_title(f"Timesteps · {len(points)}", words.printable(name))
        lines: list[Line] = [*axis_lines(points, width)]
        height = self.scrollable_content_region.height or self.content_size.height
        if view.grid is not None and height > len(lines) + 1:
            lines += ["", *_ranking(view, width)][: height - len(lines)]
        self.set_lines(lines)


def grid_of(view: RunView) -> tuple[tuple[float, ...], str]:
    """Return the timesteps at work and their grid's name: the try's, else the chosen ones.

    When the run is over they are those of the student it ended with.
    """
    stage = view.current_stage
    one = stage.current if stage is not None else None
    if view.is_over:
        tries = [one for stage in view.stages for one in stage.tries]
        one = next((one for one in reversed(tries) if one.state == "accepted"), None)
    if view.keeps_original:  # the chosen ones were those of students that did not pass
        return (), ""
    if one is not None and one.timesteps:
        return _usable(one.timesteps), one.grid_name
    if view.grid is not None:
        return _usable(view.grid.timesteps), view.grid.source
    return (), ""


def axis_lines(points: Sequence[float], width: int) -> list[Line]:
    """Return labels, the axis with its points, and its two ends in words."""
    high = max(*points, 1.0)
    low = min(0.0, *points)

    def at(value: float) -> int:
        share = (high - value) / (high - low)
        return min(width - 1, max(0, round(share * (width - 1))))

    line, labels, end = ["─"] * width, [" "] * width, -2
    for value in sorted(points, reverse=True):
        column = at(value)
        line[column] = "●"
        text = words.number(value, 4) if value != round(value) else f"{value:.0f}"
        start = min(max(0, column - len(text) // 2), max(0, width - len(text)))
        if start > end + 1 and len(text) <= width:
            labels[start : start + len(text)] = text
            end = start + len(text) - 1
    axis = "".join(line)
    left, right = "noise", "picture"
    parts = [(cell, "bold $primary" if "●" in cell else "$text-disabled") for cell in _runs(axis)]
    gap = " " * max(1, width - len(left) - len(right))
    return [
        Content.styled("".join(labels), ""),
        Content.assemble(*parts),
        Content.styled(f"{left}{gap}{right}", "$text-muted"),
    ]


def _runs(axis: str) -> list[str]:
    """Return the axis in pieces of equal signs."""
    pieces: list[str] = []
    for cell in axis:
        if pieces and pieces[-1][-1] == cell:
            pieces[-1] += cell
        else:
            pieces.append(cell)
    return pieces


def _ranking(view: RunView, width: int) -> list[Line]:
    assert view.grid is not None
    out: list[Line] = []
    for rank, one in enumerate(view.grid.ranking[:_RANKED]):
        name = words.printable(one.name)
        room = max(4, width - 9)
        out.append(
            Content.assemble(
                (f"{words.clipped(name, room):{room}}", "bold" if rank == 0 else "$text-muted"),
                (f"{words.score(one.score):>9}", "" if rank == 0 else "$text-muted"),
            )
        )
    return out


def _usable(points: Sequence[float]) -> tuple[float, ...]:
    return tuple(one for one in points if math.isfinite(one) and abs(one) < 1e9)
