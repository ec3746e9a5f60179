"""Keeping a journal's WAL short, from a thread that does not commit. Used by journal.py."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from engine.run.closing import Closing
from engine.run.schema import BUSY_TIMEOUT_MS, open_to_write, set_patience

_SHRINK_PATIENCE_MS = 20
_COMMITS_BETWEEN_CHECKPOINTS = 100
_RESTART_PAGES = 2000  # 8 MB: from here on a checkpoint tries to let the WAL start over
_HOLD_WRITER_PAGES = 8000  # 32 MB: from here on commits wait for that


class Wal(Closing):
    """Moves what a connection commits from the WAL into the main file.

    `lock` is held by whoever uses the connection.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: threading.RLock) -> None:
        self._path, self._connection, self._lock = path, connection, lock
        self._file = path.with_name(f"{path.name}-wal")
        self._commits = 0
        self._checkpointer: sqlite3.Connection | None = None
        self._checkpoint_lock = threading.Lock()

    def mark(self) -> tuple[int, int] | None:
        """Return what differs once somebody has written: the WAL's time, in ns, and its size."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def count_commit(self) -> None:
        """Take note of a commit."""
        self._commits += 1

    def make_due(self) -> None:
        """Ask for a checkpoint soon: on a full disk it gives room inside the WAL back."""
        self._commits += _COMMITS_BETWEEN_CHECKPOINTS

    def checkpoint(self) -> bool:
        """Move the WAL's content into the main file, from a thread that does not commit.

        Returns whether there was enough to be worth it. A checkpoint syncs both files, some 10 ms
        that the training thread need not wait for. A WAL starts over only if all of it was moved
        before the next commit: that is tried between two steps, and in the end enforced.
        """
        with self._checkpoint_lock:
            if self._commits < _COMMITS_BETWEEN_CHECKPOINTS:
                return False
            self._commits = 0
            if self._checkpointer is None:
                self._checkpointer = open_to_write(self._path)
            move = "pragma wal_checkpoint(passive)"
            try:
                (_, pages, _) = self._checkpointer.execute(move).fetchone()
                is_outrun = pages > _RESTART_PAGES
                for _ in range(3 if is_outrun else 0):
                    commits = self._commits
                    self._checkpointer.execute(move).fetchone()
                    if not (is_outrun := self._commits != commits):
                        break
                if is_outrun and pages > _HOLD_WRITER_PAGES:
                    with self._lock:
                        self._checkpointer.execute(move).fetchone()
                self._begin_anew(self._checkpointer)
            except sqlite3.OperationalError:  # no room in the main file; the WAL keeps it all
                return False
            return True

    @staticmethod
    def _begin_anew(connection: sqlite3.Connection) -> None:
        """Write something: the first commit of a WAL that starts over syncs it, some 10 ms."""
        connection.execute("insert or replace into latest values ('checkpointed', 'true')")

    def shrink(self) -> bool:
        """Move the WAL into the main file and cut it to nothing.

        Returns False where a reader or a full disk forbids.
        """
        with self._lock:
            try:
                set_patience(self._connection, _SHRINK_PATIENCE_MS)
                (is_busy, _, _) = self._connection.execute(
                    "pragma wal_checkpoint(truncate)"
                ).fetchone()
                return not is_busy
            except sqlite3.OperationalError:
                return False
            finally:
                set_patience(self._connection, BUSY_TIMEOUT_MS)

    def close(self) -> None:
        """Let go of the connection that checkpoints."""
        with self._checkpoint_lock:
            if self._checkpointer is not None:
                self._checkpointer.close()
