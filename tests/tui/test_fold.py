"""The fold: what a true run looks like, and that no journal can break the view."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.run import RunState, StoredEvent
from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    Continued,
    Evaluated,
    Event,
    Paused,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunQueued,
    RunResumed,
    RunStarted,
    RunStopped,
    SamplesSaved,
    StageAccepted,
    StageRolledBack,
    StageStarted,
    StageTrained,
    UnknownEvent,
)
from tests.tui.journals import any_event, events_of, journals, stored
from tests.tui.told import BEGUN, PLANNED, label_of, rejected, try_started
from tests.tui.wholeness import check_asked, check_frame, check_whole, snapshot_of
from tui.fold import fold, with_progress
from tui.pace import seconds_left
from tui.screens.live_words import took
from tui.state import RunView
from tui.telling import away, headline, line_of
from tui.tree import lines, tree

SMOKE = events_of("smoke")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(journals)
def test_any_journal_gives_a_valid_view(events: list[StoredEvent]) -> None:
    check_whole(fold(RunView(), events), events)


@pytest.mark.parametrize("name", ["smoke", "ladder"])
def test_every_prefix_of_a_true_journal_gives_a_valid_view(name: str) -> None:
    events, view = events_of(name), RunView()
    for stored_event in events:
        view = fold(view, [stored_event])
        check_whole(view, [stored_event])
        check_asked(view)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(len(SMOKE))), st.integers(0, len(SMOKE)))
def test_a_stirred_true_journal_gives_a_valid_view(order: list[int], length: int) -> None:
    events = [SMOKE[old]._replace(id=new) for new, old in enumerate(order[:length], start=1)]
    check_whole(fold(RunView(), events), events)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMOKE)), any_event), max_size=6))
def test_a_true_journal_with_strange_events_gives_a_valid_view(
    strange: list[tuple[int, Event]],
) -> None:
    events: list[Event] = [one.event for one in SMOKE]
    for place, event in strange:
        events.insert(place, event)
    check_whole(fold(RunView(), stored(events)), stored(events))


@settings(deadline=None)
@given(st.integers(0, len(SMOKE)))
def test_folding_in_two_pieces_is_folding_in_one(cut: int) -> None:
    assert fold(fold(RunView(), SMOKE[:cut]), SMOKE[cut:]) == fold(RunView(), SMOKE)


def test_events_seen_before_change_nothing() -> None:
    view = fold(RunView(), SMOKE)
    assert fold(view, SMOKE) == view


def test_the_recorded_run_is_told_whole() -> None:
    view = fold(RunView(), SMOKE)
    assert view.state == "done"
    assert [(one.input_steps, one.output_steps, one.state) for one in view.stages] == [
        (10, 6, "accepted"),
        (6, 4, "accepted"),
    ]
    assert view.result is not None
    assert view.result.score == pytest.approx(0.9717, abs=1e-4)
    assert view.grid is not None
    assert len(view.grid.timesteps) == 4
    assert [event.command for _, event in view.answers] == ["checkpoint", "pause", "resume"]
    assert view.paused_seconds > 2
    assert len(view.student_scores) == 4
    assert view.unknown == 0


def test_a_retry_and_a_rollback_have_lines_of_their_own() -> None:
    events = [
        *BEGUN,
        PhaseFinished(phase="train", stage=1, seconds=40.0),
        rejected(1, 1, "more iterations"),
        try_started(1, 2, "more iterations"),
        rejected(1, 2, None),
        StageRolledBack(stage=1, to_steps=16, reason="no try of 8 steps passed the gate"),
    ]
    view = fold(RunView(), stored(events))
    told = label_of(view)
    assert "✗ try 1 as planned 0.5000" in told
    assert "✗ try 2 more iterations 0.5000" in told
    assert "↶ rolled back: no try of 8 steps passed the gate" in told
    assert "· distil 8 → 4" in told


def test_what_a_cancelled_stage_left_is_not_at_work() -> None:
    back = StageRolledBack(stage=1, to_steps=16, reason="cancelled by ada")
    view = fold(RunView(), stored([*BEGUN, back, PhaseStarted(phase="evaluate")]))
    told = label_of(view)
    assert "⊘ try 1 as planned" in told
    assert not any("train" in line for line in told), "it is closed"
    root = tree(view, view.state, "run")
    opened = [line.state for line in lines(root, ["stage 1 try 1"]) if "train" in line.label]
    assert opened == ["cancelled"]


def test_a_run_in_the_queue_again_has_nothing_at_work() -> None:
    view = fold(RunView(), stored([*BEGUN, RunStopped(step=25, reason="command")]))
    states = {line.key: line.state for line in lines(tree(view, "queued", "run"))}
    assert states["stage 1"] == states["stage 1 try 1"] == "queued"


def test_a_split_stage_is_followed_by_the_two_smaller_ones() -> None:
    events = [
        *BEGUN,
        rejected(1, 1, "smaller reduction"),
        replace(
            PLANNED,
            stages=(
                PlannedStage(stage=2, input_steps=16, output_steps=11),
                PlannedStage(stage=3, input_steps=11, output_steps=8),
                PlannedStage(stage=4, input_steps=8, output_steps=4),
            ),
        ),
    ]
    view = fold(RunView(), stored(events))
    assert [one.state for one in view.stages] == ["split", "waiting", "waiting", "waiting"]
    assert "÷ cut in two smaller reductions" in label_of(view)


def test_a_person_who_retries_is_named_on_the_try() -> None:
    answer = CommandAcknowledged(
        command_id="a", command="retry-stage", outcome="done", issued_by="bob@air 7 diffopt-tui"
    )
    view = fold(RunView(), stored([*BEGUN, try_started(1, 1), answer]))
    assert "↻ begun again by bob@air" in label_of(view)


def test_a_run_taken_up_again_keeps_its_stages_and_says_so() -> None:
    events = [
        *BEGUN,
        RunResumed(pid=2, host="studio", device="cpu", step=20, checkpoint=None),
        PLANNED,
        try_started(1, 1),
    ]
    view = fold(RunView(), stored(events))
    assert view.resumes == 1
    assert view.pid == 2
    assert "↻ taken up again" in label_of(view)
    assert [one.state for one in view.stages] == ["running", "waiting"]


def test_the_time_at_work_is_that_of_all_engines_without_pauses_and_what_lies_between() -> None:
    resumed = RunResumed(pid=2, host="studio", device="cpu", step=20, checkpoint=None)
    finished = RunFinished(
        result="done", exit_code=0, optimized_steps=4, score=0.99, lower_bound=0.98, seconds=70.0
    )
    told: list[tuple[Event, float]] = [
        (RunQueued(label="demo", queued_by="ada@air 7 diffopt"), 0),
        (RunStarted(pid=1, host="studio", device="cpu"), 100),  # it stood in line until then
        (Paused(step=1), 130),
        (Continued(step=1), 230),
        (CheckpointSaved(path="c", step=20, size_bytes=1), 250),
        (PhaseProgressed(phase="train", done=3, total=9), 259),  # facts alone count
        (resumed, 1000),  # it had been killed
        (RunStopped(step=30, reason="command"), 1040),
        (resumed, 2000),
        (finished, 2070),
    ]
    events = stored([one for one, _ in told], [float(time) for _, time in told])
    view = fold(RunView(), events)
    assert view.worked_seconds == 30 + 20 + 40 + 70
    facts = [one for one in events if one.kind != "PhaseProgressed"]
    assert fold(RunView(), facts).worked_seconds == view.worked_seconds
    assert took(view, now=7200.0) == "2m40s at work · 2 h old"


def test_a_failed_run_taken_up_again_has_its_later_stages_before_it() -> None:
    events = [
        *BEGUN,
        RunFailed(error="DataError", message="no images"),
        RunResumed(pid=2, host="studio", device="cpu", step=20, checkpoint=None),
        PLANNED,
        try_started(1, 1),
    ]
    before = fold(RunView(), stored(events[:-3]))
    assert [one.state for one in before.stages] == ["stopped", "skipped"]
    after = fold(RunView(), stored(events))
    assert after.failure is None
    assert [one.state for one in after.stages] == ["running", "waiting"]


def test_a_pause_that_freed_memory_keeps_how_far_the_training_was() -> None:
    view = fold(RunView(), stored([*BEGUN, Paused(step=25, is_memory_freed=True)]))
    assert view.pause is not None
    assert view.pause.is_memory_freed
    assert "‖ train 25/100" in label_of(view)
    going = fold(view, [one._replace(id=90) for one in stored([Continued(step=25)])])
    assert going.pause is None


def test_samples_of_the_original_for_the_gate_are_shown_inside_it() -> None:
    events = [
        *BEGUN,
        PhaseFinished(phase="train", stage=1, seconds=40.0),
        PhaseStarted(phase="gate", stage=1, unit="samples"),
        PhaseProgressed(phase="gate", stage=1, done=64, total=64),
        PhaseStarted(phase="evaluate", unit="samples"),
        PhaseProgressed(phase="evaluate", done=100, total=256),
    ]
    view = fold(RunView(), stored(events))
    assert "● evaluate (original) 100/256" in label_of(view)
    after = PhaseFinished(phase="evaluate", seconds=2.0)
    view = fold(RunView(), stored([*events, after]))
    assert "● evaluate 64/64" in label_of(view)
    assert view.evaluate is None


def test_the_last_evaluation_goes_on_after_its_own_samples() -> None:
    events = [
        *BEGUN,
        StageAccepted(stage=1, attempt=1, score=0.95, lower_bound=0.92, threshold=0.9),
        PhaseStarted(phase="evaluate"),
        PhaseStarted(phase="evaluate"),
        PhaseFinished(phase="evaluate", seconds=3.0),
    ]
    view = fold(RunView(), stored(events))
    assert view.evaluate is not None
    assert view.evaluate.state == "running"
    view = fold(RunView(), stored([*events, PhaseFinished(phase="evaluate", seconds=9.0)]))
    assert view.evaluate is not None
    assert view.evaluate.state == "done"


def test_a_stage_begins_with_the_caching_of_its_teacher_s_paths() -> None:
    accepted = StageAccepted(stage=1, attempt=1, score=0.99, lower_bound=0.98, threshold=0.9)
    caching = PhaseStarted(phase="cache", stage=2, unit="samples")
    view = fold(RunView(), stored([*BEGUN, accepted, caching]))
    assert view.current_stage == view.stage(2)
    assert headline(view) == "stage 2/2 · 8 → 4 · cache teacher paths"
    assert {"● distil 8 → 4", "● cache teacher paths"} <= set(label_of(view))
    early = PhaseStarted(phase="cache", stage=1, unit="samples")
    view = fold(RunView(), stored([*BEGUN[:2], early]))
    assert "● cache teacher paths" in label_of(view), "a line of its own before all is planned"
    assert "○ distil" in label_of(view)


def test_the_newest_progress_is_taken_from_the_latest_values() -> None:
    view = fold(RunView(), stored(BEGUN[:-1]))
    latest = {"kind": "PhaseProgressed", "phase": "train", "stage": 1, "done": 60, "total": 100}
    assert "● train 60/100" in label_of(with_progress(view, latest, 5.0))
    for nonsense in (None, [], {}, {"kind": "PhaseProgressed", "done": "x"}, latest | {"done": []}):
        assert with_progress(view, nonsense, 5.0) == view


def test_a_stopped_phase_is_as_far_as_the_latest_values_tell() -> None:
    view = fold(RunView(), stored([*BEGUN[:-1], RunStopped(step=60, reason="command")]))
    latest = {"kind": "PhaseProgressed", "phase": "train", "stage": 1, "done": 60, "total": 100}
    told = label_of(with_progress(view, latest | {"eta_seconds": 9.0}, 5.0))
    assert "‖ train 60/100" in told
    assert seconds_left(with_progress(view, latest | {"eta_seconds": 9.0}, 5.0)) is None


@pytest.mark.parametrize(
    "later",
    [
        try_started(1, 1),  # a person began it again
        rejected(1, 1, "more iterations"),
        StageAccepted(stage=1, attempt=1, score=0.95, lower_bound=0.92, threshold=0.9),
        StageRolledBack(stage=1, to_steps=16, reason="cancelled by ada"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_checkpoint_is_forgotten_with_the_try_it_is_of(later: Event) -> None:
    saved = CheckpointSaved(path="checkpoints/a", step=20, size_bytes=9)
    view = fold(RunView(), stored([*BEGUN, saved]))
    assert view.last_checkpoint is not None
    assert fold(RunView(), stored([*BEGUN, saved, later])).last_checkpoint is None


def test_a_checkpoint_is_known_while_its_try_is_taken_up() -> None:
    saved = CheckpointSaved(path="checkpoints/a", step=20, size_bytes=9)
    resumed = RunResumed(pid=2, host="studio", device="cpu", step=20, checkpoint="checkpoints/a")
    view = fold(RunView(), stored([*BEGUN, saved, resumed, try_started(1, 1)]))
    assert view.last_checkpoint is not None


def test_what_happened_while_away_is_one_sentence() -> None:
    events = stored(
        [
            StageStarted(stage=2, input_steps=8, output_steps=4),
            StageTrained(stage=2, attempt=1, step=9, iterations=9, final_loss=0.1, seconds=1.0),
            StageAccepted(stage=2, attempt=1, score=0.991, lower_bound=0.98, threshold=0.9),
            StageStarted(stage=3, input_steps=4, output_steps=2),
        ]
    )
    assert away(events, 14 * 60) == "Away 14 min: stage 2 accepted at 0.9910, stage 3 began."
    assert away([], 5) == "Away 5 s: nothing new."


def test_events_of_a_newer_program_are_counted_and_shown_raw() -> None:
    (one,) = stored([UnknownEvent(kind="TeacherReplaced", body='{"by": "x"}')])
    assert fold(RunView(), [one]).unknown == 1
    line = line_of(one)
    assert line is not None
    assert line.text == 'TeacherReplaced {"by": "x"}'


EVIL = "a\x1b[2Jb\nc\x9b31m\0"


@pytest.mark.parametrize(
    "end",
    [
        Paused(step=1, reason=EVIL),
        RunFailed(error=EVIL, message=EVIL),
        RunCancelled(step=1, cancelled_by=EVIL),
        RunFinished(
            result=EVIL, exit_code=0, optimized_steps=4, score=1.0, lower_bound=1.0, seconds=1.0
        ),
        SamplesSaved(path=EVIL, what=EVIL),
    ],
    ids=lambda event: type(event).__name__,
)
def test_text_of_the_journal_cannot_steer_the_terminal(end: Event) -> None:
    events = stored(
        [
            RunQueued(label=EVIL, queued_by=EVIL),
            try_started(1, 1, EVIL),
            PhaseStarted(phase=EVIL),
            Evaluated(
                label=EVIL,
                steps=4,
                fidelity=1.0,
                distribution=None,
                band_energy=1.0,
                score=1.0,
                lower_bound=1.0,
                noise_set=EVIL,
                samples=1,
            ),
            end,
        ]
    )
    view = fold(RunView(), events)
    check_whole(view, events)
    check_frame(snapshot_of(view, RunState(view.state), pid=None))


def test_a_run_cancelled_before_it_began_waits_for_nothing() -> None:
    queued = RunQueued(label="demo", queued_by="ada@studio 1 diffopt")
    view = fold(RunView(), stored([queued, RunCancelled(step=0, cancelled_by="ann@mac")]))
    assert all(line.startswith("·") for line in label_of(view)[1:]), label_of(view)
