"""Which runs were given a new worker that has told nothing yet, so that each gets one alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.run import RunFolder

if TYPE_CHECKING:
    from tui.follow import Snapshot

PATIENCE_SECONDS = 15.0  # until another may be started: the first one has died silently


class TakenUp:
    """The runs that were taken up, from whatever screen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of no run."""
        self._clock = clock
        self._runs: dict[Path, tuple[tuple[str, int], float]] = {}

    def add(self, snapshot: Snapshot) -> None:
        """Take down that a run, as it is known now, was given a worker."""
        self._runs[_place(snapshot.run)] = (_mark(snapshot), self._clock() + PATIENCE_SECONDS)

    def is_awaited(self, snapshot: Snapshot) -> bool:
        """Return whether a run's new worker is waited for: it is as it was, and not for long."""
        place = _place(snapshot.run)
        mark, until = self._runs.get(place, (None, 0.0))
        if mark == _mark(snapshot) and self._clock() < until:
            return True
        self._runs.pop(place, None)
        return False


def _place(run: RunFolder) -> Path:
    return run.path.absolute()


def _mark(snapshot: Snapshot) -> tuple[str, int]:
    return snapshot.state, snapshot.view.resumes
