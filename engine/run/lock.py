"""Locks that the kernel frees when their holder ends, however it ends, and the training queue.

All are ``flock`` on small files. A lock belongs to an open file: a child made by fork alone would
keep it held, one that goes on to exec, as all of ours do, does not.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.errors import RunError

_OWNING_TRIES = 40
_OWNING_WAIT_SECONDS = 0.025
_NOTE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Holder:
    """What a lock's file says of the process that took it last; None for what cannot be read."""

    pid: int | None
    host: str | None
    what: str | None


class FileLock:
    """An exclusive lock on a file, held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Name the lock; nothing is opened yet."""
        self.path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def try_take(self, what: str = "") -> bool:
        """Take the lock and write this process and `what` into the file.

        Returns False where another holds it.
        """
        assert self._descriptor is None, f"{self.path} is held by this object"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        note = {"pid": os.getpid(), "host": socket.gethostname(), "what": what}
        # padded to one length, so that writing over an old note needs no new room; on a disk too
        # full for even that, the lock is held all the same and its holder stays unnamed
        try:
            os.pwrite(descriptor, json.dumps(note).encode().ljust(_NOTE_BYTES), 0)
        except OSError:
            os.ftruncate(descriptor, 0)
        return True

    def take_soon(self, what: str = "") -> bool:
        """Take the lock, trying for a second: an onlooker's probe is in the way for an instant."""
        for _ in range(_OWNING_TRIES):
            if self.try_take(what):
                return True
            time.sleep(_OWNING_WAIT_SECONDS)
        return False

    def release(self) -> None:
        """Give the lock up; nothing happens where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        """Return the lock."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self.release()


def is_locked(path: Path) -> bool:
    """Return whether some process holds the lock.

    It is asked for in shared mode, so that onlookers see past each other.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_of(path: Path) -> Holder:
    """Return who took the lock last; whether it is still held, `is_locked` knows."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(note["pid"]), str(note["host"]), str(note["what"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder(None, None, None)


def state_folder() -> Path:
    """Return the user's folder for what must survive a reboot but is no setting.

    $DIFFOPT_STATE_DIR, else the system's.
    """
    if own := os.environ.get("DIFFOPT_STATE_DIR"):
        return Path(own)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "diffopt"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "diffopt"


class TrainingQueue:
    """One run of this user trains on a machine at a time.

    The others wait in the order in which they came. Each waiting worker holds the lock on a ticket
    of its own, numbered on entry, so that no clock decides the order and a killed one leaves the
    queue by itself. The first ticket may take the training lock.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use the machine's queue, or the one in `folder`.

        Raises RunError where that folder cannot be made.
        """
        # a home on the network is shared by machines that each have a queue
        self._folder = (folder or state_folder()) / f"training-{socket.gethostname()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self._folder} cannot be made ({error.strerror}). Set DIFFOPT_STATE_DIR "
                "to a folder that you may write to."
            ) from error
        self._training_lock = self._folder / "lock"

    def join(self, what: str) -> Turn:
        """Stand at the queue's end.

        `what` names the run. The turn is waited for, and held, by the object returned.
        """
        with self._door():
            last = max((int(path.stem) for path in self._tickets()), default=0)
            # a ticket comes into the queue already locked, or others would take it for a dead one's
            unlisted = FileLock(self._folder / f"{uuid.uuid4().hex}.new")
            unlisted.try_take(what)
            listed = self._folder / f"{last + 1:012d}.ticket"
            unlisted.path.rename(listed)
            unlisted.path = listed
        return Turn(self, unlisted, FileLock(self._training_lock), what)

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

    def __init__(
        self, queue: TrainingQueue, ticket: FileLock, training_lock: FileLock, what: str
    ) -> None:
        """Made by `TrainingQueue.join`."""
        self._queue = queue
        self._ticket = ticket
        self._training_lock = training_lock
        self._what = what

    @property
    def is_mine(self) -> bool:
        """Whether this run may train."""
        return self._training_lock.is_held

    def try_take(self) -> bool:
        """Take the turn if it has come. Ask twice a second while waiting."""
        if self.is_mine:
            return True
        if not self._ticket.is_held or not self._queue.is_first(self._ticket.path):
            return False
        if not self._training_lock.try_take(self._what):
            return False
        self._leave_queue()
        return True

    def release(self) -> None:
        """Leave the queue, or give the turn to the next."""
        self._leave_queue()
        self._training_lock.release()

    def __enter__(self) -> Self:
        """Return the turn."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Release the turn."""
        self.release()

    def _leave_queue(self) -> None:
        if self._ticket.is_held:
            self._ticket.path.unlink(missing_ok=True)
            self._ticket.release()
