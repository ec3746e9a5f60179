"""Events in words: one line each, for whoever follows a run on a terminal. Pure, no MLX.

The log of the dashboard and `diffopt log` say the same of an event.
"""

from __future__ import annotations

from engine.run import figures
from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    Continued,
    DiskLow,
    Evaluated,
    Event,
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
from engine.run.fact import Fact

PHASE_WORDS = {
    "probe": "look at the machine",
    "load": "load the model",
    "cache": "cache teacher paths",
    "plan": "choose grids",
    "train": "train",
    "gate": "evaluate",
    "evaluate": "evaluate",
    "export": "export and report",
}


class Told(Fact):
    """An event in words; `level` as in logging."""

    level: str
    text: str


def tell(event: Event) -> Told | None:
    """Return an event in words; None for the beginning and the progress of a phase."""
    match event:
        case PhaseStarted() | PhaseProgressed():
            return None
        case PhaseFinished():
            what = PHASE_WORDS.get(event.phase, event.phase)
            more = f": {event.summary}" if event.summary else ""
            return Told("DEBUG", f"{what}, done in {figures.duration(event.seconds)}{more}")
        case LogLine():
            return Told(_level(event.level), event.text)
        case UnknownEvent():
            return Told("INFO", f"{event.kind} {event.body}")
        case (
            GridChosen()
            | StageStarted()
            | TryStarted()
            | StageTrained()
            | Evaluated()
            | StageAccepted()
            | StageRejected()
            | StageRolledBack()
            | LossDiverged()
        ):
            return _of_a_stage(event)
        case SamplesSaved() | CheckpointSaved() | Exported() | DiskLow():
            return _of_the_disk(event)
        case _:
            return _of_the_run(event)


def _of_a_stage(event: Event) -> Told:
    match event:
        case GridChosen():
            timesteps = figures.timesteps(event.timesteps)
            return Told("INFO", f"grid for {event.steps} steps: {timesteps} ({event.source})")
        case StageStarted():
            return Told(
                "INFO", f"stage {event.stage}: {event.input_steps} to {event.output_steps} steps"
            )
        case TryStarted():
            return Told(
                "INFO",
                f"stage {event.stage} try {event.attempt}, {event.remedy}: {event.iterations} "
                f"steps at {event.learning_rate:g} on {event.grid_name}",
            )
        case StageTrained():
            took, loss = figures.duration(event.seconds), figures.number(event.final_loss)
            return Told("INFO", f"trained in {took}, loss {loss}")
        case Evaluated():
            return Told(
                "INFO",
                f"{event.label}, {event.steps} steps: {figures.score(event.score)}, at least "
                f"{figures.score(event.lower_bound)} ({event.noise_set} noise)",
            )
        case StageAccepted():
            return Told(
                "INFO",
                f"stage {event.stage} accepted: at least {figures.score(event.lower_bound)} of "
                f"{event.threshold:g}",
            )
        case StageRejected():
            following = f"; next: {event.next_remedy}" if event.next_remedy else ""
            return Told(
                "WARNING",
                f"stage {event.stage} try {event.attempt} rejected: {event.reason}{following}",
            )
        case StageRolledBack():
            return Told("WARNING", f"rolled back to {event.to_steps} steps: {event.reason}")
        case LossDiverged():
            return Told(
                "WARNING",
                f"loss {figures.number(event.loss)} at step {event.step}: {event.remedy}",
            )
        case _:
            raise AssertionError(event)


def _of_the_disk(event: Event) -> Told:
    match event:
        case SamplesSaved():
            return Told("INFO", f"samples {event.path}")
        case CheckpointSaved():
            size = figures.bytes_(event.size_bytes)
            return Told("INFO", f"checkpoint at step {event.step} ({size})")
        case Exported():
            return Told("INFO", f"exported to {event.path} ({figures.bytes_(event.size_bytes)})")
        case DiskLow():
            free = figures.bytes_(event.free_bytes)
            return Told("WARNING", f"the disk is low: {free} free at {event.path}")
        case _:
            raise AssertionError(event)


def _of_the_run(event: Event) -> Told:
    match event:
        case RunQueued():
            return Told("INFO", f"queued by {event.queued_by}")
        case RunStarted():
            return Told("INFO", f"started on {event.device}")
        case RunResumed():
            return Told(
                "INFO", f"taken up again, it had come to step {event.step}, on {event.device}"
            )
        case RunPlanned():
            steps = [
                *(str(one.input_steps) for one in event.stages[:1]),
                *(str(one.output_steps) for one in event.stages),
            ]
            return Told("INFO", f"stages: {' → '.join(steps)}, threshold {event.threshold:g}")
        case CommandAcknowledged():
            detail = f": {event.detail}" if event.detail else ""
            return Told(
                "INFO" if event.outcome == "done" else "WARNING",
                f"{event.command} by {event.issued_by}: {event.outcome}{detail}",
            )
        case Paused():
            freed = ", memory freed" if event.is_memory_freed else ""
            return Told("INFO", f"paused at step {event.step}{freed}{_unless_asked(event.reason)}")
        case Continued():
            return Told("INFO", f"going on at step {event.step}{_unless_asked(event.reason)}")
        case RunFinished():
            return Told("INFO", f"finished in {figures.duration(event.seconds)}: {event.result}")
        case RunFailed():
            return Told("ERROR", f"failed: {event.error}: {event.message}")
        case RunStopped():
            return Told("INFO", f"stopped at step {event.step} ({event.reason})")
        case RunCancelled():
            return Told("WARNING", f"cancelled by {event.cancelled_by}")
        case _:
            return Told("INFO", type(event).__name__)


def _unless_asked(reason: str) -> str:
    return "" if reason == "command" else f" ({reason})"


def _level(word: str) -> str:
    known = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR"}
    return known.get(word.upper(), word.upper())
