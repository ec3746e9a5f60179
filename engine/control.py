"""How a running engine is steered.

Commands from the journal, signals, checkpoints in time. No MLX.

The work calls `between_steps` after every optimiser step and evaluation batch. It returns at once,
or holds still while paused, or raises one of `engine.interruptions`, which the worker understands.
"""

import math
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn, TypeVar

from engine.errors import Cancelled, ConfigError
from engine.full_disk import Room
from engine.interruptions import (
    CancelStage,
    FreeMemory,
    Interruption,
    RetryStage,
    StopWork,
)
from engine.run import (
    Command,
    CommandKind,
    JournalFull,
    JournalWriter,
    RunFolder,
    RunState,
)
from engine.run.events import (
    CheckpointSaved,
    Continued,
    Event,
    Paused,
    PhaseProgressed,
    RunCancelled,
    StageAccepted,
    StageRolledBack,
    TryStarted,
)

Save = Callable[[], CheckpointSaved | None]
Result = TypeVar("Result")

_POLL_SECONDS = 0.25
_MEMORY_SECONDS = 1.0


class Control:
    """Listens for one run. Lives on the thread that works.

    Only the signal handler comes from elsewhere.
    """

    def __init__(
        self, run: RunFolder, journal: JournalWriter, *, checkpoint_seconds: float
    ) -> None:
        self.run, self.journal = run, journal
        self.step = journal.last_step or 0
        self.checkpoint_seconds = checkpoint_seconds
        self._last_save = time.monotonic()
        self._terminations = 0
        self._unanswered: Command | None = None  # obeyed, and to be answered with what comes of it
        self.has_turn = False  # no longer in the machine's queue
        self.is_working = False  # the optimizer runs, and may be interrupted
        self.is_training = False
        self.stage: int | None = None  # at work
        # What a pause lets go of while it lasts: the machine's sleep, a place in the queue.
        self.while_held: Callable[[], AbstractContextManager[object]] = nullcontext
        self._is_held = False
        self._is_to_be_held = False  # a pause was asked for while the disk was full
        self._at_work_on: str | None = None  # the command that is being obeyed
        # Reads config.yaml again and returns what changed; raises ConfigError.
        self.take_settings: Callable[[], str] | None = None
        # What the device holds; told about once a second, in a commit that is made anyway.
        self.measure_memory: Callable[[], Mapping[str, int]] | None = None
        self._measured_at = -math.inf
        self._room = Room(
            run, journal, wait=self._wait_without_room, place=lambda: (self.step, self._is_held)
        )

    def listen_for_signals(self) -> None:
        """SIGTERM: checkpoint and stop; a second one: stop now.

        SIGINT and SIGHUP belong to terminals: ignored.
        """
        signal.signal(signal.SIGTERM, self._on_termination)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_termination(self, number: int, frame: FrameType | None) -> None:
        self._terminations += 1
        if self._terminations > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    # What the work calls

    def emit(self, event: Event) -> None:
        """Write an event, however long it takes until there is room for it.

        Where a command led to it, its answer is in the same commit: a kill loses neither alone.
        """
        if isinstance(event, TryStarted):
            self.stage = event.stage
        elif isinstance(event, StageAccepted | StageRolledBack):
            self.stage = None
        if self._unanswered is not None:
            command, self._unanswered = self._unanswered, None
            self.acknowledge(command, "done", event)
            return
        latest = self._memory() if isinstance(event, PhaseProgressed) else None
        self.with_room(lambda: self.journal.record(event, latest=latest))

    def acknowledge(
        self,
        command: Command,
        outcome: str,
        *events: Event,
        detail: str = "",
        state: RunState | None = None,
    ) -> None:
        """Answer a command and write what came of it, however long it takes until there is room."""
        before, self._at_work_on = self._at_work_on, command.id
        try:
            self.with_room(
                lambda: self.journal.acknowledge(
                    command, outcome, *events, detail=detail, state=state
                )
            )
        finally:
            self._at_work_on = before

    def refuse_the_rest(self, why: str) -> None:
        """Answer whatever is still asked of a worker that is about to end, if there is room."""
        with suppress(JournalFull):
            for command in self.journal.pending():
                self.journal.acknowledge(command, "refused", detail=why)

    def at_step(self, step: int) -> None:
        """Take note of the optimiser step that was just made."""
        self.step = step

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step's metrics, a few steps at a time."""
        self.step = step
        if latest := self._memory():
            self.journal.tell(latest)
        if self.journal.add_metrics(step, metrics):
            try:
                self.journal.flush_soon()
            except JournalFull:
                self.with_room(self.journal.flush)

    def _memory(self) -> dict[str, Any] | None:
        """Return the latest value ``memory`` where it is time for one."""
        now = time.monotonic()
        if self.measure_memory is None or now - self._measured_at < _MEMORY_SECONDS:
            return None
        self._measured_at = now
        return {"memory": dict(self.measure_memory())}

    def tell_memory(self) -> None:
        """Write what the device holds now, for nothing else will be written for a while."""
        self._measured_at = -math.inf
        if latest := self._memory():
            self.with_room(lambda: self.journal.record(latest=latest))

    def rewind(self, step: int) -> None:
        """Drop the metrics past `step`: training goes on from there."""
        self.step = step
        if (self.journal.last_step or 0) > step:
            self.with_room(lambda: self.journal.truncate_metrics(step))

    def between_steps(self, save: Save | None = None) -> None:
        """Obey what was asked since the last call; keep a checkpoint when it is time.

        `save` is None outside training.
        """
        self.is_training = save is not None
        self.journal.note_progress()
        if self._terminations:
            self._stop(save, "SIGTERM")
        if self._is_to_be_held:
            self.emit(Paused(step=self.step))
            self.wait_for_resume(save)
        while (command := self._next_command()) is not None:
            self._obey(command, save)
        if save is not None and time.monotonic() - self._last_save >= self.checkpoint_seconds:
            self._keep(save)

    def with_room(self, write: Callable[[], Result]) -> Result:
        """Return what `write` returns.

        On a full disk say so, pause until there is room, and try again. Who cancels or stops the
        run meanwhile is obeyed: raises Cancelled or StopWork.
        """
        return self._room.written(write)

    def _wait_without_room(self, seconds: float) -> None:
        """Let time pass on a full disk; obey what needs no room, or next to none."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_POLL_SECONDS, left))
            if self._terminations:
                raise StopWork("SIGTERM while the disk was full")
            with suppress(JournalFull):  # asked again when the reserve, or more, is free
                for command in self.journal.pending():
                    if command.id != self._at_work_on:
                        self._obey_without_room(command)

    def _obey_without_room(self, command: Command) -> None:
        kind, acknowledge = command.kind, partial(self.journal.acknowledge, command)
        if kind == CommandKind.CANCEL_RUN:
            acknowledge("done", RunCancelled(step=self.step, cancelled_by=command.issued_by))
            raise Cancelled(command.issued_by)
        if kind == CommandKind.STOP:
            acknowledge("done", detail="the disk is full: the last checkpoint is an older one")
            raise StopWork(f"stopped by {command.issued_by} while the disk was full")
        if kind == CommandKind.PAUSE:
            acknowledge("done", detail="the disk is full; it stays paused once there is room")
            self._is_to_be_held = not self._is_held
        elif kind == CommandKind.RESUME and self._is_to_be_held:
            acknowledge("done", detail="it goes on by itself once there is room on the disk")
            self._is_to_be_held = False
        else:
            acknowledge("refused", detail="the disk is full; ask again once there is room")

    # Commands

    def _next_command(self) -> Command | None:
        """Return the oldest command; one at a time, for obeying it may take others in."""
        try:
            return next(iter(self.journal.pending()), None)
        except JournalFull:  # even a look may need room for SQLite's shared index
            return None  # asked again after the next step, whose writing waits for room

    def _obey(self, command: Command, save: Save | None) -> None:
        # a stop may be left half obeyed, for want of room; what else is begun is carried through
        before, self._at_work_on = self._at_work_on, command.id
        if command.kind == CommandKind.STOP:
            self._at_work_on = None
        try:
            self._do(command, save)
        finally:
            self._at_work_on = before

    def _do(self, command: Command, save: Save | None) -> None:
        kind, acknowledge = command.kind, self.acknowledge
        if command.stage not in (None, self.stage):
            at_work = "no stage is" if self.stage is None else f"stage {self.stage} is"
            acknowledge(command, "superseded", detail=f"{at_work} at work, not {command.stage}")
            return
        if kind == CommandKind.PAUSE or (
            kind == CommandKind.PAUSE_AND_FREE and not self.is_working  # there is nothing to free
        ):
            is_freed = kind == CommandKind.PAUSE_AND_FREE
            acknowledge(command, "done", Paused(step=self.step, is_memory_freed=is_freed))
            self.wait_for_resume(save)
        elif kind == CommandKind.PAUSE_AND_FREE:
            self._keep(save)
            raise FreeMemory(command)
        elif kind == CommandKind.RESUME:
            acknowledge(command, "refused", detail="the run is not paused")
        elif kind == CommandKind.CHECKPOINT:
            event = self._keep(save)
            detail = "" if event else "nothing is being trained; finished work is kept as it is"
            acknowledge(command, "done", detail=detail)
        elif kind == CommandKind.CANCEL_STAGE:
            self._obey_in_training(command, CancelStage(f"cancelled by {command.issued_by}"))
        elif kind == CommandKind.RETRY_STAGE:
            self._obey_in_training(command, RetryStage(f"retried by {command.issued_by}"))
        elif kind == CommandKind.CANCEL_RUN:
            cancelled = RunCancelled(step=self.step, cancelled_by=command.issued_by)
            acknowledge(command, "done", cancelled)
            raise Cancelled(command.issued_by)
        elif kind == CommandKind.STOP:
            self._stop(save, f"stopped by {command.issued_by}", command)
        elif kind == CommandKind.TAKE_SETTINGS:
            self._take_settings(command)
        else:
            acknowledge(command, "refused", detail=f"this engine does not know {kind!r}; update it")

    def _take_settings(self, command: Command) -> None:
        if self.take_settings is None:
            self.acknowledge(command, "refused", detail="the run has not begun")
            return
        try:
            detail = self.take_settings()
        except (ConfigError, OSError) as error:
            self.acknowledge(command, "refused", detail=str(error))
        else:
            self.acknowledge(command, "done", detail=detail or "nothing had changed")

    def _obey_in_training(self, command: Command, interruption: Interruption) -> None:
        if not self.is_training:
            self.acknowledge(command, "refused", detail="no stage is being trained")
            return
        self._unanswered = command
        raise interruption

    def wait_for_resume(self, save: Save | None = None) -> None:
        """Hold still until a resume; other commands are obeyed meanwhile."""
        self._is_to_be_held, self._is_held = False, True
        try:
            with self.while_held():
                while not self._is_resumed(save):
                    time.sleep(_POLL_SECONDS)
        finally:
            self._is_held = False

    def _is_resumed(self, save: Save | None) -> bool:
        """Obey what was asked during a pause; return whether a resume was."""
        if self._terminations:
            self._stop(save, "SIGTERM")
        while (command := self._next_command()) is not None:
            if command.kind == CommandKind.RESUME:
                if self.has_turn:
                    self.acknowledge(command, "done", Continued(step=self.step))
                else:  # it goes on when its turn comes, and says so then
                    self.acknowledge(
                        command,
                        "done",
                        detail="it waits for its turn on this machine",
                        state=RunState.QUEUED,
                    )
                return True
            if command.kind == CommandKind.PAUSE or (
                command.kind == CommandKind.PAUSE_AND_FREE and not self.is_working
            ):
                self.acknowledge(command, "done", detail="it was paused already")
                continue
            try:
                self._obey(command, save)
            except (CancelStage, RetryStage):
                # written past `emit`, which would take it for what came of the command
                ended = Continued(step=self.step, reason=str(command.kind))
                self.with_room(partial(self.journal.emit, ended))
                raise
        return False

    def _keep(self, save: Save | None) -> CheckpointSaved | None:
        if save is None:
            return None
        event = self.with_room(save)
        self._last_save = time.monotonic()
        if event is not None:
            self.emit(event)
        return event

    def _stop(self, save: Save | None, why: str, command: Command | None = None) -> NoReturn:
        self.with_room(lambda: self.journal.set_state(RunState.STOPPING))
        self._keep(save)
        if command is not None:
            self.acknowledge(command, "done")
        raise StopWork(why)
