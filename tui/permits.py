"""What may be done to a run now, and why not: greys keys out and says the reason."""

from __future__ import annotations

import contextlib

from engine.run import RunFolder
from tui.follow import Snapshot

RUN_ACTIONS = (
    "pause",
    "pause_and_free",
    "resume",
    "checkpoint",
    "cancel_stage",
    "cancel_run",
    "retry",
)
_OF_THE_FOLDER = ("report", "edit_config", "duplicate")
NOT_TRAINING = "No stage is being trained now."
_OVER = ("done", "cancelled")
_WITHOUT_ENGINE = ("lost", "failed")


def why_not(action: str, snapshot: Snapshot | None) -> str | None:
    """Return why an action cannot be done now; None where it can."""
    if snapshot is None:
        return "No run is shown. 1 lists the runs."
    if snapshot.is_gone and action in (*RUN_ACTIONS, *_OF_THE_FOLDER):
        return snapshot.problem
    if action not in RUN_ACTIONS:
        return None
    if snapshot.damage:
        return f"The journal of {snapshot.run.name} is damaged: the run can only be looked at."
    state = snapshot.state
    has_engine = snapshot.status is not None and snapshot.status.pid is not None
    name = snapshot.run.name
    if snapshot.notice:
        return "A newer diffopt wrote this run: it can only be watched. Update diffopt."
    if state in _OVER:
        return f"{name} is {state}; there is nothing left to do. d starts another like it."
    if action == "resume":
        return _why_not_resume(state, has_engine=has_engine, name=name)
    if action == "pause" and state == "paused":
        return None  # it goes on, or is taken up again
    if action == "cancel_run" and not has_engine and state in ("paused", "lost"):
        return None  # it has no worker to ask, and is ended in its place
    if state in _WITHOUT_ENGINE or (state == "paused" and not has_engine):
        return f"{name} is {_state_words(state)}, no engine works on it. r takes it up again."
    if state == "stopping":
        return f"{name} is stopping after a checkpoint."
    if action in ("checkpoint", "cancel_stage", "retry") and not _is_training(snapshot):
        return NOT_TRAINING
    return None


def is_taking_up(snapshot: Snapshot) -> bool:
    """Return whether going on needs a new worker: there is none to ask."""
    has_engine = snapshot.status is not None and snapshot.status.pid is not None
    return not has_engine and snapshot.state in ("paused", "lost", "failed", "queued")


def _why_not_resume(state: str, *, has_engine: bool, name: str) -> str | None:
    if state in ("paused", "lost", "failed") or (state == "queued" and not has_engine):
        return None
    return f"{name} is {_state_words(state)}; there is nothing to resume."


def _state_words(state: str) -> str:
    return "stopped" if state == "paused" else state


def _is_training(snapshot: Snapshot) -> bool:
    stage = snapshot.view.current_stage
    one = stage.current if stage is not None else None
    if one is None or one.train is None:
        return False
    if snapshot.state == "paused":  # what was let go of is begun again when it goes on
        return one.train.state == "running"
    return one.train.state == "running" and one.state == "running"


def why_no_report(run: RunFolder, state: str) -> str | None:
    """Return why there is nothing to read; None where there is."""
    with contextlib.suppress(OSError):
        if run.report_path.is_file():
            return None
    if state == "cancelled":
        return f"{run.name} was cancelled; a report is written of runs that are done alone."
    if state == "failed":
        return f"{run.name} failed before its report. r takes it up again."
    if state == "lost":
        return f"{run.name} lost its engine before its report. r takes it up again."
    if state == "done":
        return f"The report of {run.name} is gone: {run.report_path}."
    return f"{run.name} has no report yet; it is written when the run is done."
