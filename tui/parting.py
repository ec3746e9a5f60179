"""What is said when the dashboard ends: which runs work on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.run import RunFolder, list_runs
from engine.run.lock import is_locked
from tui.broken import BROKEN

_MOST_NAMED = 3


def is_at_work(run: RunFolder) -> bool:
    """Return whether an engine works on a run, or waits with it for its turn."""
    try:
        return is_locked(run.lock_path) and run.status().pid is not None
    except BROKEN:
        return False


def words_at_parting(
    runs_dir: Path, current: RunFolder | None, stopped: RunFolder | None = None
) -> list[str]:
    """Return what to say of runs that work on, the current one first; [] where none does."""
    known = {run.path.absolute(): run for run in (current,) if run is not None}
    with suppress(*BROKEN):  # a folder that cannot be read keeps nobody here
        known.update((run.path.absolute(), run) for run in list_runs(runs_dir))
    if stopped is not None:
        known.pop(stopped.path.absolute(), None)
    names = [run.name for run in known.values() if is_at_work(run)]
    if not names:
        return []
    named, rest = ", ".join(names[:_MOST_NAMED]), len(names) - _MOST_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    is_one = len(names) == 1
    return [
        f"{named}{more} work{'s' if is_one else ''} on. "
        f"`diffopt-tui` shows {'it' if is_one else 'them'} again."
    ]
