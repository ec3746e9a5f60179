"""How long a run was at work: over all its engines, without pauses and the time in between."""

from __future__ import annotations

from engine.run.events import (
    Continued,
    LogLine,
    Paused,
    PhaseProgressed,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunResumed,
    RunStarted,
    RunStopped,
)
from engine.run.reader import JournalReader, StoredEvent

_ENDS = (Paused, RunStopped, RunFinished, RunFailed, RunCancelled)


def count_work(
    seconds: float, until: float | None, stored: StoredEvent
) -> tuple[float, float | None]:
    """Return the seconds at work up to this event, and until when that is counted.

    `until` is None while nothing works. By facts alone, which is what every reader has: an engine
    that was killed worked until its last one.
    """
    event, time = stored.event, stored.time
    if isinstance(event, LogLine | PhaseProgressed):
        return seconds, until
    if isinstance(event, RunStarted | RunResumed):
        return seconds, time
    if until is None:
        return seconds, time if isinstance(event, Continued) else None
    return seconds + max(0.0, time - until), None if isinstance(event, _ENDS) else time


def seconds_at_work(reader: JournalReader, now: float) -> float:
    """Return how long the run was at work up to `now`, in seconds since the epoch."""
    seconds, until = 0.0, None
    for stored in reader.facts():
        seconds, until = count_work(seconds, until, stored)
    return seconds if until is None else seconds + max(0.0, now - until)
