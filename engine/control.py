"""How a running engine is steered.

Commands from the journal, signals, checkpoints in time, a full disk. No MLX.

The work calls `between_steps` after every optimiser step and evaluation batch. It returns at once,
or holds still while paused, or raises one of the interruptions below, which the worker understands.
"""

import errno
import signal
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TypeVar

from engine.errors import Cancelled, DiffoptError
from engine.run import (
    Command,
    CommandKind,
    DiskFull,
    JournalFull,
    JournalWriter,
    RunFolder,
    free_bytes,
)
from engine.run.events import CheckpointSaved, Continued, DiskLow, Event, Paused

Save = Callable[[], "CheckpointSaved | None"]
Result = TypeVar("Result")

_POLL_SECONDS = 0.25
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
        self.is_training = False

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
        """Write an event, however long it takes until there is room for it."""
        self.with_room(lambda: self.journal.emit(event))

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step's metrics."""
        self.step = step
        self.with_room(lambda: self.journal.record_metrics(step, metrics))

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
            self._keep(save)
            raise StopWork("SIGTERM")
        for command in self.journal.pending():
            self._obey(command, save)
        if save is not None and time.monotonic() - self._last_save >= self._checkpoint_seconds:
            self._keep(save)

    def with_room(self, write: Callable[[], Result]) -> Result:
        """Return what `write` returns.

        On a full disk say so, pause until there is room, and try again.
        """
        while True:
            try:
                return write()
            except (DiskFull, JournalFull) as error:
                self._wait_for_room(str(error))
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._wait_for_room(str(error))

    # Commands

    def _obey(self, command: Command, save: Save | None) -> None:
        kind, acknowledge = command.kind, self.journal.acknowledge
        if kind == CommandKind.PAUSE:
            acknowledge(command, "done", Paused(step=self.step))
            self.wait_for_resume(save)
        elif kind == CommandKind.PAUSE_AND_FREE:
            self._keep(save)
            raise FreeMemory(command)
        elif kind == CommandKind.RESUME:
            acknowledge(command, "refused", detail="the run is not paused")
        elif kind == CommandKind.CHECKPOINT:
            event = self._keep(save)
            detail = "" if event else "nothing is being trained; finished work is kept as it is"
            acknowledge(command, "done", *([event] if event else []), detail=detail)
        elif kind == CommandKind.CANCEL_STAGE:
            self._obey_in_training(command, CancelStage(f"cancelled by {command.issued_by}"))
        elif kind == CommandKind.RETRY_STAGE:
            self._obey_in_training(command, RetryStage(f"retried by {command.issued_by}"))
        elif kind == CommandKind.CANCEL_RUN:
            acknowledge(command, "done")
            raise Cancelled(command.issued_by)
        elif kind == CommandKind.STOP:
            self._keep(save)
            acknowledge(command, "done")
            raise StopWork(f"stopped by {command.issued_by}")
        else:
            acknowledge(command, "refused", detail=f"this engine does not know {kind!r}; update it")

    def _obey_in_training(self, command: Command, interruption: Interruption) -> None:
        if not self.is_training:
            self.journal.acknowledge(command, "refused", detail="no stage is being trained")
            return
        self.journal.acknowledge(command, "done")
        raise interruption

    def wait_for_resume(self, save: Save | None = None) -> None:
        """Hold still until a resume; other commands are obeyed meanwhile."""
        while True:
            time.sleep(_POLL_SECONDS)
            if self._terminations:
                self._keep(save)
                raise StopWork("SIGTERM")
            for command in self.journal.pending():
                if command.kind == CommandKind.RESUME:
                    self.journal.acknowledge(command, "done", Continued(step=self.step))
                    return
                if command.kind == CommandKind.PAUSE:
                    self.journal.acknowledge(command, "done", detail="it was paused already")
                else:
                    self._obey(command, save)

    def _keep(self, save: Save | None) -> CheckpointSaved | None:
        if save is None:
            return None
        event = self.with_room(save)
        self._last_save = time.monotonic()
        if event is not None:
            self.emit(event)
        return event

    # A full disk

    def _wait_for_room(self, why: str) -> None:
        """Say that the disk is full, with the ballast's room if need be.

        Return when there seems to be room again.
        """
        self.run.release_ballast()
        needed = 2 << 20
        said = False
        while True:
            if not said:
                said = self._try_to_say(
                    DiskLow(
                        path=str(self.run.path),
                        free_bytes=free_bytes(self.run.path),
                        needed_bytes=needed,
                    ),
                    Paused(step=self.step, reason=f"the disk is full: {why}"),
                )
            time.sleep(_POLL_SECONDS)
            if self._terminations:
                raise StopWork("SIGTERM while the disk was full")
            try:
                self.run.allocate_ballast()
            except (OSError, DiffoptError):
                continue
            if free_bytes(self.run.path) >= needed and self._try_to_say(
                Continued(step=self.step, reason="there is room again")
            ):
                return

    def _try_to_say(self, *events: Event) -> bool:
        try:
            self.journal.emit(*events)
        except JournalFull:
            return False
        return True
