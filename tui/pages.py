"""Whether the pages of a finished run's journal are whole. No Textual.

A check reads all of the file, 4 to 9 ms a MiB. A small one is checked at once; a large one by a
thread, so that no screen waits for it. What was found is known until the journal changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from engine.run import JournalReader
from engine.run.schema import JournalBusy
from tui.broken import BROKEN, PATIENCE_SECONDS

AT_ONCE_BYTES = 2 << 20  # 8 to 18 ms

Mark = tuple[int, ...]


class PageChecks:
    """Checks journals one after the other; shared by all screens of a program."""

    def __init__(
        self, check: Callable[[Path], str] | None = None, *, at_once_bytes: int = AT_ONCE_BYTES
    ) -> None:
        """Check with `check`, which returns what is wrong with the journal at a path, or ""."""
        self._check = check or problem_of
        self._at_once_bytes = at_once_bytes
        self._found: dict[Path, tuple[Mark, str]] = {}
        self._asked: dict[Path, Mark] = {}
        self._queue: SimpleQueue[tuple[Path, Mark]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def problem(self, path: Path) -> str | None:
        """Return what is wrong with the journal at `path`, "" for a sound one.

        None while that is being found out: ask again in a while. OSError where there is no file,
        JournalBusy where somebody has locked it.
        """
        mark = _mark_of(path)
        known, problem = self._found.get(path, ((), ""))
        if known == mark:
            return problem
        _, _, size, _ = mark
        if size <= self._at_once_bytes:
            problem = self._check(path)
            self._found[path] = (mark, problem)
            return problem
        if self._asked.get(path) != mark:
            self._asked[path] = mark
            self._queue.put((path, mark))
        if self._thread is None:
            # a daemon: nobody waits for a check who wants to leave
            self._thread = threading.Thread(target=self._work, name="page checks", daemon=True)
            self._thread.start()
        return None

    def _work(self) -> None:
        while True:
            path, mark = self._queue.get()
            try:
                self._found[path] = (mark, self._check(path))
            except JournalBusy:
                self._asked.pop(path, None)  # whoever asks again has it checked again


def problem_of(path: Path) -> str:
    """Check the journal at `path` now; return what is wrong with it, "" for a sound one."""
    try:
        with JournalReader(path, patience_seconds=PATIENCE_SECONDS) as reader:
            reader.check()
    except JournalBusy:
        raise
    except BROKEN as error:
        return str(error)
    return ""


def _mark_of(path: Path) -> Mark:
    """Return what changes when the journal does; a log that holds nothing is as good as none."""
    facts = path.stat()
    try:
        waiting = path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        waiting = 0
    return facts.st_ino, facts.st_mtime_ns, facts.st_size, waiting


JOURNALS = PageChecks()
