"""Header and banner of Live: one cause, one key, and nothing that counts seconds."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import RunFolder, RunState, RunStatus
from engine.run.events import Event
from tests.tui.fake_worker import UP_TO_TRAINING
from tests.tui.journals import stored
from tui.details import detail_lines, read_details
from tui.fold import fold
from tui.follow import Follower, Snapshot
from tui.format import age
from tui.listing import Listing
from tui.permits import RUN_ACTIONS, is_taking_up, why_not
from tui.screens.live_words import banner, right, subject
from tui.state import RunView

RUN = RunFolder(Path("/runs/digits"))


def snapshot(
    state: RunState,
    reason: str = "",
    *,
    pid: int | None = 7,
    events: tuple[Event, ...] = UP_TO_TRAINING,
    problem: str | None = None,
    notice: str | None = None,
) -> Snapshot:
    return Snapshot(
        RUN,
        fold(RunView(), stored(list(events))),
        RunStatus(state, reason, pid, 40, None, None),
        problem=problem,
        notice=notice,
        is_loaded=True,
        read_at=100.0,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (snapshot(RunState.RUNNING), ""),
        (
            snapshot(RunState.STUCK, "no progress for 312 s"),
            "Stuck: no progress for 5 min. C cancels the run.",
        ),
        (
            snapshot(RunState.STUCK, "process 7 is halted: `kill -CONT 7` lets it go on"),
            "Stuck: process 7 is halted: `kill -CONT 7` lets it go on.",
        ),
        (
            snapshot(RunState.QUEUED, "waits for fox, process 9"),
            "Queued: waits for fox, process 9. C cancels it.",
        ),
        (
            snapshot(RunState.QUEUED, pid=None, events=()),
            "Queued: it begins when the run before it ends.",
        ),
        (snapshot(RunState.LOST, "gone", pid=None), "Engine gone at step 40. r resumes."),
        (
            snapshot(RunState.LOST, "its worker ended before it began", pid=None, events=()),
            "Lost: its worker ended before it began. r tries again.",
        ),
        (
            snapshot(RunState.PAUSED, pid=None),
            "Stopped at step 40. r takes it up again.",
        ),
        (
            snapshot(RunState.RUNNING, problem="The journal is locked."),
            "The journal is locked. What is shown is 10 s old.",
        ),
        (snapshot(RunState.RUNNING, notice="Only to be watched."), "Only to be watched."),
    ],
)  # fmt: skip
def test_the_banner_tells_cause_and_key(given: Snapshot, said: str) -> None:
    assert banner(given, 114.0)[0] == said


def test_what_counts_seconds_is_told_every_five_of_them() -> None:
    told = {
        banner(snapshot(RunState.STUCK, f"no heartbeat for {n} s: process 7 hangs"), 0.0)[0]
        for n in range(45, 60)
    }
    assert len(told) == 3


def test_every_state_has_sign_and_word_in_the_header() -> None:
    for state in RunState:
        pieces = "".join(text for text, _ in subject(snapshot(state)))
        assert state.upper() in pieces


def allowed(given: Snapshot) -> set[str]:
    return {action for action in RUN_ACTIONS if why_not(action, given) is None}


@pytest.mark.parametrize(
    ("given", "can"),
    [
        (snapshot(RunState.RUNNING), set(RUN_ACTIONS) - {"resume"}),
        (snapshot(RunState.STUCK), set(RUN_ACTIONS) - {"resume"}),
        (snapshot(RunState.PAUSED), set(RUN_ACTIONS)),
        (snapshot(RunState.PAUSED, pid=None), {"pause", "resume", "cancel_run"}),
        (snapshot(RunState.LOST, pid=None), {"resume", "cancel_run"}),
        (snapshot(RunState.FAILED, pid=None), {"resume"}),
        (snapshot(RunState.STOPPING), set()),
        (snapshot(RunState.DONE, pid=None), set()),
        (snapshot(RunState.CANCELLED, pid=None), set()),
        (snapshot(RunState.QUEUED, events=()), {"pause", "pause_and_free", "cancel_run"}),
        (snapshot(RunState.RUNNING, notice="newer"), set()),
    ],
)
def test_what_may_be_done_in_each_state(given: Snapshot, can: set[str]) -> None:
    assert allowed(given) == can


def test_a_worker_is_started_only_where_there_is_none() -> None:
    assert not is_taking_up(snapshot(RunState.PAUSED))
    assert is_taking_up(snapshot(RunState.PAUSED, pid=None))
    assert is_taking_up(snapshot(RunState.LOST, pid=None))


def test_live_and_runs_tell_the_same_time_at_work(recorded: Callable[[str], RunFolder]) -> None:
    run = recorded("ladder")
    follower = Follower(run, lambda _: None)
    while follower.poll_once():
        pass
    live = "".join(text for text, _ in right(follower.snapshot, "", time.time()))
    follower.stop()
    listing = Listing(run.path.parent)
    while not listing.refresh():
        pass
    (row,) = listing.rows()
    runs = detail_lines(row, read_details(row), time.time(), 100, 10)[0].plain
    at_work = live.partition(" · ")[0]
    assert at_work == "2m50s at work"
    assert at_work in runs
    assert live.endswith(f"{age(row.age(time.time()))} old")
