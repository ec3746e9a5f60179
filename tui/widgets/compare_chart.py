"""CompareChart: the compared runs' figures as curves, drawn for the room there is."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content

from tui.comparison import AXIS_WORDS, KINDS, Compared, Series, series_of
from tui.run_columns import MARKS, QUIET, series_style
from tui.scatter import Line, scatter
from tui.widgets.pane import Pane

_HOLLOW = "◇△□◦☆▽"
_SIGNS = {"searched": "✶", "rejected": "✗", "original": "○"}
_STROKES = {"student": "solid", "uniform": "dotted"}


class CompareChart(Pane):
    """A metric of runs against an axis, with what the signs mean above it."""

    runs: Sequence[Compared] = ()
    metric = axis = ""
    is_distance = False

    def show_runs(
        self, runs: Sequence[Compared], metric: str, axis: str, *, is_distance: bool
    ) -> None:
        """Draw these, and again whenever the pane gets another size."""
        self.runs, self.metric, self.axis, self.is_distance = runs, metric, axis, is_distance
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        """Fit the chart."""
        self._draw()

    def _draw(self) -> None:
        size = self.scrollable_content_region.size
        if not size.height or not self.runs:
            return
        title = f"{self.metric}{', distance from 1' if self.is_distance else ''}"
        self.set_title(f"{title} against {self.axis}", AXIS_WORDS[self.axis])
        found = [
            (run, series) for run in self.runs for series in series_of(run, self.metric, self.axis)
        ]
        legend = self._legend(size.width, {series.kind for _, series in found})
        levels = []
        if self.metric in ("score", "lower bound"):
            thresholds = sorted({run.threshold for run in self.runs if run.threshold is not None})
            levels = [(one, f"threshold {one:g}") for one in thresholds]
        chart = scatter(
            [_line(run, series) for run, series in found],
            size.width,
            size.height - len(legend),
            levels=levels,
            is_distance=self.is_distance,
        )
        if not chart:
            chart = [Content(""), Content.styled(self._why_no_chart(), QUIET)]
        self.set_lines([*legend, *chart])

    def _legend(self, width: int, kinds: set[str]) -> list[Content]:
        """Return which sign is which run, and what the strokes mean."""
        parts: list[tuple[str, str]] = []
        for run in self.runs:
            sign = MARKS[run.place % len(MARKS)]
            parts.append((f"{sign} {run.name}  ", series_style(run.place)))
        signs = {"student": "──", "uniform": "┄◇", **_SIGNS}
        told = [f"{signs[kind]} {words}" for kind, words in KINDS.items() if kind in kinds]
        lines = [Content.assemble(*parts)]
        line = ""
        for one in told:
            if line and len(line) + len(one) + 2 > width:
                lines.append(Content.styled(line, QUIET))
                line = ""
            line += ("  " if line else "") + one
        lines.append(Content.styled(line, QUIET))
        return [one if one.cell_length <= width else one.truncate(width) for one in lines if one]

    def _why_no_chart(self) -> str:
        if self.axis == "seconds" and not any(run.seconds for run in self.runs):
            return "No run has been timed yet: that is done at its end. X shows another axis."
        return "Nothing was measured yet. The first student is looked at when a stage is trained."


def _line(run: Compared, series: Series) -> Line:
    sign = {
        "student": MARKS[run.place % len(MARKS)],
        "uniform": _HOLLOW[run.place % len(_HOLLOW)],
    }.get(series.kind, _SIGNS.get(series.kind, "·"))
    return Line(series.points, sign, series_style(run.place), _STROKES.get(series.kind, ""))
