"""What an event does beside being written down. Used by the journal's writer."""

from __future__ import annotations

from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    Continued,
    Event,
    Paused,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunQueued,
    RunResumed,
    RunStarted,
    RunStopped,
    StageAccepted,
    StageRejected,
    StageRolledBack,
)
from engine.run.state import RunState

# An event and the state that it puts the run in are written together, so that they cannot disagree
STATE_AFTER: dict[type[Event], RunState] = {
    RunQueued: RunState.QUEUED,
    RunStarted: RunState.RUNNING,
    RunResumed: RunState.RUNNING,
    Paused: RunState.PAUSED,
    Continued: RunState.RUNNING,
    RunStopped: RunState.PAUSED,
    RunFinished: RunState.DONE,
    RunFailed: RunState.FAILED,
    RunCancelled: RunState.CANCELLED,
}
STAGE_ENDS = (
    StageAccepted,
    StageRejected,
    StageRolledBack,
    RunFinished,
    RunFailed,
    RunCancelled,
    RunStopped,
)
DURABLE = (*STAGE_ENDS, CheckpointSaved, CommandAcknowledged, RunQueued, Paused)
PHASE_EVENTS = (PhaseStarted, PhaseProgressed, PhaseFinished)


def has_any(events: tuple[Event, ...], kinds: tuple[type[Event], ...]) -> bool:
    """Return whether one of the events is of one of the kinds."""
    return any(isinstance(event, kinds) for event in events)
