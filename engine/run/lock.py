"""Locks that the kernel frees when their holder ends, however it ends.

All are ``flock`` on small files. A lock belongs to an open file: a child made by fork alone would
keep it held, one that goes on to exec, as all of ours do, does not. Used by folder.py and queue.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path

from engine.run.closing import Closing
from engine.run.fact import Fact

_OWNING_TRIES = 40
_OWNING_WAIT_SECONDS = 0.025
_NOTE_BYTES = 8192  # a path has 4096 at most


class Holder(Fact):
    """What a lock's file says of the process that took it last; None for what cannot be read."""

    pid: int | None
    host: str | None
    what: str | None


class FileLock(Closing):
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
            os.pwrite(
                descriptor, json.dumps(note, ensure_ascii=False).encode().ljust(_NOTE_BYTES), 0
            )
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

    close = release


def is_locked(path: Path) -> bool:
    """Return whether some process holds the lock.

    It is asked for in shared mode, so that onlookers see past each other.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
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
