"""The lines of a run's log: what its events say, and what its worker logged, in one order. Pure.

Kept are the newest; older ones stay in the journal and in worker.log.
"""

from __future__ import annotations

import re
import time as clock
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from tui.format import printable
from tui.telling import LEVELS, Line

KEPT = 5000
_FIRST_BYTES = 65_536
_LOGGED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d+) ([A-Z]+) ([\w.]+): (.*)")


class LogBook:
    """The newest lines, oldest first."""

    def __init__(self) -> None:
        """Start empty."""
        self._lines: list[Line] = []
        self.added = 0  # how many there ever were: who watches knows by it that there are more
        self._stirred = 0  # `added` when a line last went between others

    @property
    def lines(self) -> list[Line]:
        """All lines kept."""
        return self._lines

    def add(self, lines: Iterable[Line]) -> None:
        """Add lines; each goes to the place of its time."""
        fresh = list(lines)
        if not fresh:
            return
        self._lines += fresh
        self.added += len(fresh)
        newest = self._lines[-len(fresh) - 1 :]
        if any(line.time < before.time for before, line in pairwise(newest)):
            self._lines.sort(key=lambda line: line.time)
            self._stirred = self.added
        del self._lines[:-KEPT]

    def since(self, added: int) -> list[Line] | None:
        """Return the lines that came after `added` had been there, which all follow those.

        None where one of them went between older ones, so that all must be looked at again.
        """
        if added < self._stirred:
            return None
        missing = self.added - added
        return self._lines[-missing:] if missing > 0 else []

    def matching(self, text: str, rank: int) -> Iterator[Line]:
        """Yield the lines at and above a level that hold `text`, whatever its case."""
        wanted = text.casefold()
        for line in self._lines:
            if line.rank >= rank and (not wanted or wanted in line.text.casefold()):
                yield line


class WorkerLog:
    """Reads what is new in worker.log."""

    def __init__(self, path: Path) -> None:
        """Begin near the end of a long file."""
        self.path = path
        self._offset: int | None = None
        self._rest = b""
        self._last = (0.0, "INFO")

    def read(self) -> list[Line]:
        """Return the lines since the last call; [] where the file cannot be read."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if self._offset is None or size < self._offset:
                    self._offset = max(0, size - _FIRST_BYTES)
                    self._rest = b""
                    self._last = (self.path.stat().st_ctime, "INFO")
                if size == self._offset:
                    return []
                file.seek(self._offset)
                content = file.read(_FIRST_BYTES)
                self._offset += len(content)
        except OSError:
            return []
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [self._parsed(line.decode("utf-8", "replace")) for line in lines if line.strip()]

    def _parsed(self, text: str) -> Line:
        match = _LOGGED.match(text)
        if match is not None:
            when, milliseconds, level, name, text = match.groups()
            time = clock.mktime(clock.strptime(when, "%Y-%m-%d %H:%M:%S"))
            time += int(milliseconds) / 1000
            self._last = (time, level if level in LEVELS else "ERROR")
            text = f"{name.removeprefix('engine.')}: {text}"
        return Line(*self._last, printable(text.expandtabs(4)))
