"""The reader of a run: what it tells, and what it survives."""

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import CommandKind, JournalWriter, RunFolder, steering
from engine.run.events import LogLine, PhaseProgressed, RunStopped, StageAccepted
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.journals import damage_metrics, events_of
from tests.tui.waiting import until
from tui.fold import fold
from tui.follow import Follower, Snapshot
from tui.permits import RUN_ACTIONS, why_not
from tui.screens.live_words import banner, subject
from tui.state import RunView
from tui.tree import lines, tree

Recorded = Callable[[str], RunFolder]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "seed: 0\n", name="digits", mounts=[])


def caught_up(follower: Follower) -> Snapshot:
    while follower.poll_once():
        pass
    return follower.snapshot


@pytest.mark.parametrize("name", ["smoke", "ladder"])
def test_a_finished_run_is_seen_as_if_watched_from_the_start(recorded: Recorded, name: str) -> None:
    follower = Follower(recorded(name), lambda _: None)
    snapshot = caught_up(follower)
    watched = fold(RunView(), events_of(name))
    assert snapshot.is_loaded
    assert snapshot.state == "done"
    drawn = [lines(tree(view, "done", name)) for view in (snapshot.view, watched)]
    assert drawn[0] == drawn[1]
    assert snapshot.view.scores == watched.scores
    assert snapshot.view.last_id == watched.last_id
    assert any("finished in" in line.text for line in follower.log.lines)
    times = [line.time for line in follower.log.lines]
    assert times == sorted(times)
    follower.stop()


def test_what_comes_later_is_told_once(run: RunFolder) -> None:
    told: list[Snapshot] = []
    with working(run, *UP_TO_TRAINING) as worker:
        follower = Follower(run, told.append)
        before = caught_up(follower)
        assert before.state == "running"
        assert before.view.current_stage is not None
        worker.emit(LogLine(level="WARNING", text="grad clipped"))
        worker.emit(PhaseProgressed(phase="train", stage=1, done=150, total=400))
        after = caught_up(follower)
        assert [line.text for line in follower.log.lines].count("grad clipped") == 1
        assert after.view.active is not None
        assert after.view.active.done == 150
        follower.stop()


def test_progress_is_known_at_once_though_it_is_no_fact(run: RunFolder) -> None:
    with working(run, *UP_TO_TRAINING):
        snapshot = caught_up(Follower(run, lambda _: None))
        assert snapshot.view.active is not None
        assert (snapshot.view.active.done, snapshot.view.active.total) == (100, 400)


def test_a_stopped_run_is_as_far_as_when_it_was_left(run: RunFolder) -> None:
    with working(run, UP_TO_TRAINING[0], LogLine(level="INFO", text="begins")) as worker:
        worker.emit(*UP_TO_TRAINING[1:])
        worker.emit(RunStopped(step=100, reason="command"))
    snapshot = caught_up(Follower(run, lambda _: None))
    view = snapshot.view
    assert view.ended is not None
    assert view.last_time == view.ended, "not that of the newest log line"
    told = [line.figure for line in lines(tree(view, snapshot.state, "run"))]
    assert "100/400" in told


def test_a_command_is_pending_until_the_worker_answers(run: RunFolder) -> None:
    with working(run, *UP_TO_TRAINING) as worker:
        follower = Follower(run, lambda _: None)
        caught_up(follower)
        steering.send(run, CommandKind.PAUSE, client="test")
        assert [one.command.kind for one in caught_up(follower).pending] == ["pause"]
        worker.obey()
        snapshot = caught_up(follower)
        assert snapshot.pending == ()
        assert snapshot.state == "paused"


def test_a_worker_killed_is_a_run_lost(run: RunFolder) -> None:
    with run.own(), JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        journal.emit(*UP_TO_TRAINING)
        journal._is_engine = False  # it ends without signing off
    snapshot = caught_up(Follower(run, lambda _: None))
    assert snapshot.state == "lost"


def test_a_missing_journal_is_a_problem_told_and_its_return_is_noticed(
    recorded: Recorded, tmp_path: Path
) -> None:
    run = recorded("smoke")
    follower = Follower(run, lambda _: None)
    assert caught_up(follower).problem is None
    away = tmp_path / "away"
    run.path.rename(away)
    snapshot = caught_up(follower)
    assert snapshot.problem
    assert snapshot.view.result is not None, "what was seen last stays"
    away.rename(run.path)
    snapshot = caught_up(follower)
    assert snapshot.problem is None
    assert snapshot.is_loaded
    follower.stop()


def test_another_journal_in_its_place_is_read_afresh(recorded: Recorded) -> None:
    run, other = recorded("smoke"), recorded("ladder")
    follower = Follower(run, lambda _: None)
    caught_up(follower)
    shutil.copy(other.journal_path, run.path / "new")
    (run.path / "new").rename(run.journal_path)
    snapshot = caught_up(follower)
    assert len(snapshot.view.stages) == 4
    assert snapshot.view == caught_up(Follower(other, lambda _: None)).view


def test_a_damaged_journal_is_a_problem_told(recorded: Recorded) -> None:
    run = recorded("smoke")
    run.journal_path.write_bytes(b"no database at all" * 100)
    snapshot = caught_up(Follower(run, lambda _: None))
    assert snapshot.problem
    assert not snapshot.is_loaded


@pytest.mark.parametrize("what", ["folder", "journal"])
def test_what_was_taken_away_is_told_as_gone_and_as_there_when_it_comes_back(
    recorded: Recorded, what: str
) -> None:
    run = recorded("smoke")
    follower = Follower(run, lambda _: None)
    caught_up(follower)
    path = run.path if what == "folder" else run.journal_path
    aside = path.with_name("aside")
    path.rename(aside)
    snapshot = caught_up(follower)
    assert snapshot.state == "gone"
    assert snapshot.problem is not None
    assert snapshot.problem.startswith(f"The {what} of smoke is gone: {path}.")
    assert "✗ GONE" in "".join(text for text, _ in subject(snapshot))
    assert banner(snapshot, snapshot.read_at + 60) == (snapshot.problem, "error")
    for action in (*RUN_ACTIONS, "edit_config", "duplicate", "report"):
        assert why_not(action, snapshot) == snapshot.problem
    aside.rename(path)
    snapshot = caught_up(follower)
    assert (snapshot.state, snapshot.problem) == ("done", None)


@pytest.mark.parametrize("is_whole", [False, True])
def test_damaged_pages_of_a_run_that_is_over_are_told(recorded: Recorded, is_whole: bool) -> None:
    run = recorded("smoke")
    if is_whole:
        damage_metrics(run)
    else:
        content = run.journal_path.read_bytes()
        run.journal_path.write_bytes(content[: -3 * 4096] + b"\xa5" * (3 * 4096))
    snapshot = caught_up(Follower(run, lambda _: None))
    told = "".join(text for text, _ in subject(snapshot))
    assert "✗ DAMAGED" in told, "a list says the same"
    assert "damaged" in banner(snapshot, 0.0)[0]
    assert "damaged" in (why_not("pause", snapshot) or "")


def test_a_locked_journal_is_a_problem_for_as_long_as_it_is_locked(recorded: Recorded) -> None:
    run = recorded("smoke")
    follower = Follower(run, lambda _: None)
    caught_up(follower)
    locker = sqlite3.connect(run.journal_path, isolation_level=None)
    locker.execute("begin exclusive")
    snapshot = caught_up(follower)
    assert snapshot.problem is not None
    assert "locked" in snapshot.problem
    locker.execute("rollback")
    locker.close()
    assert caught_up(follower).problem is None


def test_a_newer_journal_is_shown_with_its_notice(recorded: Recorded) -> None:
    run = recorded("smoke")
    with sqlite3.connect(run.journal_path) as journal:
        journal.execute("pragma user_version=99")
        journal.execute(
            "insert into event(t, kind, stage, body) values (2e9, 'TeacherReplaced', null, '{}')"
        )
    snapshot = caught_up(Follower(run, lambda _: None))
    assert snapshot.notice is not None
    assert "newer" in snapshot.notice
    assert snapshot.view.unknown == 1


def test_one_who_comes_back_is_told_what_happened(run: RunFolder) -> None:
    with working(run, *UP_TO_TRAINING) as worker:
        seen = caught_up(Follower(run, lambda _: None)).view.last_id
        worker.emit(StageAccepted(stage=1, attempt=1, score=0.991, lower_bound=0.98, threshold=0.9))
        told: list[Snapshot] = []
        follower = Follower(run, told.append, seen=(seen, time.time() - 14 * 60))
        caught_up(follower)
        assert [one.away for one in told if one.away] == [
            "Away 14 min: stage 1 accepted at 0.9910."
        ]


def test_one_who_comes_back_to_a_working_run_is_told_that_nothing_happened(run: RunFolder) -> None:
    with working(run, *UP_TO_TRAINING):
        seen = caught_up(Follower(run, lambda _: None)).view.last_id
        told: list[Snapshot] = []
        caught_up(Follower(run, told.append, seen=(seen, time.time() - 14 * 60)))
        assert [one.away for one in told if one.away] == ["Away 14 min: nothing new."]


def test_the_end_of_a_run_is_told_once(recorded: Recorded) -> None:
    run = recorded("smoke")
    seen = caught_up(Follower(run, lambda _: None)).view.last_id
    told: list[Snapshot] = []
    caught_up(Follower(run, told.append, seen=(seen, time.time() - 14 * 60)))
    assert not any(one.away for one in told)


def test_one_who_was_away_for_a_moment_is_not_told(run: RunFolder) -> None:
    with working(run, *UP_TO_TRAINING):
        told: list[Snapshot] = []
        caught_up(Follower(run, told.append, seen=(1, time.time() - 3)))
        assert not any(one.away for one in told)


def test_metrics_come_in_as_many_spans_as_are_asked_for(recorded: Recorded) -> None:
    follower = Follower(recorded("smoke"), lambda _: None)
    assert follower.points("loss", 20) == [], "nothing before it has looked"
    caught_up(follower)
    points = follower.points("loss", 20)
    assert 0 < len(points) <= 20
    assert set(follower.metric_names()) == set(follower.last_values())
    assert follower.points("no such", 20) == []


def test_the_workers_own_log_is_among_the_lines(recorded: Recorded) -> None:
    run = recorded("smoke")
    run.log_path.write_text(
        "2026-11-25 18:00:00,120 INFO engine.blas: MLX computes with OpenBLAS\n"
        "Traceback (most recent call last):\n  File here\n"
    )
    follower = Follower(run, lambda _: None)
    caught_up(follower)
    texts = [line.text for line in follower.log.lines]
    assert "blas: MLX computes with OpenBLAS" in texts
    assert "  File here" in texts
    with run.log_path.open("a") as log:
        log.write("2026-11-25 18:00:01,120 ERROR engine.worker: the run ")
    caught_up(follower)
    with run.log_path.open("a") as log:
        log.write("failed\n")
    caught_up(follower)
    assert follower.log.lines[-1].text == "worker: the run failed" or any(
        (line.text, line.level) == ("worker: the run failed", "ERROR")
        for line in follower.log.lines
    )


def test_it_polls_while_started_and_stands_still_while_stopped(run: RunFolder) -> None:
    async def watch() -> None:
        told: list[Snapshot] = []
        with working(run, *UP_TO_TRAINING) as worker:
            follower = Follower(run, told.append)
            follower.start()
            follower.start()  # a second time is nothing
            await until(lambda: any(one.is_loaded for one in told))
            worker.emit(LogLine(level="INFO", text="hello"))
            follower.hurry()
            await until(lambda: follower.log.lines[-1].text == "hello")
            follower.stop()
            assert not follower.is_started
            count = len(told)
            worker.emit(LogLine(level="INFO", text="unheard"))
            await asyncio.sleep(0.05)
            assert len(told) == count
            follower.start()
            await until(lambda: follower.log.lines[-1].text == "unheard")
            follower.stop()

    asyncio.run(watch())


@pytest.mark.parametrize(
    ("key", "value", "state"),
    [
        ("heartbeat", "[]", "running"),
        ("heartbeat", '"x"', None),
        ("progress", '{"a": 1}', None),
        ("engine", "[1]", None),
        ("state", "[]", "running"),
        ("phase", "3", "running"),
        ("memory", '"much"', "running"),
    ],
)
def test_strange_latest_values_are_survived(
    run: RunFolder, key: str, value: str, state: str | None
) -> None:
    """Where the state (None) cannot be told of them, what was seen stays and the reason is told."""
    with working(run, *UP_TO_TRAINING) as worker:
        follower = Follower(run, lambda _: None)
        with sqlite3.connect(run.journal_path) as journal:
            journal.execute("insert or replace into latest values (?, ?)", (key, value))
        snapshot = caught_up(follower)
        assert snapshot.is_loaded
        assert snapshot.view.state == "running"
        assert snapshot.memory == {}
        if state is not None:
            assert (snapshot.state, snapshot.problem) == (state, None)
            return
        assert snapshot.problem is not None
        assert snapshot.problem.startswith(f"{run.journal_path} holds a value that ")
        worker.emit(LogLine(level="INFO", text="goes on"))
        with sqlite3.connect(run.journal_path) as journal:
            journal.execute("delete from latest where key = ?", (key,))
        assert caught_up(follower).problem is None
        assert follower.log.lines[-1].text == "goes on"
        follower.stop()
