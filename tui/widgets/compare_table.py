"""CompareTable: the compared runs' verdicts, a line each, with the best of them said below."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message

from engine.run.fact import Fact
from tui import format as words
from tui.comparison import Compared
from tui.run_columns import MARKS, QUIET, judged, padded, series_style
from tui.widgets.pane import Pane


class _Column(Fact):
    title: str
    width: int
    rank: int  # the highest is left out first
    show: Callable[[Compared], Content | str]
    order: Callable[[Compared], float | None]


def _score(run: Compared) -> Content | str:
    return judged(run.score, run.lower_bound, run.threshold)


def _times(value: float | None) -> str:
    return f"{value:.1f}x" if value is not None else ""


def _negated(value: float | None) -> float | None:
    return None if value is None else -value


_COLUMNS = (
    _Column("STEPS", 6, 1, lambda run: str(run.steps or ""),
            lambda run: _negated(run.steps)),
    _Column("SCORE", 7, 0, _score, lambda run: run.score),
    _Column("BOUND", 6, 3, lambda run: words.score(run.lower_bound), lambda run: run.lower_bound),
    _Column("THRES", 5, 6, lambda run: "" if run.threshold is None else f"{run.threshold:g}",
            lambda run: run.threshold),
    _Column("SPEED", 6, 2, lambda run: _times(run.speedup), lambda run: run.speedup),
    _Column("MS/IMG", 6, 4,
            lambda run: "" if run.seconds is None else words.number(1000 * run.seconds),
            lambda run: _negated(run.seconds)),
    _Column("GAP", 5, 5, lambda run: "" if run.gap_closed is None else f"{run.gap_closed:.0%}",
            lambda run: run.gap_closed),
    _Column("LABELS", 6, 7, lambda run: "" if run.label_accuracy is None else
            f"{run.label_accuracy:.3f}", lambda run: run.label_accuracy),
)  # fmt: skip
_LEAST_NAME = 12


class CompareTable(Pane):
    """The table of Compare."""

    has_cursor: ClassVar[bool] = True

    class Selected(Message):
        """The cursor went to another run."""

    class Opened(Message):
        """Enter was pressed on a run."""

    def __init__(self) -> None:
        """Make it, empty."""
        super().__init__("Table", id="table")
        self._runs: list[Compared] = []
        self.sort = -1  # the column that sorts; -1 as they were marked

    @property
    def run(self) -> Compared | None:
        """The run that the cursor is on."""
        place = self.cursor - 1
        return self._runs[place] if 0 <= place < len(self._runs) else None

    def show_runs(self, runs: Sequence[Compared]) -> None:
        """Show these runs."""
        self._runs = list(runs)
        if self.sort >= 0:
            order = _COLUMNS[self.sort].order

            def key(run: Compared) -> tuple[bool, float]:
                value = order(run)
                return value is None, -(value or 0.0)

            self._runs.sort(key=key)
        self._draw()

    def next_sort(self) -> str:
        """Sort by the next column and return its title."""
        self.sort = self.sort + 1 if self.sort + 1 < len(_COLUMNS) else -1
        self.show_runs(sorted(self._runs, key=lambda run: run.place))
        return "mark" if self.sort < 0 else _COLUMNS[self.sort].title

    def cursor_moved(self) -> None:
        """Keep to the runs, and tell which."""
        if self.cursor < 1:
            self.cursor = 1
        elif self.cursor > len(self._runs) > 0:
            self.cursor = len(self._runs)
        else:
            self.post_message(self.Selected())

    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self.run is not None:
            self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        """Select the run under the mouse."""
        self.cursor = event.y - self.gutter.top + self.scroll_offset.y

    def on_resize(self, event: events.Resize) -> None:
        """Choose the columns for the new width."""
        self._draw()

    def _draw(self) -> None:
        size: Size = self.scrollable_content_region.size
        self.set_lines(table_lines(self._runs, size.width or 60, self.sort))
        if self._runs and self.cursor < 1:
            self.cursor = 1


def table_lines(runs: Sequence[Compared], width: int, sort: int) -> list[Content]:
    """Return titles, a line a run, and what is best among them."""
    columns = list(_COLUMNS)
    longest = max([_LEAST_NAME, *(len(run.name) for run in runs)])
    while len(columns) > 2 and _room(width, columns) < min(longest, 20):
        columns.remove(max(columns, key=lambda column: column.rank))
    name = max(_LEAST_NAME, min(longest, _room(width, columns)))
    titles = [
        f"{one.title + ('▼' if sort >= 0 and one is _COLUMNS[sort] else ''):>{one.width}}"
        for one in columns
    ]
    lines = [Content.styled(f"  {'RUN':<{name}} {' '.join(titles)}", f"bold {QUIET}")]
    for run in runs:
        parts: list[Any] = [(MARKS[run.place % len(MARKS)], series_style(run.place)), " "]
        parts.append(words.clipped(run.name, name).ljust(name))
        if run.problem:
            parts.append((" cannot be read", "$error"))
        else:
            for column in columns:
                cell = column.show(run) or words.NOTHING
                cell = Content.styled(cell, QUIET if cell == words.NOTHING else "") if (
                    isinstance(cell, str)
                ) else cell  # fmt: skip
                parts += [" ", padded(cell, column.width, is_right=True)]
        lines.append(Content.assemble(*parts))
    lines += [Content(""), *(Content.styled(one, QUIET) for one in _best(runs, width))]
    for run in runs:
        lines += [
            Content.styled(one, "$error") for one in textwrap.wrap(run.problem, max(20, width))
        ]
    return lines


def _best(runs: Sequence[Compared], width: int) -> list[str]:
    """Return which run needs the fewest steps at its threshold, and which scores highest."""
    holding = [
        run
        for run in runs
        if run.steps and run.score is not None and run.lower_bound is not None
        and run.threshold is not None and run.lower_bound >= run.threshold
    ]  # fmt: skip
    told = []
    if holding:
        few = min(holding, key=lambda run: (run.steps or 0, -(run.score or 0.0)))
        told.append(f"fewest steps that hold: {few.steps}, {few.name}")
    scored = [run for run in runs if run.score is not None]
    if len(scored) > 1:
        best = max(scored, key=lambda run: run.score or 0.0)
        told.append(f"highest score: {words.score(best.score)} at {best.steps}, {best.name}")
    fast = [run for run in runs if run.speedup is not None]
    if len(fast) > 1:
        best = max(fast, key=lambda run: run.speedup or 0.0)
        told.append(f"fastest by the clock: {_times(best.speedup)}, {best.name}")
    for run in runs:
        if run.is_missed:
            kept = "" if run.score is not None else "; it keeps the original"
            told.append(f"≠ {run.name} missed its target of {run.target_steps} steps{kept}")
    if len({run.threshold for run in runs if run.threshold is not None}) > 1:
        told.append("The thresholds differ: scores compare, verdicts do not.")
    room = max(20, width)
    return [line for one in told for line in textwrap.wrap(one, room, subsequent_indent="  ")]


def _room(width: int, columns: Sequence[_Column]) -> int:
    return width - 2 - sum(column.width + 1 for column in columns)
