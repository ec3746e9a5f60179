"""Which runs ended, so that each end is told once, whatever screen is shown."""

from __future__ import annotations

from pathlib import Path

from engine.run import RunFolder
from engine.run.schema import JournalBusy
from tui.broken import BROKEN, PATIENCE_SECONDS

_AT_WORK = ("running", "paused", "stopping", "stuck", "queued")
_OVER = ("done", "failed", "cancelled", "lost")


class Ends:
    """The states of runs as they were last seen by any screen."""

    def __init__(self) -> None:
        """Know of no run."""
        self._states: dict[Path, str] = {}

    def has_ended(self, path: Path, state: str) -> bool:
        """Take down a run's state; return whether it was at work before and is over now."""
        before = self._states.get(path.absolute())
        self._states[path.absolute()] = state
        return before in _AT_WORK and state in _OVER

    def at_work(self, shown: Path | None) -> list[Path]:
        """Return the runs that were at work when last seen, but for the one that is shown."""
        here = shown.absolute() if shown is not None else None
        return [path for path, state in self._states.items() if state in _AT_WORK and path != here]

    def states_now(self, paths: list[Path]) -> list[tuple[Path, str]]:
        """Read the states of runs; one that cannot be read any more is forgotten.

        One whose journal is merely locked just now is passed over.
        """
        found: list[tuple[Path, str]] = []
        for path in paths:
            try:
                status = RunFolder(path).status(patience_seconds=PATIENCE_SECONDS)
                found.append((path, str(status.state)))
            except JournalBusy:
                continue
            except BROKEN:
                self._states.pop(path, None)
        return found
