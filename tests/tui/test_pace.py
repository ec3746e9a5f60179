"""How far a run is, and how long it still takes."""

import pytest

from engine.run.events import (
    Event,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunCancelled,
    RunFailed,
    StageAccepted,
    StageStarted,
)
from engine.run.fact import changed
from tests.tui.journals import stored
from tests.tui.told import BEGUN, PLANNED, try_started
from tui.fold import fold
from tui.pace import progress_of, seconds_left
from tui.state import RunView


def test_time_left_follows_the_pace_of_what_is_done() -> None:
    view = fold(RunView(), stored(BEGUN))
    # 75 steps in 30 s are left of this stage, and the next one has 100
    assert seconds_left(view) == pytest.approx(30 + 40)
    progress = progress_of(view)
    assert progress is not None
    assert 0 < progress < 0.2


@pytest.mark.parametrize(
    "end",
    [RunFailed(error="DataError", message="gone"), RunCancelled(step=7, cancelled_by="ann@mac")],
)
def test_a_run_that_is_over_without_a_result_is_no_share_of_the_way(end: Event) -> None:
    assert progress_of(fold(RunView(), stored([*BEGUN, end]))) is None


GATE: list[Event] = [
    *BEGUN,
    PhaseFinished(phase="train", stage=1, seconds=40.0),
    PhaseStarted(phase="gate", stage=1, unit="samples"),
    PhaseStarted(phase="evaluate", unit="samples"),
]


def test_time_left_counts_what_is_done_inside_the_gate() -> None:
    inner = PhaseProgressed(phase="evaluate", done=100, total=256, eta_seconds=45.0)
    last = changed(PLANNED, stages=PLANNED.stages[:1])
    events = [last if one is PLANNED else one for one in GATE]
    assert seconds_left(fold(RunView(), stored([*events, inner]))) == pytest.approx(45)


def test_a_later_stage_is_reckoned_without_the_originals_samples() -> None:
    events = [
        *GATE,
        PhaseFinished(phase="evaluate", seconds=90.0),
        PhaseFinished(phase="gate", stage=1, seconds=100.0),
        StageAccepted(stage=1, attempt=1, score=0.95, lower_bound=0.92, threshold=0.9),
    ]
    # 100 steps as the first stage took, and its gate without what is done once
    assert seconds_left(fold(RunView(), stored(events))) == pytest.approx(40 + 10)


def test_a_later_stage_is_as_long_as_the_newest_was_planned() -> None:
    planned = changed(
        PLANNED, stages=(*PLANNED.stages, PlannedStage(stage=3, input_steps=4, output_steps=2))
    )
    events = [
        *(planned if one is PLANNED else one for one in BEGUN[:-1]),
        PhaseFinished(phase="train", stage=1, seconds=40.0),
        StageAccepted(stage=1, attempt=1, score=0.95, lower_bound=0.92, threshold=0.9),
        StageStarted(stage=2, input_steps=8, output_steps=4),
        changed(try_started(2, 1), iterations=150),
    ]
    assert seconds_left(fold(RunView(), stored(events))) == pytest.approx(0.4 * (150 + 150))
