"""The Runs screen: every run there is, what is known of the selected one, and this machine.

Journals are read a moment at a time, cells are drawn where they changed, and nothing happens while
another screen is shown.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input

from engine.errors import DiffoptError
from engine.run import RunFolder
from tui import format as words
from tui.details import Details, detail_lines, read_details, short_path
from tui.keys import bindings_for
from tui.listing import Listing, RunRow
from tui.machine import GpuWatch, Machine, look
from tui.query import HINT, Query, QueryError, parse
from tui.run_columns import state_style
from tui.screens.runs_doing import RunDeeds
from tui.widgets.machine_pane import MachinePane, queue_of, short_line
from tui.widgets.pane import Line, Pane
from tui.widgets.run_table import RunTable

LIST_SECONDS = 1.0
PENDING_SECONDS = 0.05  # until all runs were read once
DETAIL_SECONDS = 2.0
MACHINE_SECONDS = 4.0
SETTLE_SECONDS = 0.15  # the cursor stands still: its run's files are read


class FilterBox(Input):
    """Where the filter is typed."""

    DEFAULT_CSS = """
    FilterBox, FilterBox:focus { height: 1; border: none; padding: 0 1; background: $surface; }
    """


class RunsScreen(RunDeeds):
    """Runs."""

    NAME = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("runs")]
    DEFAULT_CSS = """
    RunsScreen #run-list { height: 1fr; }
    RunsScreen #bottom { height: 12; }
    RunsScreen #details { width: 3fr; height: 100%; }
    RunsScreen #machine { width: 2fr; height: 100%; }
    RunsScreen.-short #bottom { height: 8; }
    RunsScreen.-narrow #machine { display: none; }
    RunsScreen.-wide #bottom { height: 14; }
    """

    def __init__(self) -> None:
        """Make it; runs are read when it is shown."""
        super().__init__()
        self._listing: Listing | None = None
        self._query: Query = parse("")
        self._query_problem = ""  # why what is typed is no query
        self._is_pending = False
        self._details: dict[Path, tuple[object, Details | None]] = {}
        self._machine: Machine | None = None
        self._gpu = GpuWatch()

    def compose_body(self) -> ComposeResult:
        """Yield table, filter, details and machine."""
        with Vertical(id="run-list"):
            yield RunTable()
            yield FilterBox(placeholder=HINT, id="filter")
        with Horizontal(id="bottom"):
            yield Pane("Selected", ["reading…"], id="details")
            yield MachinePane()

    def on_mount(self) -> None:
        """Look at the runs now, and every second."""
        self.hold_paint()
        self.query_one(FilterBox).display = False
        self.table.sort_by(self.diffopt.preferences.recall("runs").get("sort"))
        self._listing = Listing(self.diffopt.runs_dir)
        self.every(LIST_SECONDS, self._list)
        self.every(DETAIL_SECONDS, self._read_details)
        self.every(MACHINE_SECONDS, self._look_at_machine)
        self.set_header("reading…")

    def on_shown(self) -> None:
        """Catch up."""
        if self._listing is not None:
            self.call_after_refresh(self._list)
        if not self.is_held:
            self.painted()

    def painted(self) -> None:
        """Look at the machine, which the first paint need not wait for."""
        if self.is_shown:
            self._gpu.start()
            self._look_at_machine()

    def on_hidden(self) -> None:
        """Let the GPU's tool go."""
        self._gpu.stop()

    def on_unmount(self) -> None:
        """Let the GPU's tool go."""
        self._gpu.stop()

    # The list

    def _list(self) -> None:
        if self._listing is None or not self.is_shown:
            return
        self._is_pending = not self._listing.refresh()
        self._show_rows()
        self.release_paint()
        if self._is_pending:
            self.set_timer(PENDING_SECONDS, self._list)

    def _show_rows(self) -> None:
        listing = self._listing
        assert listing is not None
        now, rows = time.time(), listing.rows()
        self._tell_ends(rows)
        shown = [row for row in rows if self._is_wanted(row) and self._query.matches(row, now)]
        marked = self.diffopt.marked.places()
        self.table.show_rows(shown, now, marked, self._nothing(rows))
        count = f"{len(shown)} of {len(rows)}" if len(shown) != len(rows) else str(len(rows))
        title: list[Line | tuple[str, str]] = [f"Runs ({count})"]
        if self._query.text:
            title.append((f"  / {self._query.text}", "bold $accent"))
        self.table.set_title(
            Content.assemble(*title), f"{len(marked)} marked · 4 compares" if marked else ""
        )
        self._show_header(rows)
        self._tell_problem()
        self._show_details()

    def _tell_problem(self) -> None:
        problem = self._listing.problem if self._listing else None
        if problem:
            self.set_banner(problem, "error")
        else:
            self.set_banner(self._query_problem, "warning")

    def _is_wanted(self, row: RunRow) -> bool:
        return not row.is_archived or self._query.is_about_archived

    def _nothing(self, rows: list[RunRow]) -> list[Line]:
        """Return what is said in place of rows."""
        if self._query.text:
            return [f"No run matches {self._query.text}", "", "esc in the filter shows all again."]
        if rows:
            return [
                f"All {len(rows)} runs are archived.",
                "",
                "/ archived:yes  shows them; A takes one out of the archive.",
            ]
        return [
            "No runs yet.",
            "",
            "n  starts one from a recipe (smoke: half a minute, demo: some minutes)",
            "2  edits settings first",
            "",
            "Or on a command line: diffopt run demo",
        ]

    def _show_header(self, rows: list[RunRow]) -> None:
        counts: dict[str, int] = {}
        for row in rows:
            if row.is_live and row.state:
                counts[row.state] = counts.get(row.state, 0) + 1
        live = [
            (f"{words.glyph(state)} {number} {words.word(state)} ", state_style(state))
            for state, number in counts.items()
        ]
        subject = "" if self.is_narrow else words.clipped(short_path(self.diffopt.runs_dir), 40)
        self.set_header(Content.styled(subject, "$text-muted"), Content.assemble(*live))

    def _tell_ends(self, rows: list[RunRow]) -> None:
        for row in rows:
            if row.state and row.is_readable:
                self.diffopt.note_state(row.path, row.state)

    # The selected run

    def on_run_table_selected(self) -> None:
        """Show what is known of the run at once, and read the rest when the cursor rests."""
        self._show_details()
        self.refresh_bindings()
        self.set_timer(SETTLE_SECONDS, self._read_details)

    def on_run_table_opened(self, message: RunTable.Opened) -> None:
        """Show the run on Live."""
        if not message.row.is_readable:
            self._refuse(message.row.reason or f"{message.row.name} is being read.")
            return
        self.diffopt.open_run(RunFolder(message.row.path))

    def on_resize(self, event: events.Resize) -> None:
        """Fit the panes."""
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        self._show_details()
        self._show_machine()

    @property
    def _title(self) -> str:
        width = self.query_one("#details").size.width
        return words.clipped(self.row.name, max(8, width - 4)) if self.row else "Selected"

    def _show_details(self) -> None:
        pane, row = self.query_one("#details", Pane), self.row
        size = pane.scrollable_content_region.size
        if row is None:
            pane.set_title("Selected")
            pane.set_lines(["No run is selected."])
            return
        known = self._details.get(row.path)
        pane.set_title(self._title)
        details = known[1] if known else None
        width, height = max(20, size.width), max(1, size.height)
        pane.set_lines(detail_lines(row, details, time.time(), width, height))

    @work(exclusive=True, group="details")
    async def _read_details(self) -> None:
        row = self.row
        if row is None or not row.is_readable or not self.is_shown:
            return
        mark = (row, row.view.last_id if row.view else None, row.status)
        known = self._details.get(row.path)
        if known is not None and known[0] == mark and not row.is_live:
            return
        details = await asyncio.to_thread(read_details, row)
        if len(self._details) > 50:
            self._details.clear()
        self._details[row.path] = (mark, details)
        if self.row is not None and self.row.path == row.path:
            self._show_details()

    def _look_at_machine(self) -> None:
        if self.is_shown:
            self._machine = look(self.diffopt.runs_dir.absolute(), self._gpu.gpu, self._gpu.hint)
            self._show_machine()

    def _show_machine(self) -> None:
        if self._machine is None:
            return
        details = self.query_one("#details", Pane)
        if self.is_narrow:
            details.set_title(self._title, short_line(self._machine))
            return
        details.set_title(self._title, "")
        try:
            queue = queue_of()
        except DiffoptError:
            queue = (None, 0)
        self.query_one(MachinePane).show_machine(self._machine, queue)

    # Finding and sorting

    def action_find(self) -> None:
        """Type a filter."""
        box = self.query_one(FilterBox)
        box.value = self._query.text
        box.display = True
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed; what is not understood yet is said below, and changes nothing."""
        if event.input.id == "filter" and event.input.display:
            self._take_query(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and go back to the table."""
        if event.input.id == "filter":
            self._close_filter()

    def _take_query(self, text: str) -> None:
        try:
            self._query = parse(text)
        except QueryError as error:
            self._query_problem = str(error)
            self._tell_problem()
            return
        self._query_problem = ""
        self._show_rows()

    def _close_filter(self) -> None:
        self.query_one(FilterBox).display = False
        self.table.focus()
        if self._listing is not None:
            self._show_rows()

    def go_back(self) -> bool:
        """End the filter: esc in its box clears it, and so does esc in the table."""
        box = self.query_one(FilterBox)
        if box.display or self._query.text or self._query_problem:
            box.display = False
            self._query, self._query_problem = parse(""), ""
            self._close_filter()
            return True
        return super().go_back()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.table.next_sort()
        self._show_rows()
        self.diffopt.preferences.remember("runs", sort=self.table.sort)

    def action_reload(self) -> None:
        """Read every run again."""
        self._listing = Listing(self.diffopt.runs_dir)
        self._details.clear()
        self._list()
