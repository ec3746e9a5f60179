"""Events in words: the lines of the log, and what happened while nobody looked. Pure."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable
from dataclasses import dataclass

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
from engine.run.reader import StoredEvent
from tui import format as words
from tui.state import RunView

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
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


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log; `id` is its event's, 0 for a line of worker.log."""

    time: float
    level: str
    text: str
    id: int = 0

    @property
    def rank(self) -> int:
        """The level's place in LEVELS; a word that is none counts as an error."""
        return LEVELS.index(self.level) if self.level in LEVELS else len(LEVELS) - 1


def line_of(stored: StoredEvent) -> Line | None:
    """Return an event's line of the log; None for one that has nothing to say there."""
    told = tell(stored.event)
    if told is None:
        return None
    level, text = told
    return Line(stored.time, level, words.printable(text), stored.id)


def clock_time(time: float | None) -> str:
    """Return a time of day, 14:04:31; the day's too where it is not today."""
    try:
        local = clock.localtime(time)
        return clock.strftime("%H:%M:%S", local) if time is not None else "--:--:--"
    except (OverflowError, ValueError, OSError):
        return "--:--:--"


def tell(event: Event) -> tuple[str, str] | None:
    """Return (level, words) of an event; None where the screen shows it otherwise."""
    match event:
        case PhaseStarted() | PhaseProgressed():
            return None
        case PhaseFinished():
            what = PHASE_WORDS.get(event.phase, event.phase)
            more = f": {event.summary}" if event.summary else ""
            return "DEBUG", f"{what}, done in {words.duration(event.seconds)}{more}"
        case LogLine():
            return _level(event.level), event.text
        case UnknownEvent():
            return "INFO", f"{event.kind} {event.body}"
        case Evaluated():
            return "INFO", (
                f"{event.label}, {event.steps} steps: {words.score(event.score)}, at least "
                f"{words.score(event.lower_bound)} ({event.noise_set} noise)"
            )
        case SamplesSaved():
            return "INFO", f"samples {event.path}"
        case CheckpointSaved():
            return "INFO", f"checkpoint at step {event.step} ({words.bytes_(event.size_bytes)})"
        case Exported():
            return "INFO", f"exported to {event.path} ({words.bytes_(event.size_bytes)})"
        case CommandAcknowledged():
            level = "INFO" if event.outcome == "done" else "WARNING"
            detail = f": {event.detail}" if event.detail else ""
            return level, f"{event.command} by {event.issued_by}: {event.outcome}{detail}"
        case DiskLow():
            return "WARNING", f"the disk is low: {words.bytes_(event.free_bytes)} free"
        case LossDiverged():
            return (
                "WARNING",
                f"loss {words.number(event.loss)} at step {event.step}: {event.remedy}",
            )
        case StageStarted() | TryStarted() | StageTrained() | GridChosen():
            return "INFO", _of_training(event)
        case StageAccepted():
            return "INFO", (
                f"stage {event.stage} accepted: at least {words.score(event.lower_bound)} of "
                f"{event.threshold:g}"
            )
        case StageRejected():
            following = f"; next: {event.next_remedy}" if event.next_remedy else ""
            return "WARNING", (
                f"stage {event.stage} try {event.attempt} rejected: {event.reason}{following}"
            )
        case StageRolledBack():
            return "WARNING", f"rolled back to {event.to_steps} steps: {event.reason}"
        case _:
            return _of_the_run(event)


def _of_training(event: StageStarted | TryStarted | StageTrained | GridChosen) -> str:
    match event:
        case StageStarted():
            return f"stage {event.stage}: {event.input_steps} to {event.output_steps} steps"
        case TryStarted():
            return (
                f"stage {event.stage} try {event.attempt}, {event.remedy}: {event.iterations} "
                f"steps at {event.learning_rate:g} on {event.grid_name}"
            )
        case StageTrained():
            return (
                f"trained in {words.duration(event.seconds)}, loss {words.number(event.final_loss)}"
            )
        case GridChosen():
            return f"grid for {event.steps} steps: {words.timesteps(event.timesteps)}"


def _of_the_run(event: Event) -> tuple[str, str]:
    match event:
        case RunQueued():
            return "INFO", f"queued by {event.queued_by}"
        case RunStarted():
            return "INFO", f"started on {event.device}"
        case RunResumed():
            return "INFO", f"taken up again at step {event.step} on {event.device}"
        case RunPlanned():
            steps = [
                *(str(one.input_steps) for one in event.stages[:1]),
                *(str(one.output_steps) for one in event.stages),
            ]
            return "INFO", f"stages: {' → '.join(steps)}, threshold {event.threshold:g}"
        case Paused():
            freed = ", memory freed" if event.is_memory_freed else ""
            reason = "" if event.reason == "command" else f" ({event.reason})"
            return "INFO", f"paused at step {event.step}{freed}{reason}"
        case Continued():
            return "INFO", f"going on at step {event.step}"
        case RunFinished():
            return "INFO", f"finished in {words.duration(event.seconds)}: {event.result}"
        case RunFailed():
            return "ERROR", f"failed: {event.error}: {event.message}"
        case RunStopped():
            return "INFO", f"stopped at step {event.step} ({event.reason})"
        case RunCancelled():
            return "WARNING", f"cancelled by {event.cancelled_by}"
        case _:
            return "INFO", type(event).__name__


def _level(word: str) -> str:
    known = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR"}
    return known.get(word.upper(), word.upper())


# While nobody looked


def happened(events: Iterable[StoredEvent]) -> list[str]:
    """Return what a person who was away wants to know, oldest first, a few words each."""
    told: list[tuple[str, int | None]] = []  # the stage that only began, where that is all
    checkpoints = samples = 0
    for stored in events:
        event = stored.event
        if isinstance(event, StageAccepted | StageRejected | StageRolledBack):
            told = [one for one in told if one[1] != event.stage]
        if isinstance(event, StageStarted):
            told.append((f"stage {event.stage} began", event.stage))
        elif (news := _news(event)) is not None:
            told.append((words.printable(news), None))
        checkpoints += isinstance(event, CheckpointSaved)
        samples += isinstance(event, SamplesSaved)
    for count, thing in ((checkpoints, "checkpoint"), (samples, "new sample")):
        if count:
            told.append((f"{count} {thing}{'s' if count > 1 else ''}", None))
    return [text for text, _ in told]


def _news(event: Event) -> str | None:
    match event:
        case StageAccepted():
            return f"stage {event.stage} accepted at {words.score(event.score)}"
        case StageRejected():
            return f"stage {event.stage} try {event.attempt} rejected"
        case StageRolledBack():
            return f"rolled back to {event.to_steps} steps"
        case LossDiverged():
            return f"the loss diverged at step {event.step}"
        case CommandAcknowledged():
            outcome = "" if event.outcome == "done" else f", {event.outcome}"
            return f"{event.command} by {event.issued_by.split(' ')[0]}{outcome}"
        case RunStarted():
            return "the run began"
        case RunResumed():
            return f"taken up again at step {event.step}"
        case RunFinished():
            return "the run finished"
        case RunFailed():
            return f"the run failed: {event.message}"
        case RunStopped():
            return f"stopped at step {event.step}"
        case RunCancelled():
            return "the run was cancelled"
        case DiskLow():
            return "the disk was low"
        case _:
            return None


def away(events: Iterable[StoredEvent], seconds: float, *, most: int = 4) -> str:
    """Return the sentence for one who comes back: "Away 14 min: stage 2 accepted at 0.9910."."""
    told = happened(events)
    if len(told) > most:
        told = [f"{len(told) - most} more, {told[-most]}", *told[-most + 1 :]]
    return f"Away {words.age(seconds)}: {', '.join(told) if told else 'nothing new'}."


def headline(view: RunView) -> str:
    """Return where the run is in a few words: "stage 2 of 3 · 8 → 4 · train"."""
    stage, active = view.current_stage, view.active
    parts = []
    if stage is not None and (active is None or active is not view.evaluate):
        parts.append(f"stage {stage.stage}/{max(len(view.stages), stage.stage)}")
        if stage.output_steps is not None:
            parts.append(f"{stage.input_steps} → {stage.output_steps}")
    if active is not None and not view.is_over:
        parts.append(PHASE_WORDS.get(active.name, active.name))
    return words.printable(" · ".join(parts))
