"""The machine's queue: one run of this user trains at a time, the others wait in order.

Used by the worker, which stands in it, and by folder.py, which says whom a queued run waits for.
A live lock is never stolen: a halted worker keeps its turn until a person ends or wakes it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from engine.errors import RunError
from engine.run.lock import FileLock, Holder, holder_of, is_locked, state_folder


class TrainingQueue:
    """One run of this user trains on a machine at a time.

    The others wait in the order in which they came. Each waiting worker holds the lock on a ticket
    of its own, numbered on entry, so that no clock decides the order and a killed one leaves the
    queue by itself. The first ticket may take the training lock.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use the machine's queue, or the one in `folder`; nothing is made before `join`."""
        # a home on the network is shared by machines that each have a queue
        self._folder = (folder or state_folder()) / f"training-{socket.gethostname()}"
        self._training_lock = self._folder / "lock"

    def join(self, what: str) -> Turn:
        """Stand at the queue's end.

        `what` is the run's path, for onlookers. The turn is waited for, and held, by the object
        returned. Raises RunError where the queue's folder cannot be made.
        """
        turn = Turn(self, FileLock(self._training_lock), what)
        turn.join()
        return turn

    def new_ticket(self, what: str) -> FileLock:
        """Return a ticket at the queue's end, locked."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self._folder} cannot be made ({error.strerror}). Set DIFFOPT_STATE_DIR "
                "to a folder that you may write to."
            ) from error
        with self._door():
            last = max((int(path.stem) for path in self._tickets()), default=0)
            # a ticket comes into the queue already locked, or others would take it for a dead one's
            unlisted = FileLock(self._folder / f"{uuid.uuid4().hex}.new")
            unlisted.try_take(what)
            listed = self._folder / f"{last + 1:012d}.ticket"
            unlisted.path.rename(listed)
            unlisted.path = listed
        return unlisted

    def training(self) -> Holder | None:
        """Return who trains now; None where nobody does."""
        return holder_of(self._training_lock) if is_locked(self._training_lock) else None

    def waiting(self) -> list[Holder]:
        """Return who waits, in order, without those that were killed."""
        return [holder_of(path) for path in self._tickets() if is_locked(path)]

    def is_first(self, ticket: Path) -> bool:
        """Return whether no living ticket stands before this one.

        Tickets of the dead are cleared away.
        """
        for path in self._tickets():
            if path == ticket:
                return True
            if is_locked(path):
                return False
            path.unlink(missing_ok=True)
        return False

    def _tickets(self) -> list[Path]:
        return sorted(self._folder.glob("*.ticket"))

    @contextmanager
    def _door(self) -> Iterator[None]:
        """Let one process in at a time, for the moment that numbering takes."""
        descriptor = os.open(self._folder / "door", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class Turn:
    """A place in the training queue, then the training lock.

    Leave it with `release`, or by ending the process.
    """

    def __init__(self, queue: TrainingQueue, training_lock: FileLock, what: str) -> None:
        """Made by `TrainingQueue.join`."""
        self._queue = queue
        self._ticket: FileLock | None = None
        self._training_lock = training_lock
        self._what = what

    @property
    def is_mine(self) -> bool:
        """Whether this run may train."""
        return self._training_lock.is_held

    def join(self) -> None:
        """Stand at the queue's end, if this run neither stands in it nor has the turn."""
        if self._ticket is None and not self.is_mine:
            self._ticket = self._queue.new_ticket(self._what)

    def try_take(self) -> bool:
        """Take the turn if it has come. Ask twice a second while waiting."""
        if self.is_mine:
            return True
        if self._ticket is None or not self._queue.is_first(self._ticket.path):
            return False
        if not self._training_lock.try_take(self._what):
            return False
        self._leave_queue()
        return True

    def release(self) -> None:
        """Leave the queue, or give the turn to the next; `join` stands in line again."""
        self._leave_queue()
        self._training_lock.release()

    def __enter__(self) -> Self:
        """Return the turn."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Release the turn."""
        self.release()

    def _leave_queue(self) -> None:
        if self._ticket is not None:
            self._ticket.path.unlink(missing_ok=True)
            self._ticket.release()
            self._ticket = None
