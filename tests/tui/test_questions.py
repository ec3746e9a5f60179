"""What is said before something is destroyed is true of the run that it is said of."""

from pathlib import Path

import pytest

from engine.run import RunFolder, RunState, RunStatus
from engine.run.events import Event, RunQueued, StageAccepted, StageStarted
from tests.tui.fake_worker import UP_TO_TRAINING
from tests.tui.journals import stored
from tui.fold import fold
from tui.follow import Snapshot
from tui.permits import why_no_report
from tui.questions import about_run, about_stage
from tui.state import RunView

RUN = RunFolder(Path("/runs/digits"))
QUEUED: tuple[Event, ...] = (RunQueued(label="demo", queued_by="ada@studio 1 diffopt"),)


def snapshot(state: RunState, events: tuple[Event, ...], pid: int | None = 7) -> Snapshot:
    status = RunStatus(state, "", pid, 40, None, None)
    return Snapshot(RUN, fold(RunView(), stored(list(events))), status, is_loaded=True)


@pytest.mark.parametrize(
    ("given", "lost", "no"),
    [
        (snapshot(RunState.RUNNING, UP_TO_TRAINING), "what is being trained is lost", "running"),
        (snapshot(RunState.PAUSED, UP_TO_TRAINING), "would go on from is lost", "Keep it"),
        (snapshot(RunState.PAUSED, UP_TO_TRAINING, None), "would go on from is lost", "Keep it"),
        (snapshot(RunState.QUEUED, QUEUED), "has done nothing yet", "Keep it waiting"),
    ],
)
def test_ending_a_run_tells_what_this_one_loses(given: Snapshot, lost: str, no: str) -> None:
    question = about_run(given)
    assert lost in question.text
    assert no in question.choices[0].words
    assert ("running" in no) == ("trained" in question.text)
    assert question.typed == "digits"


def test_cancelling_a_stage_names_a_student_only_where_one_passed() -> None:
    first = snapshot(RunState.RUNNING, UP_TO_TRAINING)
    assert "keeps the original" in about_stage(first).text
    assert "accepted student" not in about_stage(first).text
    passed = (
        *UP_TO_TRAINING,
        StageAccepted(stage=1, attempt=1, score=0.95, lower_bound=0.92, threshold=0.9),
        StageStarted(stage=2, input_steps=8, output_steps=4),
    )
    assert "last accepted student" in about_stage(snapshot(RunState.RUNNING, passed)).text


@pytest.mark.parametrize(
    ("state", "says"),
    [("running", "when the run is done"), ("cancelled", "was cancelled"), ("failed", "r takes it")],
)
def test_a_report_is_promised_only_where_it_will_come(
    tmp_path: Path, state: str, says: str
) -> None:
    why = why_no_report(RunFolder(tmp_path), state)
    assert why is not None
    assert says in why
    assert ("is written when" in why) == (state == "running")
