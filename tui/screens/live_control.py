"""What keys do to the run that Live shows: asked for, told at once, confirmed by the journal."""

from __future__ import annotations

from textual import work
from textual.content import Content
from textual.widget import Widget

from engine.run import CommandKind
from tui.follow import Follower, Snapshot
from tui.keys import KEYS
from tui.messages import CommandSent
from tui.permits import NOT_TRAINING, RUN_ACTIONS, is_taking_up, why_no_report, why_not
from tui.questions import about_run, about_stage
from tui.screens.base import DiffoptScreen
from tui.screens.live_words import ASKING, answer_words, subject

TAKING_UP = "taking it up…"
_OF_A_RUN = {key.action for key in KEYS if "live" in key.screens} - {"next_pane", "previous_pane"}


class LiveControl(DiffoptScreen):
    """The half of Live that steers."""

    def __init__(self) -> None:
        """Begin without a run."""
        super().__init__()
        self.follower: Follower | None = None
        self.snapshot: Snapshot | None = None
        self._asked: dict[str, str] = {}  # command id -> what is being done about it
        self._answered: set[str] = set()
        self._was_over: bool | None = None

    @property
    def asked(self) -> str:
        """What was asked for last and is not answered, in words; "" for nothing."""
        if self.snapshot is not None and self.diffopt.taken_up.is_awaited(self.snapshot):
            return TAKING_UP
        return next(reversed(self._asked.values()), "")

    def _tell_answers(self, snapshot: Snapshot, *, is_first: bool) -> None:
        details = {event.command_id: event.detail for _, event in snapshot.view.answers}
        for record in snapshot.commands:
            if record.outcome is None or record.command.id in self._answered:
                continue
            self._answered.add(record.command.id)
            is_mine = self._asked.pop(record.command.id, None) is not None
            if is_first and not is_mine:
                continue
            text, severity = answer_words(
                record, details.get(record.command.id, ""), is_mine=is_mine
            )
            self.diffopt.tell(text, severity, kind=f"answer {record.command.id}")
        # what is no longer among the newest never comes again
        self._answered.intersection_update(record.command.id for record in snapshot.commands)

    def _tell_end(self, snapshot: Snapshot) -> None:
        is_over = snapshot.state in ("done", "failed", "cancelled", "lost")
        if self._was_over is False and is_over:
            self._asked.clear()
        if snapshot.status is not None:
            self._was_over = is_over
            self.diffopt.note_state(snapshot.run.path, snapshot.state)

    def _permits(self, snapshot: Snapshot) -> tuple[bool, ...]:
        return tuple(why_not(action, snapshot) is None for action in RUN_ACTIONS)

    def why_not_open(self, pane: Widget) -> str | None:
        """Return why a pane has nothing to open: it only says that no run is shown."""
        return why_not("open", None) if self.follower is None else None

    def why_not(self, action: str) -> str | None:
        """Return why an action cannot be done with the run, or with the view of it."""
        snapshot = self.snapshot
        if self.follower is None and action in _OF_A_RUN:
            return why_not(action, None)
        if action == "report" and snapshot is not None and not snapshot.is_gone:
            return why_no_report(snapshot.run, snapshot.state)
        if action in RUN_ACTIONS or action in ("edit_config", "duplicate", "report"):
            return why_not(action, snapshot)
        return None

    def look_again(self, reason: str) -> None:
        """Look once more: what is shown may be as old as a poll, and a person saw it elsewhere."""
        if reason != NOT_TRAINING or self.follower is None:
            return
        while self.follower.poll_once():
            pass
        if why_not("retry", self.follower.snapshot) != NOT_TRAINING:
            self.snapshot = self.follower.snapshot
            self.refresh_bindings()

    def action_pause(self) -> None:
        """Hold still, or go on."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        if snapshot.state == "paused":
            self.action_resume()
        else:
            self._send(CommandKind.PAUSE)

    def action_pause_and_free(self) -> None:
        """Hold still and give the memory back."""
        self._send(CommandKind.PAUSE_AND_FREE)

    def action_resume(self) -> None:
        """Go on; a run without an engine gets one."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        if is_taking_up(snapshot):
            if self.diffopt.take_up(snapshot):
                self._ask_for("", TAKING_UP)
        else:
            self._send(CommandKind.RESUME)

    def action_checkpoint(self) -> None:
        """Write a checkpoint now."""
        self._send(CommandKind.CHECKPOINT)

    @work(exclusive=True, group="ask")
    async def action_cancel_stage(self) -> None:
        """Ask, then give the stage up."""
        snapshot = self.snapshot
        stage = snapshot.view.current_stage if snapshot is not None else None
        if snapshot is None or stage is None:
            return
        answer = await self.diffopt.ask(about_stage(snapshot))
        if answer == "checkpoint":
            self._send(CommandKind.CHECKPOINT)
        if answer in ("checkpoint", "cancel"):
            self._send(CommandKind.CANCEL_STAGE, stage=stage.stage)

    @work(exclusive=True, group="ask")
    async def action_cancel_run(self) -> None:
        """Ask for the run's name, then end it."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        if await self.diffopt.ask(about_run(snapshot)) == "yes":
            self._send(CommandKind.CANCEL_RUN)

    @work(exclusive=True, group="ask")
    async def action_retry(self) -> None:
        """Ask, then begin the try again."""
        from tui.dialogs import confirm

        snapshot = self.snapshot
        stage = snapshot.view.current_stage if snapshot is not None else None
        if snapshot is None or stage is None:
            return
        question = confirm(
            "Begin the try again",
            f"Stage {stage.stage} begins its current try again with other draws. What this try has "
            "learnt so far is lost; earlier stages stay as they are.",
            "Begin again",
            no="Keep training",
        )
        if await self.diffopt.ask(question) == "yes":
            self._send(CommandKind.RETRY_STAGE, stage=stage.stage)

    def action_edit_config(self) -> None:
        """Show the run's settings."""
        if self.snapshot is not None:
            self.diffopt.open_config(self.snapshot.run)

    def action_report(self) -> None:
        """Show the run's report."""
        if self.snapshot is not None:
            from tui.screens.report import ReportScreen

            self.app.push_screen(ReportScreen(self.snapshot.run))

    def action_duplicate(self) -> None:
        """Make a new run of this one's settings."""
        if self.snapshot is not None:
            self.diffopt.open_config(self.snapshot.run, is_clone=True)

    def on_command_sent(self, message: CommandSent) -> None:
        """Say at once what is being done; the journal confirms it."""
        kind = str(message.kind)
        self._ask_for(message.command_id, ASKING.get(kind, f"{kind}…"))

    def _ask_for(self, key: str, text: str) -> None:
        if key:  # a worker that is started answers by its first event, not by an id
            self._asked[key] = text
        self.set_header(
            Content.assemble(*subject(self.snapshot)) if self.snapshot else "",
            Content.styled(text, "bold $warning"),
        )
        if self.follower is not None:
            self.follower.hurry()

    def _send(self, kind: CommandKind, *, stage: int | None = None) -> None:
        if self.snapshot is not None:
            self.diffopt.send(self.snapshot.run, kind, stage=stage)
