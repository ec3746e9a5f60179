"""The Compare screen: marked runs, quality against steps, their verdicts, before and after."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from engine.run import RunFolder, RunState
from engine.run.fact import changed
from tui.comparison import AXES, METRICS, Compared, read_compared
from tui.format import clipped
from tui.keys import KEYS, bindings_for
from tui.listing import mark_of
from tui.run_columns import MARKS, QUIET, series_style
from tui.screens.base import DiffoptScreen
from tui.widgets.compare_chart import CompareChart
from tui.widgets.compare_table import CompareTable
from tui.widgets.pane import Pane
from tui.widgets.samples import SamplesPane, open_on_desktop

READ_SECONDS = 5.0
_OVER = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)
EMPTY = (
    "Nothing is marked.",
    "",
    "1  lists the runs; space marks one, and again takes the mark away.",
    "Marked runs stand side by side here: quality against steps, verdicts,",
    "samples.",
)
TABS = ("chart", "table", "samples")
_NEED_RUNS = {key.action for key in KEYS if "compare" in key.screens} - {
    "next_pane", "previous_pane", "reload", "pane_right",
}  # fmt: skip
_FRAME = 4  # of a Pick, beside its lines: the border and a scrollbar
_LEAST_VALUE = 10  # cells for a value to stand beside others


class CompareScreen(DiffoptScreen):
    """Compare."""

    NAME = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("compare")]
    DEFAULT_CSS = """
    CompareScreen #top { height: 3fr; }
    CompareScreen #chart { width: 3fr; overflow: hidden; }
    CompareScreen #table { width: 2fr; }
    CompareScreen #samples { height: 2fr; }
    CompareScreen.-narrow .-away { display: none; }
    """

    def __init__(self) -> None:
        """Make it; marked runs are read when it is shown."""
        super().__init__()
        self.metric, self.axis, self.is_distance = METRICS[0], AXES[0], False
        self.runs: list[Compared] = []
        self._marks: dict[Path, tuple[Any, ...]] = {}
        self._known: dict[Path, Compared] = {}
        self._tab = TABS[0]

    def compose_body(self) -> ComposeResult:
        """Yield chart, table and samples."""
        yield Pane("Compare", EMPTY, id="empty")
        with Horizontal(id="top"):
            yield CompareChart("Quality", id="chart")
            yield CompareTable()
        yield SamplesPane("Samples", is_by_time=False)

    def on_mount(self) -> None:
        """Read now and then what changed."""
        kept = self.diffopt.preferences.recall("compare")
        self.metric = kept["metric"] if kept.get("metric") in METRICS else METRICS[0]
        self.axis = kept["axis"] if kept.get("axis") in AXES else AXES[0]
        self.is_distance = kept.get("is_distance") is True
        self.every(READ_SECONDS, self._read)
        self._show()

    def on_shown(self) -> None:
        """Read what is marked by now."""
        self._read()

    # Reading

    @work(exclusive=True, group="compare")
    async def _read(self) -> None:
        marked = self.diffopt.marked.places()
        for path in marked:
            mark = mark_of(path)
            known = self._known.get(path)
            # whoever dies writes nothing: only what is over stays as it was read
            if known is None or known.state not in _OVER or self._marks.get(path) != mark:
                self._known[path] = await asyncio.to_thread(read_compared, path, 0)
                self._marks[path] = mark  # of before: what was written meanwhile is read next time
        runs = [changed(self._known[path], place=place) for path, place in marked.items()]
        if runs != self.runs or not runs:
            is_other = [run.path for run in runs] != [run.path for run in self.runs]
            self.runs = runs
            self._show()
            if is_other:
                self.on_compare_table_selected()

    # Showing

    def _show(self) -> None:
        has_runs = bool(self.runs)
        was_empty = self.query_one("#empty").display
        self.query_one("#empty").display = not has_runs
        self.query_one("#top").display = has_runs
        if not has_runs:
            self.query_one("#samples").display = False
            is_waiting = bool(self.diffopt.marked)
            self.query_one("#empty", Pane).set_lines(["reading…"] if is_waiting else EMPTY)
            self.set_header("" if is_waiting else "no run is marked")
            self.query_one("#empty").focus()
            return
        count = len(self.runs)
        self.set_header(
            f"{count} run{'s' if count > 1 else ''}",
            Content.styled(f"{self.metric} against {self.axis}", QUIET),
        )
        self._place_tabs()
        if was_empty:
            self.query_one("#chart" if not self.is_narrow else f"#{self._tab}").focus()
        self.query_one(CompareTable).show_runs(self.runs)
        self._show_chart()
        self._show_samples()
        self.refresh_bindings()

    def _show_chart(self) -> None:
        chart = self.query_one(CompareChart)
        chart.show_runs(self.runs, self.metric, self.axis, is_distance=self.is_distance)

    def _show_samples(self) -> None:
        pane = self.query_one(SamplesPane)
        found = [run for run in self.runs if run.sample is not None]
        if not found:
            pane.show(RunFolder(self.runs[0].path), ())
            return
        samples = tuple(
            changed(
                run.sample,
                path=str(run.path / run.sample.path),
                title=run.name,
                original_steps=run.original_steps,
            )
            for run in found
            if run.sample is not None
        )
        pane.show(RunFolder(found[0].path), samples)

    # Layout

    def on_resize(self, event: events.Resize) -> None:
        """Fit the panes."""
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        if self.runs:
            self._place_tabs()

    def _place_tabs(self) -> None:
        for name in TABS:
            pane = self.query_one(f"#{name}", Pane)
            is_away = self.is_narrow and name != self._tab
            pane.set_class(is_away, "-away")
            pane.display = not is_away
            pane.heading = _tab_strip(name) if self.is_narrow else None
        self.query_one("#top").display = not self.is_narrow or self._tab != "samples"

    def action_next_tab(self) -> None:
        """Show the next pane in the shared place."""
        self._turn(1)

    def action_previous_tab(self) -> None:
        """Show the pane before in the shared place."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        if not self.runs:
            return
        if not self.is_narrow:
            self.focus_next() if by > 0 else self.focus_previous()
            return
        self._tab = TABS[(TABS.index(self._tab) + by) % len(TABS)]
        self._place_tabs()
        self.query_one(f"#{self._tab}").focus()

    def action_next_pane(self) -> None:
        """Focus the next pane; the next tab where there is one place."""
        if self.is_narrow:
            self._turn(1)
        else:
            super().action_next_pane()

    def action_previous_pane(self) -> None:
        """Focus the pane before; the tab before where there is one place."""
        if self.is_narrow:
            self._turn(-1)
        else:
            super().action_previous_pane()

    # Keys

    def why_not(self, action: str) -> str | None:
        """Return why an action cannot be done: all but a few need marked runs."""
        if self.runs or action not in _NEED_RUNS:
            return None
        if self.diffopt.marked:
            return "The marked runs are being read."
        return "Nothing is marked. 1 lists the runs; space there marks one."

    def why_not_open(self, pane: Widget) -> str | None:
        """Return why a pane has nothing to open."""
        return self.why_not("zoom")

    def action_metric(self) -> None:
        """Chart the next metric."""
        self.metric = METRICS[(METRICS.index(self.metric) + 1) % len(METRICS)]
        self._remember()
        self._show()

    def action_x_axis(self) -> None:
        """Count something else across."""
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]
        self._remember()
        self._show()

    def action_log_y(self) -> None:
        """Show the distance from 1 on a logarithmic scale, and back."""
        self.is_distance = not self.is_distance
        self._remember()
        self._show_chart()

    def _remember(self) -> None:
        self.diffopt.preferences.remember(
            "compare", metric=self.metric, axis=self.axis, is_distance=self.is_distance
        )

    def action_sort(self) -> None:
        """Sort the table by the next column."""
        self.query_one(CompareTable).next_sort()

    def action_reload(self) -> None:
        """Read the marked runs again."""
        self._marks.clear()
        self._read()

    def action_image_mode(self) -> None:
        """Draw pictures another way."""
        self.query_one(SamplesPane).action_image_mode()

    def action_blink(self) -> None:
        """Show undistilled and student in turn."""
        self.query_one(SamplesPane).action_blink()

    def action_open_file(self) -> None:
        """Tell and copy the selected run's report, and open it where there is a desktop."""
        run = self.query_one(CompareTable).run or self.runs[0]
        if run.report is None:
            self.diffopt.tell(f"{run.name} has no report: it is written at the run's end.")
            return
        self.diffopt.copy_to_clipboard(str(run.report))
        done = "opened" if open_on_desktop(run.report) else "copied"
        self.diffopt.tell(f"{run.report} {done}", kind=f"open {run.report}")

    def on_compare_table_selected(self) -> None:
        """Show the selected run's samples."""
        run = self.query_one(CompareTable).run
        found = [one.path for one in self.runs if one.sample is not None]
        if run is not None and run.path in found:
            self.query_one(SamplesPane).choose(found.index(run.path))

    def on_compare_table_opened(self) -> None:
        """Show the selected run on Live."""
        run = self.query_one(CompareTable).run
        if run is not None and not run.problem:
            self.diffopt.open_run(RunFolder(run.path))

    @work(exclusive=True, group="export")
    async def action_export(self) -> None:
        """Write every point as CSV, and the chart as PNG."""
        from tui.compare_export import export

        self.diffopt.tell("writing CSV and PNG…", kind="export")
        try:
            paths = await asyncio.to_thread(
                export, self.diffopt.runs_dir, self.runs, self.metric, self.axis
            )
        except OSError as error:
            self.diffopt.tell(f"Nothing was exported: {error}", "error")
            return
        self.diffopt.copy_to_clipboard(str(paths["csv"]))
        self.diffopt.tell(f"{paths['csv']} and {paths['png'].name} are written")

    @work(exclusive=True, group="ask")
    async def action_diff(self) -> None:
        """Show the settings that are not the same in all marked runs."""
        from tui.asking import Pick
        from tui.comparison import differences

        if len(self.runs) < 2:
            self.diffopt.tell("Mark two runs at least; one differs from nothing.")
            return
        rows = await asyncio.to_thread(differences, self.runs)
        if not rows:
            self.diffopt.tell("All marked runs have the same settings.")
            return
        most = self.app.size.width * 96 // 100  # as wide as a Pick gets
        lines = _diff_lines(self.runs, rows, most - _FRAME)
        width = max(min(76, most), max(line.cell_length for line in lines) + _FRAME)
        title = "What differs in the settings"
        await self.app.push_screen_wait(Pick(title, lines, "esc closes", width=width))

    def zoomed_widget(self, focused: Widget) -> Widget:
        """Return what z enlarges."""
        return focused


def _diff_lines(
    runs: list[Compared], rows: list[tuple[str, tuple[str, ...]]], room: int
) -> list[Content]:
    """Return the settings, each with every run's value behind its sign, in `room` cells.

    The values stand beside the key where each run has room for some, else below it, a line a run.
    """
    key = max(len(name) for name, _ in rows)
    wanted = [max(len(values[n]) for _, values in rows) for n in range(len(runs))]
    widths = _shared(wanted, room - key - 4 * len(runs))
    if any(has < min(_LEAST_VALUE, want) for has, want in zip(widths, wanted, strict=True)):
        return _diff_lines_below(runs, rows, room)
    lines: list[Content] = []
    for name, values in rows:
        parts: list[Any] = [(f"{name:<{key}}", QUIET)]
        for run, value, width in zip(runs, values, widths, strict=True):
            parts += ["  ", _sign(run), f" {clipped(value, width):<{width}}"]
        lines.append(Content.assemble(*parts))
    return lines


def _diff_lines_below(
    runs: list[Compared], rows: list[tuple[str, tuple[str, ...]]], room: int
) -> list[Content]:
    width = min(20, max(len(run.name) for run in runs))
    lines: list[Content] = []
    for name, values in rows:
        lines.append(Content.styled(clipped(name, room), QUIET))
        for run, value in zip(runs, values, strict=True):
            words = f" {clipped(run.name, width):<{width}}  {value}"
            lines.append(Content.assemble("  ", _sign(run), clipped(words, room - 3)))
    return lines


def _shared(wanted: list[int], room: int) -> list[int]:
    """Return what each gets of `room`: all it wants where it wants less than its share."""
    out, left = list(wanted), room
    for nth, place in enumerate(sorted(range(len(wanted)), key=lambda one: wanted[one])):
        out[place] = min(wanted[place], max(0, left) // (len(wanted) - nth))
        left -= out[place]
    return out


def _sign(run: Compared) -> tuple[str, str]:
    return MARKS[run.place % len(MARKS)], series_style(run.place)


def _tab_strip(here: str) -> Content:
    """Return the titles of the panes that share one place, the shown one set off."""
    parts: list[tuple[str, str]] = []
    for name in TABS:
        parts.append((name.title(), "bold $accent" if name == here else QUIET))
        parts.append((" · ", "$text-disabled"))
    return Content.assemble(*parts[:-1], ("  [ ]", "$text-disabled"))
