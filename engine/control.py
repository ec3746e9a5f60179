"""How a running engine is steered.

Commands from the journal, signals, checkpoints in time, a full disk. No MLX.

The work calls `between_steps` after every optimiser step and evaluation batch. It returns at once,
or holds still while paused, or raises one of the interruptions below, which the worker understands.
"""

import errno
import math
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any, NoReturn, TypeVar

from engine.errors import Cancelled, DiffoptError
from engine.run import (
    Command,
    CommandKind,
    DiskFull,
    JournalFull,
    JournalWriter,
    RunFolder,
    RunState,
    free_bytes,
)
from engine.run.events import (
    CheckpointSaved,
    Continued,
    DiskLow,
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
_LONGEST_WAIT_SECONDS = 4.0  # between two tries on a full disk: each may gather all weights
_NEEDED_BYTES = 2 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Interruption(DiffoptError):
    """The work is left for a reason that is no error; finished pieces are kept."""


class StopWork(Interruption):
    """Leave the run resumable and end the process."""


class FreeMemory(Interruption):
    """Leave the work, release what MLX holds, and wait for a resume."""

    def __init__(self, command: Command) -> None:
        super().__init__("paused, memory released")
        self.command = command


class CancelStage(Interruption):
    """Give the current stage up and go on with the last accepted student."""


class RetryStage(Interruption):
    """Begin the current try again with other draws."""


class Control:
    """Listens for one run. Lives on the thread that works.

    Only the signal handler comes from elsewhere.
    """

    def __init__(
        self, run: RunFolder, journal: JournalWriter, *, checkpoint_seconds: float
    ) -> None:
        self.run, self.journal = run, journal
        self.step = journal.last_step or 0
        self._checkpoint_seconds = checkpoint_seconds
        self._last_save = time.monotonic()
        self._terminations = 0
        self._unanswered: Command | None = None  # obeyed, and to be answered with what comes of it
        self.has_turn = False  # no longer in the machine's queue
        self.is_working = False  # the optimizer runs, and may be interrupted
        self.is_training = False
        self.stage: int | None = None  # at work
        # What the device holds; told about once a second, in a commit that is made anyway.
        self.measure_memory: Callable[[], Mapping[str, int]] | None = None
        self._measured_at = -math.inf

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

    def acknowledge(self, command: Command, outcome: str, *events: Event, detail: str = "") -> None:
        """Answer a command and write what came of it, however long it takes until there is room."""
        self.with_room(lambda: self.journal.acknowledge(command, outcome, *events, detail=detail))

    def refuse_the_rest(self, why: str) -> None:
        """Answer whatever is still asked of a worker that is about to end."""
        for command in self.journal.pending():
            self.acknowledge(command, "refused", detail=why)

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step's metrics."""
        self.step = step
        latest = self._memory()
        self.with_room(lambda: self.journal.record(step=step, metrics=metrics, latest=latest))

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
        if self._terminations:
            self._stop(save, "SIGTERM")
        while (command := self._next_command()) is not None:
            self._obey(command, save)
        if save is not None and time.monotonic() - self._last_save >= self._checkpoint_seconds:
            self._keep(save)

    def with_room(self, write: Callable[[], Result]) -> Result:
        """Return what `write` returns.

        On a full disk say so, pause until there is room, and try again.
        """
        try:
            return write()
        except (DiskFull, JournalFull, OSError) as error:
            refusal = _as_no_room(error)
        is_said, wait = False, _POLL_SECONDS
        while True:
            # The reserve is given up, so that the journal has room for this.
            self.run.release_ballast()
            is_said = is_said or self._try_to_say(*self._about_full_disk(refusal))
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
            if self._terminations:
                raise StopWork("SIGTERM while the disk was full")
            try:
                self.run.allocate_ballast()
                is_over = isinstance(refusal, JournalFull)
                if is_over:
                    # said before the event that had no room, for that one may end the run
                    self.journal.emit(*self._about_room(refusal, is_said=is_said))
                    is_said = False
                written = write()
            except (DiskFull, JournalFull, OSError) as error:
                refusal = _as_no_room(error)
                continue
            if not is_over:
                last = self._about_room(refusal, is_said=is_said)
                self.with_room(partial(self.journal.emit, *last))
            return written

    def _about_full_disk(self, refusal: Exception) -> tuple[Event, ...]:
        room = free_bytes(self.run.path)
        return (
            DiskLow(path=str(self.run.path), free_bytes=room, needed_bytes=_NEEDED_BYTES),
            Paused(step=self.step, reason=f"the disk is full: {refusal}"),
        )

    def _about_room(self, refusal: Exception, *, is_said: bool) -> tuple[Event, ...]:
        """Return what to say once there is room: all of it, if there was none to say it in."""
        continued = Continued(step=self.step, reason="there is room again")
        return (continued,) if is_said else (*self._about_full_disk(refusal), continued)

    def _try_to_say(self, *events: Event) -> bool:
        try:
            self.journal.emit(*events)
        except JournalFull:
            return False
        return True

    # Commands

    def _next_command(self) -> Command | None:
        """Return the oldest command; one at a time, for obeying it may take others in."""
        return next(iter(self.journal.pending()), None)

    def _obey(self, command: Command, save: Save | None) -> None:
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
        else:
            acknowledge(command, "refused", detail=f"this engine does not know {kind!r}; update it")

    def _obey_in_training(self, command: Command, interruption: Interruption) -> None:
        if not self.is_training:
            self.acknowledge(command, "refused", detail="no stage is being trained")
            return
        self._unanswered = command
        raise interruption

    def wait_for_resume(self, save: Save | None = None) -> None:
        """Hold still until a resume; other commands are obeyed meanwhile."""
        while True:
            time.sleep(_POLL_SECONDS)
            if self._terminations:
                self._stop(save, "SIGTERM")
            while (command := self._next_command()) is not None:
                if command.kind == CommandKind.RESUME:
                    self.acknowledge(command, "done", Continued(step=self.step))
                    if not self.has_turn:
                        self.with_room(lambda: self.journal.set_state(RunState.QUEUED))
                    return
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


def _as_no_room(error: Exception) -> Exception:
    """Return `error` if it tells of a full disk, else raise it."""
    if isinstance(error, OSError) and error.errno not in _NO_ROOM:
        raise error
    return error
