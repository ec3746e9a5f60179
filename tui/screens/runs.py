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
from engine.run import CommandKind, RunFolder, shelf
from tui import format as words
from tui.details import Details, detail_lines, read_details, short_path
from tui.follow import Snapshot
from tui.keys import bindings_for
from tui.listing import Listing, RunRow
from tui.machine import GpuWatch, Machine, look
from tui.permits import RUN_ACTIONS, is_taking_up, why_not
from tui.query import HINT, Query, QueryError, parse
from tui.questions import about_emptying, about_run, about_stage, about_trash
from tui.run_columns import state_style
from tui.screens.base import DiffoptScreen
from tui.state import RunView
from tui.widgets.machine_pane import MachinePane, queue_of, short_line
from tui.widgets.pane import Line, Pane
from tui.widgets.run_table import RunTable

LIST_SECONDS = 1.0
PENDING_SECONDS = 0.05  # until all runs were read once
DETAIL_SECONDS = 2.0
MACHINE_SECONDS = 4.0
SETTLE_SECONDS = 0.15  # the cursor stands still: its run's files are read
CLIENT = "diffopt-tui"
_OF_A_RUN = ("duplicate", "edit_config", "archive", "trash", "mark", *RUN_ACTIONS)


class FilterBox(Input):
    """Where the filter is typed."""

    DEFAULT_CSS = "FilterBox { height: 1; border: none; padding: 0 1; background: $surface; }"


class RunsScreen(DiffoptScreen):
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
        self._is_pending = False
        self._details: dict[Path, tuple[object, Details | None]] = {}
        self._machine: Machine | None = None
        self._gpu = GpuWatch()
        self._thrown: list[shelf.TrashedRun] = []
        self._states: dict[Path, str] = {}

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
        super().on_mount()
        self.query_one(FilterBox).display = False
        self.table.sort_by(self.diffopt.preferences.recall("runs").get("sort"))
        self._listing = Listing(self.diffopt.runs_dir)
        self.every(LIST_SECONDS, self._list)
        self.every(DETAIL_SECONDS, self._read_details)
        self.every(MACHINE_SECONDS, self._look_at_machine)
        self.set_header("reading…")

    def on_shown(self) -> None:
        """Catch up."""
        self._gpu.start()
        if self._listing is not None:
            self.call_after_refresh(self._list)
            self.call_after_refresh(self._look_at_machine)

    def on_hidden(self) -> None:
        """Let the GPU's tool go."""
        self._gpu.stop()

    def on_unmount(self) -> None:
        """Let the GPU's tool go."""
        self._gpu.stop()

    @property
    def table(self) -> RunTable:
        """The table."""
        return self.query_one(RunTable)

    @property
    def row(self) -> RunRow | None:
        """The run that the cursor is on."""
        return self.table.row

    # The list

    def _list(self) -> None:
        if self._listing is None or not self.is_shown:
            return
        self._is_pending = not self._listing.refresh()
        self._show_rows()
        if self._is_pending:
            self.set_timer(PENDING_SECONDS, self._list)

    def _show_rows(self) -> None:
        listing = self._listing
        assert listing is not None
        now, rows = time.time(), listing.rows()
        self._tell_ends(rows)
        shown = [row for row in rows if self._is_wanted(row) and self._query.matches(row, now)]
        marked = self.diffopt.marked
        marked[:] = [path for path in marked if listing.row(path) is not None]
        self.table.show_rows(shown, now, marked, self._nothing(rows))
        count = f"{len(shown)} of {len(rows)}" if len(shown) != len(rows) else str(len(rows))
        title: list[Line | tuple[str, str]] = [f"Runs ({count})"]
        if self._query.text:
            title.append((f"  / {self._query.text}", "bold $accent"))
        self.table.set_title(
            Content.assemble(*title), f"{len(marked)} marked · 4 compares" if marked else ""
        )
        self._show_header(rows)
        self.set_banner(listing.problem or "", "error")
        self._show_details()

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
            before = self._states.get(row.path)
            if before in ("running", "paused", "stopping", "stuck", "queued") and row.state in (
                "done",
                "failed",
                "cancelled",
                "lost",
            ):
                is_bad = row.state in ("failed", "lost")
                self.diffopt.tell_end(f"{row.name} is {words.word(row.state)}", is_bad=is_bad)
            self._states[row.path] = row.state

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
        super().on_resize(event)
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
            self.set_banner(str(error), "warning")
            return
        self._show_rows()

    def _close_filter(self) -> None:
        self.query_one(FilterBox).display = False
        self.table.focus()
        if self._listing is not None:
            self._show_rows()

    def go_back(self) -> bool:
        """End the filter: esc in its box clears it, and so does esc in the table."""
        box = self.query_one(FilterBox)
        if box.display or self._query.text:
            box.display = False
            self._query = parse("")
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

    # What is done to the selected run

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what cannot be done now."""
        return None if self._why_not(action) else True

    def on_key(self, event: events.Key) -> None:
        """Say why a grey key does nothing."""
        active = self.active_bindings.get(event.key)
        if active is None or active.enabled or active.node is not self:
            return
        if (reason := self._why_not(active.binding.action)) is not None:
            event.stop()
            self._refuse(reason)

    def _why_not(self, action: str) -> str | None:
        if action == "undo_trash":
            return None if self._thrown else "Nothing was thrown away since the dashboard began."
        if action not in _OF_A_RUN:
            return None
        if not self.is_mounted or (row := self.row) is None:
            return "No run is selected."
        if action in ("trash", "archive") and row.is_live:
            return f"{row.name} is {words.word(row.state)}: its engine is at work. C cancels it."
        if not row.is_readable and action != "trash":
            return row.reason or f"{row.name} is being read."
        return why_not(action, _snapshot(row))

    def _refuse(self, reason: str) -> None:
        self.diffopt.tell(reason, "warning", kind=f"refused {reason}")

    def action_mark(self) -> None:
        """Mark for Compare, or take the mark away, and go on to the next."""
        row, marked = self.row, self.diffopt.marked
        if row is None:
            return
        if row.path in marked:
            marked.remove(row.path)
        else:
            marked.append(row.path)
        self._show_rows()
        self.table.cursor += 1

    @work(exclusive=True, group="ask")
    async def action_new_run(self) -> None:
        """Offer the recipes and show the chosen one's settings."""
        from tui.asking import Pick
        from tui.presets import presets

        recipes = [preset for preset in presets() if preset.recipe is not None]
        lines: list[Content | str] = [
            Content.assemble((f"{one.name:12}", "bold"), (one.words, "$text-muted"))
            for one in recipes
        ]
        hint = "enter shows its settings, ^r there starts it · esc closes"
        chosen = await self.app.push_screen_wait(Pick("A new run from a recipe", lines, hint))
        if chosen is not None:
            self.diffopt.open_config(recipes[chosen].recipe or "")

    def action_duplicate(self) -> None:
        """Show a copy of the run's settings, for a new run."""
        if self.row is not None:
            self.diffopt.open_config(RunFolder(self.row.path), is_clone=True)

    def action_edit_config(self) -> None:
        """Show the run's settings."""
        if self.row is not None:
            self.diffopt.open_config(RunFolder(self.row.path))

    def action_pause(self) -> None:
        """Hold still, or go on."""
        if self.row is not None and self.row.state == "paused":
            self.action_resume()
        else:
            self._send(CommandKind.PAUSE)

    def action_pause_and_free(self) -> None:
        """Hold still and give the memory back."""
        self._send(CommandKind.PAUSE_AND_FREE)

    def action_resume(self) -> None:
        """Go on; a run without an engine gets one."""
        if self.row is None:
            return
        if is_taking_up(_snapshot(self.row)):
            self.diffopt.take_up(RunFolder(self.row.path))
            self._list()
        else:
            self._send(CommandKind.RESUME)

    @work(exclusive=True, group="ask")
    async def action_cancel_stage(self) -> None:
        """Ask, then give the stage up."""
        row = self.row
        stage = row.view.current_stage if row is not None and row.view is not None else None
        if row is None or stage is None:
            return
        answer = await self.diffopt.ask(about_stage(_snapshot(row)))
        if answer == "checkpoint":
            self._send(CommandKind.CHECKPOINT, row)
        if answer in ("checkpoint", "cancel"):
            self._send(CommandKind.CANCEL_STAGE, row, stage=stage.stage)

    @work(exclusive=True, group="ask")
    async def action_cancel_run(self) -> None:
        """Ask for the run's name, then end it."""
        row = self.row
        if row is not None and await self.diffopt.ask(about_run(row.name)) == "yes":
            self._send(CommandKind.CANCEL_RUN, row)

    def _send(
        self, kind: CommandKind, row: RunRow | None = None, *, stage: int | None = None
    ) -> None:
        row = row or self.row
        if row is not None:
            self.diffopt.send(RunFolder(row.path), kind, stage=stage)
            self.set_timer(0.3, self._list)

    # Putting away

    def action_archive(self) -> None:
        """Put the run out of the way, or take it back."""
        row = self.row
        if row is None:
            return
        run = RunFolder(row.path)
        try:
            if row.is_archived:
                shelf.unarchive(run)
                self.diffopt.tell(f"{row.name} is listed again")
            else:
                shelf.archive(run, client=CLIENT)
                self.diffopt.tell(f"{row.name} is archived; / archived:yes shows it")
        except DiffoptError as error:
            self.diffopt.tell(str(error), "error")
        self._list()

    @work(exclusive=True, group="ask")
    async def action_trash(self) -> None:
        """Ask, then move the run to the trash."""
        row = self.row
        if row is None or await self.diffopt.ask(about_trash(row.name)) != "yes":
            return
        try:
            self._thrown.append(shelf.trash(RunFolder(row.path), client=CLIENT))
        except DiffoptError as error:
            self.diffopt.tell(str(error), "error")
            return
        self.diffopt.tell(f"{row.name} is in the trash. u takes it back.")
        self._list()

    def action_undo_trash(self) -> None:
        """Take the run thrown away last back."""
        if not self._thrown:
            return
        try:
            run = shelf.restore(self._thrown.pop())
        except DiffoptError as error:
            self.diffopt.tell(str(error), "error")
        else:
            self.diffopt.tell(f"{run.name} is back")
        self._list()

    @work(exclusive=True, group="ask")
    async def action_empty_trash(self) -> None:
        """Ask, then delete what is in the trash for good."""
        root = self.diffopt.runs_dir
        there = shelf.list_trash(root)
        if not there:
            self.diffopt.tell("The trash is empty.")
            return
        size = await asyncio.to_thread(shelf.folder_bytes, root / shelf.TRASH)
        if await self.diffopt.ask(about_emptying(len(there), words.bytes_(size))) != "yes":
            return
        try:
            count, freed = await asyncio.to_thread(shelf.empty_trash, root)
        except DiffoptError as error:
            self.diffopt.tell(str(error), "error")
        else:
            self._thrown.clear()
            self.diffopt.tell(f"{count} runs deleted, {words.bytes_(freed)} freed")


def _snapshot(row: RunRow) -> Snapshot:
    """Return the run as Live knows it, so that both screens allow and refuse the same."""
    return Snapshot(
        run=RunFolder(row.path),
        view=row.view or RunView(state=row.state),
        status=row.status,
        is_loaded=True,
    )
