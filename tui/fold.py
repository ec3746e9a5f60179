"""A journal's events folded into a `RunView`. Pure; no files, no Textual.

Any prefix of any journal gives a valid view, whatever came after what: events that do not fit are
taken for what they say, and kinds of a newer program are counted. Phases are folded in
fold_phases.py, stages in fold_stages.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    Continued,
    DiskLow,
    Evaluated,
    Exported,
    GridChosen,
    LogLine,
    LossDiverged,
    Paused,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunPlanned,
    RunQueued,
    RunResumed,
    RunStarted,
    RunStopped,
    SamplesSaved,
    StageAccepted,
    StageRejected,
    StageRolledBack,
    StageStarted,
    StageTrained,
    TryStarted,
    UnknownEvent,
)
from engine.run.fact import changed
from engine.run.reader import StoredEvent
from engine.run.worked import count_work
from tui.fold_phases import at_rest, begun, finished, progressed
from tui.fold_stages import answered, evaluated, in_stages, planned
from tui.state import Pause, RunView, kept


def fold(view: RunView, events: Iterable[StoredEvent]) -> RunView:
    """Return the view after more events, oldest first. Events seen before are passed over."""
    for stored in events:
        if stored.id > view.last_id:
            seconds, until = count_work(view.worked_seconds, view.worked_until, stored)
            view = changed(
                _after(view, stored),
                last_id=stored.id,
                last_time=stored.time,
                worked_seconds=seconds,
                worked_until=until,
            )
    return view


def with_progress(view: RunView, latest: object, time: float) -> RunView:
    """Return the view with the newest progress, as the journal's `latest` tells it.

    For a view that was folded from facts alone.
    """
    if not isinstance(latest, dict) or latest.get("kind") != "PhaseProgressed":
        return view
    try:
        event = PhaseProgressed(
            phase=str(latest["phase"]),
            done=int(latest["done"]),
            total=None if latest["total"] is None else int(latest["total"]),
            stage=None if latest.get("stage") is None else int(latest["stage"]),
            eta_seconds=None if latest.get("eta_seconds") is None else float(latest["eta_seconds"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return view
    return progressed(view, event, time, may_begin=False)


def _after(view: RunView, stored: StoredEvent) -> RunView:
    event, time = stored.event, stored.time
    match event:
        case PhaseStarted():
            return begun(view, event, time)
        case PhaseProgressed():
            return progressed(view, event, time)
        case PhaseFinished():
            return finished(view, event, time)
        case (
            StageStarted()
            | TryStarted()
            | StageTrained()
            | StageAccepted()
            | StageRejected()
            | StageRolledBack()
            | LossDiverged()
        ):
            return in_stages(view, event, time)
        case Evaluated():
            return evaluated(view, event, time)
        case GridChosen():
            return changed(view, grid=event)
        case RunPlanned():
            return planned(view, event)
        case SamplesSaved():
            return changed(view, samples=kept(view.samples, (time, event)))
        case CheckpointSaved():
            return changed(view, checkpoints=view.checkpoints + 1, last_checkpoint=(time, event))
        case Exported():
            return changed(view, exported=kept(view.exported, event))
        case CommandAcknowledged():
            return answered(view, event, time)
        case LogLine():
            return changed(view, last_log=event)
        case DiskLow():
            return changed(view, disk_low=event)
        case UnknownEvent():
            return changed(view, unknown=view.unknown + 1)
        case _:
            return _of_the_run(view, event, time)


def _of_the_run(view: RunView, event: object, time: float) -> RunView:
    match event:
        case RunQueued():
            return changed(
                view,
                state="queued",
                label=event.label,
                queued_by=event.queued_by,
                queued=time,
                engine_version=event.engine_version or view.engine_version,
            )
        case RunStarted() | RunResumed():
            view = at_rest(view, "stopped")
            is_again = isinstance(event, RunResumed)
            return changed(
                view,
                state="running",
                pid=event.pid,
                host=event.host,
                device=event.device,
                engine_version=event.engine_version or view.engine_version,
                started=view.started if is_again and view.started is not None else time,
                ended=None,
                stopped=None,
                failure=None,
                result=None,
                cancelled=None,
                disk_low=None,
                resumes=view.resumes + is_again,
                resumed_since_try=is_again,
            )
        case Paused():
            if (
                event.is_memory_freed
            ):  # the work was let go of, and is begun again from what was kept
                view = changed(at_rest(view, "stopped"), resumed_since_try=True)
            pause = Pause(time, event.step, event.reason, event.is_memory_freed)
            return changed(view, state="paused", pause=pause)
        case Continued():
            view = _without_pause(view, time)
            return changed(view, state="running", disk_low=None)
        case RunStopped():
            view = at_rest(_without_pause(view, time), "stopped")
            return changed(view, state="paused", stopped=event, ended=time)
        case RunFinished():
            view = at_rest(_without_pause(view, time), "done")
            return changed(view, state="done", result=event, ended=time)
        case RunFailed():
            view = at_rest(_without_pause(view, time), "failed")
            return changed(view, state="failed", failure=event, ended=time)
        case RunCancelled():
            view = at_rest(_without_pause(view, time), "cancelled")
            return changed(view, state="cancelled", cancelled=event, ended=time)
        case _:
            return view


def _without_pause(view: RunView, time: float) -> RunView:
    if view.pause is None:
        return view
    spent = max(0.0, time - view.pause.since)
    return changed(view, pause=None, paused_seconds=view.paused_seconds + spent)
