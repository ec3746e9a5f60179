"""The lines of the log, and what happened while nobody looked, in words. Pure."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable
from typing import NamedTuple

from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    DiskLow,
    Event,
    LossDiverged,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunResumed,
    RunStarted,
    RunStopped,
    SamplesSaved,
    StageAccepted,
    StageRejected,
    StageRolledBack,
    StageStarted,
)
from engine.run.reader import StoredEvent
from engine.run.telling import PHASE_WORDS, tell
from tui import format as words
from tui.state import RunView

ORIGINAL_WORDS = "sample the original"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Line(NamedTuple):
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
    return Line(stored.time, told.level, words.printable(told.text), stored.id)


def clock_time(time: float | None) -> str:
    """Return a time of day, 14:04:31; the day's too where it is not today."""
    try:
        local = clock.localtime(time)
        return clock.strftime("%H:%M:%S", local) if time is not None else "--:--:--"
    except (OverflowError, ValueError, OSError):
        return "--:--:--"


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
            return "taken up again"
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
    is_after = active is not None and (active is view.evaluate or active is view.export)
    if stage is not None and not is_after:  # what comes after all stages is of none
        parts.append(f"stage {stage.stage}/{max(len(view.stages), stage.stage)}")
        if stage.output_steps is not None:
            parts.append(f"{stage.input_steps} → {stage.output_steps}")
    if active is not None and not view.is_over:
        is_original = active is view.original  # to the engine an evaluation as others are
        name = PHASE_WORDS.get(active.name, active.name)
        parts.append(ORIGINAL_WORDS if is_original else name)
    return words.printable(" · ".join(parts))
