"""How far a run is, and how long it still takes."""

from collections.abc import Iterator

import pytest

from engine.run import StoredEvent, event_to_dict
from engine.run.events import (
    Event,
    LogLine,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunCancelled,
    RunFailed,
    RunPlanned,
    StageAccepted,
    StageRejected,
    StageStarted,
    TryStarted,
)
from engine.run.fact import changed
from tests.tui.journals import events_of, stored
from tests.tui.told import BEGUN, PLANNED, try_started
from tui.fold import fold, with_progress
from tui.pace import progress_of, seconds_left
from tui.state import RunView

EXPORT = 2.0


def test_time_left_follows_the_pace_of_what_is_done() -> None:
    view = fold(RunView(), stored(BEGUN))
    # 75 steps in 30 s are left of this stage, the next one has 100, and then it is exported
    assert seconds_left(view) == pytest.approx(30 + 40 + EXPORT)
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
    inner = PhaseProgressed(phase="evaluate", done=100, total=256, eta_seconds=450.0)
    last = changed(PLANNED, stages=PLANNED.stages[:1])
    events = [last if one is PLANNED else one for one in GATE]
    left = seconds_left(fold(RunView(), stored([*events, inner])))
    assert left is not None
    assert left >= 450 + EXPORT


def test_a_later_stage_is_reckoned_without_the_originals_samples() -> None:
    events = [
        *GATE,
        PhaseFinished(phase="evaluate", seconds=90.0),
        PhaseFinished(phase="gate", stage=1, seconds=100.0),
        StageAccepted(stage=1, attempt=1, score=0.95, lower_bound=0.92, threshold=0.9),
    ]
    # 100 steps as the first stage took, and its gate without what is done once
    assert seconds_left(fold(RunView(), stored(events))) == pytest.approx(40 + 10 + EXPORT)


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
    assert seconds_left(fold(RunView(), stored(events))) == pytest.approx(
        0.4 * (150 + 150) + EXPORT
    )


MORE_TO_DO = (
    StageRejected,
    TryStarted,
    RunPlanned,
)  # a try failed: there is more to do than before


def looks(name: str, *, is_late: bool) -> Iterator[tuple[StoredEvent, RunView]]:
    """Go through a recorded run by its events, with what is known of it after each.

    `is_late`: by one who opens it then and reads facts and the newest progress alone, as Runs does.
    """
    facts, view, newest = RunView(), RunView(), None
    for one in events_of(name):
        view = fold(view, [one])
        if isinstance(one.event, PhaseStarted | PhaseProgressed | PhaseFinished):
            newest = one
        if not isinstance(one.event, LogLine | PhaseProgressed):
            facts = fold(facts, [one])
        told = (event_to_dict(newest.event), newest.time) if newest else (None, 0.0)
        late = with_progress(facts, *told)
        yield one, (late if is_late else view)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("name", ["smoke", "ladder"])
def test_progress_goes_on_and_is_never_whole_before_the_end(name: str, is_late: bool) -> None:
    """At every prefix of a true run; the recorded machine was at times twice as slow as before."""
    view, furthest = RunView(), 0.0
    for stored_event, view in looks(name, is_late=is_late):
        if view.is_over:
            break
        progress, left = progress_of(view), seconds_left(view)
        assert (progress is None) == (left is None)
        if progress is None:
            assert furthest == 0.0, "once there is an estimate there always is"
            continue
        assert progress < 1
        if isinstance(stored_event.event, MORE_TO_DO):
            furthest = 0.0
        assert progress > furthest - 0.05, stored_event
        furthest = max(furthest, progress)
    assert furthest > 0.9
    assert progress_of(view) == 1.0


@pytest.mark.parametrize("is_late", [False, True])
def test_the_last_evaluation_is_reckoned_by_the_looks_before(is_late: bool) -> None:
    """Within a third of what it took, while it says nothing of how far it is itself."""
    end = events_of("smoke")[-1].time
    checked = 0
    for stored_event, view in looks("smoke", is_late=is_late):
        if view.evaluate is None or view.export is not None:
            continue
        left, truth = seconds_left(view), end - stored_event.time
        assert left == pytest.approx(truth, rel=0.34), stored_event
        checked += 1
    assert checked > 5
