"""The charts of a run: a line of bars a metric, and the chosen one large where there is room.

Bars are spans of steps that only grow at the right; they are read and drawn at most every two
seconds, and only when there are new steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from textual import events
from textual.content import Content

from tui import format as words
from tui.follow import Follower
from tui.plot import (
    Limits,
    bars,
    braille,
    columns_of,
    limits_of,
    span_of,
    step_axis,
    value_labels,
    widened,
)
from tui.quality import quality_chart, quality_words
from tui.state import RunView
from tui.widgets.pane import Line, Pane

QUALITY = "quality"
_NAMES = {
    "loss": "loss",
    "gradient_norm": "grad norm",
    "learning_rate": "lr",
    "images_per_second": "images/s",
}
_MOST = 8
_LABEL, _VALUE = 10, 9
_LARGE_ROWS = 8  # what the large chart needs below the lines
_GROUND = "$text-disabled"


@dataclass(slots=True)
class _Metric:
    """A metric as it is drawn."""

    name: str
    is_log: bool = False
    limits: Limits | None = None
    large_limits: Limits | None = None
    columns: list[float | None] = field(default_factory=list)
    large: list[float | None] = field(default_factory=list)
    span: tuple[int, int] = (0, 1)  # first and last step of the large chart
    last: float | None = None
    trend: str = " "

    @property
    def label(self) -> str:
        return _NAMES.get(self.name, words.printable(self.name.replace("_", " ")))


class Charts(Pane):
    """All metrics of a run."""

    def __init__(self, *, id: str | None = None, is_plain: bool = False) -> None:
        """Make charts without a run; `is_plain` leaves the bars out."""
        super().__init__("Metrics", id=id)
        self._metrics = {name: _Metric(name, is_log=name == "loss") for name in _NAMES}
        self._metrics[QUALITY] = _Metric(QUALITY)
        self._chosen = "loss"
        self._is_plain = is_plain
        self._view = RunView()
        self._follower: Follower | None = None
        self.is_frozen = False
        self._steps: int | None = None  # how many steps the window has; None: all
        self._end: int | None = None  # its last step; None: the newest
        self._is_stage_only = False
        self._extra: list[Line] = []  # lines of other panes that are folded in here

    # What a screen says

    def show_run(self, follower: Follower, view: RunView) -> None:
        """Read what is drawn, and draw it."""
        if self._follower is not follower:
            self._follower, self.is_frozen = follower, False
            self._steps = self._end = None
            for metric in self._metrics.values():
                metric.limits = metric.large_limits = None
        if self.is_frozen:
            return
        self._view = view
        self._read()
        self._draw()

    def set_extra(self, lines: Sequence[Line]) -> None:
        """Show lines of a pane that has no room of its own."""
        if list(lines) != self._extra:
            self._extra = list(lines)
            self._draw()

    @property
    def chosen(self) -> str:
        """The metric that keys are about."""
        return self._chosen

    # Keys

    def action_move_down(self) -> None:
        """Choose the next metric."""
        self._choose(1)

    def action_move_up(self) -> None:
        """Choose the metric before."""
        self._choose(-1)

    def action_move_top(self) -> None:
        """Choose the first metric."""
        self._choose(-len(self._metrics))

    def action_move_bottom(self) -> None:
        """Choose the last metric."""
        self._choose(len(self._metrics))

    def action_move_left(self) -> None:
        """Look at earlier steps."""
        self._pan(-1)

    def action_move_right(self) -> None:
        """Look at later steps."""
        self._pan(1)

    def next_metric(self) -> None:
        """Choose the next metric, the first after the last."""
        names = list(self._metrics)
        self._chosen = names[(names.index(self._chosen) + 1) % len(names)]
        self.redraw()

    def toggle_log(self) -> bool:
        """Draw the chosen metric on a logarithmic height, and back; returns which."""
        metric = self._metrics[self._chosen]
        metric.is_log = not metric.is_log
        metric.limits = metric.large_limits = None
        self.redraw()
        return metric.is_log

    def toggle_stage(self) -> bool:
        """Show the steps of the current stage alone, and back; returns which."""
        self._is_stage_only = not self._is_stage_only
        self._steps = self._end = None
        self.redraw()
        return self._is_stage_only

    def zoom(self, factor: float | None) -> None:
        """Show fewer (factor below one) or more steps, all where it is None."""
        first, last = self._whole()
        if factor is None:
            self._steps = self._end = None
        else:
            steps = round((self._steps or last - first + 1) * factor)
            self._steps = max(8, steps) if steps < last - first + 1 else None
            self._end = self._end if self._steps is not None else None
        self.redraw()

    def toggle_follow(self) -> bool:
        """Freeze the charts, or let them go on; returns whether they are frozen."""
        self.is_frozen = not self.is_frozen
        self.redraw()
        return self.is_frozen

    def redraw(self) -> None:
        """Read and draw again, frozen or not: the person asked for it."""
        self._read()
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        """Fit the bars to the width."""
        self.redraw()

    def _choose(self, by: int) -> None:
        names = list(self._metrics)
        index = names.index(self._chosen) + by
        self._chosen = names[min(len(names) - 1, max(0, index))]
        self.redraw()

    def _pan(self, direction: int) -> None:
        if self._steps is None:
            return
        first, last = self._whole()
        end = (self._end if self._end is not None else last) + direction * max(1, self._steps // 4)
        end = max(first + self._steps - 1, end)
        self._end = end if end < last else None
        self.redraw()

    # Reading

    def _whole(self) -> tuple[int, int]:
        """Return the first and last step there is to show."""
        known = self._follower.last_values() if self._follower else {}
        last = max((step for name, (step, _) in known.items() if name in self._metrics), default=0)
        first = 0
        if self._is_stage_only:
            first = _stage_start(self._view, last)
        return first, last

    def _window(self) -> tuple[int | None, int | None]:
        first, last = self._whole()
        if self._steps is None:
            return (first, None) if self._is_stage_only else (None, None)
        end = self._end if self._end is not None else last
        return max(first, end - self._steps + 1), end

    def _read(self) -> None:
        follower = self._follower
        if follower is None:
            return
        for name in follower.metric_names()[:_MOST]:
            self._metrics.setdefault(name, _Metric(name))
        if list(self._metrics)[-1] != QUALITY:
            self._metrics[QUALITY] = self._metrics.pop(QUALITY)
        first, last = self._window()
        values = follower.last_values()
        for metric in self._metrics.values():
            if metric.name == QUALITY:
                continue
            metric.last = values[metric.name][1] if metric.name in values else None
            if not self._is_plain:
                self._read_bars(follower, metric, first, last)
            if metric.name == self._chosen and self._is_large:
                self._read_large(follower, metric, first, last)

    def _read_bars(
        self, follower: Follower, metric: _Metric, first: int | None, last: int | None
    ) -> None:
        width = self._bar_width
        points = follower.points(metric.name, width, first, last)
        columns = columns_of(points, width) if points else []
        metric.columns = widened(columns, width, is_whole=self._view.is_over)
        means = [point.mean for point in points]
        metric.trend = _trend(means)
        metric.limits = limits_of(means, metric.limits, is_log=metric.is_log)

    def _read_large(
        self, follower: Follower, metric: _Metric, first: int | None, last: int | None
    ) -> None:
        count = 2 * self._plot_width
        points = follower.points(metric.name, count, first, last)
        if not points:
            metric.large, metric.span = [], (0, 1)
            return
        columns = columns_of(points, count)
        metric.large = widened(columns, count, is_whole=self._view.is_over)
        start, span = points[0].first, span_of(points)
        used = (points[-1].first - start) // span + 1
        drawn = count if self._view.is_over else used * (count // used)
        metric.span = (start, start + round(span * used * count / drawn))
        means = [point.mean for point in points]
        metric.large_limits = limits_of(means, metric.large_limits, is_log=metric.is_log)

    # Drawing

    @property
    def _width(self) -> int:
        return max(30, self.scrollable_content_region.width or self.content_size.width)

    @property
    def _height(self) -> int:
        return self.scrollable_content_region.height or self.content_size.height

    @property
    def _bar_width(self) -> int:
        return max(8, self._width - _LABEL - _VALUE - 4)

    @property
    def _plot_width(self) -> int:
        return max(10, self._width - 11)

    @property
    def _is_large(self) -> bool:
        return self._height >= len(self._metrics) + len(self._extra) + _LARGE_ROWS + 1

    def _draw(self) -> None:
        self._entitle()
        out = [
            self._quality_line() if metric.name == QUALITY else self._line(metric)
            for metric in self._metrics.values()
        ]
        if self._extra:
            gap = self._height - len(out) - len(self._extra)
            out += [""] * min(1, max(0, gap))
            out += self._extra
        if self._is_large:
            out.append("")
            out += self._large_chart(self._height - len(out))
        self.set_lines(out)

    def _entitle(self) -> None:
        metric = self._metrics[self._chosen]
        parts = ["frozen, f goes on"] if self.is_frozen else []
        if self._steps is not None:
            first, last = self._window()
            parts.append(f"steps {words.count(first)} to {words.count(last)}")
        elif self._is_stage_only:
            parts.append("this stage")
        if metric.is_log:
            parts.append(f"{metric.label} log")
        self.set_title("Metrics", " · ".join(parts))

    def _line(self, metric: _Metric) -> Line:
        is_chosen = metric.name == self._chosen
        figure = words.number(metric.last)
        if metric.columns and metric.limits is not None:
            (row,) = bars(metric.columns, 1, metric.limits)
        elif self._is_plain:
            row = ""
        else:
            row = "waiting for step 1" if metric.name == "loss" else ""
            if self._view.is_over:
                row = self._why_no_loss() if metric.name == "loss" else ""
        width = self._bar_width
        row = words.clipped(row, width + _VALUE - len(figure))  # words may go on before the figure
        value = _VALUE - max(0, len(row) - width)
        is_drawn = bool(metric.columns)
        return Content.assemble(
            ("▸" if is_chosen else " ", "bold $accent"),
            (f"{words.clipped(metric.label, _LABEL - 1):{_LABEL}}", "bold" if is_chosen else ""),
            (f"{row:{width}}", "$primary" if is_drawn else "$text-muted"),
            (f" {figure:>{value}}", "bold"),
            (f" {metric.trend}", "$text-muted"),
        )

    def _why_no_loss(self) -> str:
        is_damaged = self._follower is not None and bool(self._follower.snapshot.damage)
        return "damaged: it cannot be read" if is_damaged else "no steps were trained"

    def _quality_line(self) -> Line:
        is_chosen = self._chosen == QUALITY
        row, figure, sign = quality_words(self._view, self._bar_width)
        if not figure:  # words may stand in its place too
            row, _, _ = quality_words(self._view, self._bar_width + 1 + _VALUE)
        return Content.assemble(
            ("▸" if is_chosen else " ", "bold $accent"),
            (f"{QUALITY:{_LABEL}}", "bold" if is_chosen else ""),
            row,
            (f" {figure:>{_VALUE}}" if figure else "", "bold"),
            (f" {sign}", "$error" if sign == "<" else "$success"),
        )

    def _large_chart(self, height: int) -> list[Line]:
        metric = self._metrics[self._chosen]
        if self._chosen == QUALITY:
            return [*quality_chart(self._view, self._plot_width, height)]
        if not metric.large or metric.large_limits is None:
            return [Content.styled(f"{metric.label}: waiting for step 1", "$text-muted")]
        plot_height = max(3, height - 3)
        rows = braille(metric.large, plot_height, metric.large_limits)
        labels = value_labels(metric.large_limits, plot_height)
        width = self._plot_width
        axis, steps = step_axis(*metric.span, width)
        scale = "logarithmic" if metric.is_log else "linear"
        out: list[Line] = [Content.styled(f"{metric.label}, {scale}", "bold")]
        for label, row in zip(labels, rows, strict=True):
            out.append(
                Content.assemble(
                    (f"{label:>9} ", "$text-muted"),
                    ("┤" if label else "│", _GROUND),
                    (row, "$primary"),
                )
            )
        out.append(Content.assemble(" " * 10, ("╰" + axis, _GROUND)))
        out.append(Content.assemble(" " * 11, (steps, "$text-muted")))
        return out


def _trend(means: Sequence[float]) -> str:
    """Return an arrow where the newest span is away from the ones before it."""
    known = [one for one in means if math.isfinite(one)]
    if len(known) < 4:
        return " "
    newest, before = known[-1], sum(known[-5:-1]) / len(known[-5:-1])
    if abs(newest - before) <= 0.05 * max(abs(before), 1e-300):
        return " "
    return "↓" if newest < before else "↑"


def _stage_start(view: RunView, last: int) -> int:
    """Return the first step of the try at work."""
    stage = view.current_stage
    one = stage.current if stage is not None else None
    if one is None or one.train is None:
        return 0
    done = one.train.done if one.train.state != "done" else one.iterations
    return max(0, last - min(done, last) + 1)
