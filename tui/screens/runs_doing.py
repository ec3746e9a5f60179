"""What keys do to runs on the Runs screen: mark, start, steer, put away. Used by runs.py alone.

What cannot be done is grey and says why; what destroys asks first.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from textual import work
from textual.content import Content
from textual.widget import Widget

from engine.errors import DiffoptError
from engine.run import CommandKind, RunFolder, shelf
from tui import format as words
from tui.broken import is_gone
from tui.follow import Snapshot
from tui.listing import RunRow
from tui.live_keys import refuse
from tui.permits import NOT_TRAINING, RUN_ACTIONS, is_taking_up, why_no_report, why_not
from tui.questions import about_emptying, about_run, about_stage, about_trash
from tui.screens.base import DiffoptScreen
from tui.state import RunView
from tui.widgets.run_table import RunTable

CLIENT = "diffopt-tui"
_OF_A_RUN = ("duplicate", "edit_config", "archive", "trash", "mark", "report", *RUN_ACTIONS)


class RunDeeds(DiffoptScreen):
    """The actions; the child lists the runs."""

    def __init__(self) -> None:
        """Begin with nothing thrown away."""
        super().__init__()
        self._thrown: list[shelf.TrashedRun] = []

    @property
    def table(self) -> RunTable:
        """The table."""
        return self.query_one(RunTable)

    @property
    def row(self) -> RunRow | None:
        """The run that the cursor is on."""
        return self.table.row

    @property
    def chosen_run(self) -> RunFolder | None:
        """The run that the cursor is on."""
        return RunFolder(self.row.path) if self.row is not None else None

    @abstractmethod
    def _list(self) -> None:
        """Read the runs and show them."""

    @abstractmethod
    def _show_rows(self) -> None:
        """Show what was read."""

    def why_not_open(self, pane: Widget) -> str | None:
        """Return why nothing is opened: there is no run to open."""
        return "No run is selected." if pane is self.table and self.row is None else None

    def look_again(self, reason: str) -> None:
        """Look once more: what is listed may be a second old."""
        if reason == NOT_TRAINING:
            self._list()

    def why_not(self, action: str) -> str | None:
        """Return why an action cannot be done with the selected run."""
        if action == "undo_trash":
            return None if self._thrown else "Nothing was thrown away since the dashboard began."
        if action not in _OF_A_RUN:
            return None
        if not self.is_mounted or (row := self.row) is None:
            return "No run is selected."
        if action in ("trash", "archive") and row.is_live:
            return f"{row.name} is {words.word(row.state)}: {_held(row.state)}. C cancels it."
        if not row.is_readable and action != "trash":
            return row.reason or f"{row.name} is being read."
        if action == "report":
            return why_no_report(RunFolder(row.path), row.state)
        return why_not(action, _snapshot(row))

    def _refuse(self, reason: str) -> None:
        refuse(self.diffopt, reason)

    def action_mark(self) -> None:
        """Mark for Compare, or take the mark away, and go on to the next."""
        row = self.row
        if row is None:
            return
        self.diffopt.marked.toggle(row.path)
        self._show_rows()
        self.table.cursor += 1

    @work(exclusive=True, group="ask")
    async def action_new_run(self) -> None:
        """Offer the recipes and show the chosen one's settings."""
        from tui.asking import Pick
        from tui.presets import presets

        recipes = [preset for preset in presets() if preset.recipe is not None]
        lines: list[Content | str] = [
            Content.assemble(
                (f"{one.name:12}", "bold"), (words.clipped(one.words, 58), "$text-muted")
            )
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

    def action_report(self) -> None:
        """Show the run's report."""
        if self.row is not None:
            from tui.screens.report import ReportScreen

            self.app.push_screen(ReportScreen(RunFolder(self.row.path)))

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
        snapshot = _snapshot(self.row)
        if is_taking_up(snapshot):
            self.diffopt.take_up(snapshot)
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
        if row is not None and await self.diffopt.ask(about_run(_snapshot(row))) == "yes":
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
            run = shelf.restore(self._thrown[-1])
        except DiffoptError as error:
            self.diffopt.tell(str(error), "error")
            self._forget_gone()
        else:
            self._thrown.pop()
            self.diffopt.tell(f"{run.name} is back")
        self._list()

    @work(exclusive=True, group="ask")
    async def action_empty_trash(self) -> None:
        """Ask, then delete what is in the trash for good."""
        root = self.diffopt.runs_dir
        try:
            there = shelf.list_trash(root)
            if there:
                size = await asyncio.to_thread(shelf.folder_bytes, root / shelf.TRASH)
                question = about_emptying(len(there), words.bytes_(size))
                if await self.diffopt.ask(question) != "yes":
                    return
            # with nothing to ask about, what an emptying that was cut off has left still goes
            count, freed = await asyncio.to_thread(shelf.empty_trash, root, only=there)
        except DiffoptError as error:
            self.diffopt.tell(str(error), "error")
        else:
            is_empty = not there and not freed
            told = f"{count} runs deleted, {words.bytes_(freed)} freed"
            self.diffopt.tell("The trash is empty." if is_empty else told)
        self._forget_gone()

    def _forget_gone(self) -> None:
        """Offer to take back only what still lies in the trash."""
        self._thrown = [one for one in self._thrown if not is_gone(one.path)]


def _held(state: str) -> str:
    """Return what the engine that holds a run does."""
    return {
        "queued": "its engine waits for its turn",
        "paused": "its engine holds still and goes on with it",
        "stuck": "its engine still holds it",
        "stopping": "its engine is about to leave it",
    }.get(state, "its engine is at work")


def _snapshot(row: RunRow) -> Snapshot:
    """Return the run as Live knows it, so that both screens allow and refuse the same."""
    return Snapshot(
        run=RunFolder(row.path),
        view=row.view or RunView(state=row.state),
        status=row.status,
        is_loaded=True,
    )
