"""The first events of a run, and its tree as a person reads it."""

from engine.run.events import (
    Event,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunPlanned,
    RunQueued,
    RunStarted,
    StageRejected,
    StageStarted,
    TryStarted,
)
from tui import format as words
from tui.state import RunView
from tui.tree import lines, tree


def label_of(view: RunView, state: str | None = None) -> list[str]:
    return [
        f"{words.glyph(line.state)} {line.label} {line.figure}".rstrip()
        for line in lines(tree(view, state or view.state, "run"))
        if line.bar is None
    ]


PLANNED = RunPlanned(
    original_steps=16,
    target_steps=4,
    threshold=0.9,
    stages=(
        PlannedStage(stage=1, input_steps=16, output_steps=8),
        PlannedStage(stage=2, input_steps=8, output_steps=4),
    ),
)


def try_started(stage: int, attempt: int, remedy: str = "as planned") -> TryStarted:
    return TryStarted(
        stage=stage,
        attempt=attempt,
        remedy=remedy,
        iterations=100,
        learning_rate=1e-4,
        grid_name="uniform",
    )


def rejected(stage: int, attempt: int, following: str | None) -> StageRejected:
    return StageRejected(
        stage=stage,
        attempt=attempt,
        reason="score 0.5000 on the select noise is below 0.9",
        score=0.5,
        lower_bound=0.45,
        next_remedy=following,
    )


BEGUN: list[Event] = [
    RunQueued(label="demo", queued_by="ada@studio 1 diffopt"),
    RunStarted(pid=1, host="studio", device="cpu"),
    PLANNED,
    StageStarted(stage=1, input_steps=16, output_steps=8),
    try_started(1, 1),
    PhaseStarted(phase="train", stage=1, unit="optimiser steps"),
    PhaseProgressed(phase="train", stage=1, done=25, total=100, eta_seconds=30.0),
]
