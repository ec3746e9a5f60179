"""Each state is reached by what really makes it: the lock decides, clocks do not."""

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from engine.run import JournalReader, JournalWriter, RunFolder, RunState
from engine.run.events import (
    Paused,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
)
from engine.run.lock import holder_of
from engine.run.state import RunFacts, derive_state

Spawn = Callable[..., subprocess.Popen[str]]

ENGINE = """
    import pathlib, sys
    from engine.run import JournalWriter, RunFolder, RunState
    from engine.run.events import *
    run = RunFolder.open(pathlib.Path(sys.argv[1]))
    with run.own(), JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        print("done", flush=True)
        for line in sys.stdin:
            exec(line)
            print("done", flush=True)
"""
STARTED = 'journal.emit(RunStarted(pid=1, host="h", device="cpu"))'


class Engine:
    """A process that owns a run and does what it is told."""

    def __init__(self, spawn: Spawn, run: RunFolder) -> None:
        self.process = spawn(ENGINE, run.path)
        self._await()

    def do(self, statement: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        self._await()

    def leave(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _await(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture
def engine(spawn: Spawn, run: RunFolder) -> Engine:
    return Engine(spawn, run)


def test_a_new_run_is_queued(run: RunFolder) -> None:
    assert run.state() is RunState.QUEUED


def test_a_run_whose_worker_waits_for_its_turn_is_queued(run: RunFolder, engine: Engine) -> None:
    status = run.status()
    assert (status.state, status.pid) == (RunState.QUEUED, engine.process.pid)


def test_a_run_with_an_engine_at_work_is_running_and_tells_its_step(
    run: RunFolder, engine: Engine
) -> None:
    engine.do(STARTED)
    engine.do('journal.record_metrics(7, {"loss": 1.0})')
    engine.do("journal.heartbeat()")
    status = run.status()
    assert (status.state, status.pid, status.step) == (RunState.RUNNING, engine.process.pid, 7)
    assert status.progress_age_seconds is not None


def test_a_paused_run_is_paused_however_long(run: RunFolder, engine: Engine) -> None:
    engine.do(STARTED)
    engine.do("journal.emit(Paused(step=7))")
    assert run.state() is RunState.PAUSED
    with JournalReader(run.journal_path) as reader:
        latest = reader.latest()
    latest["progress"][0] -= 1e6
    assert run.status(latest).state is RunState.PAUSED


def test_a_run_told_to_stop_is_stopping_and_then_paused(run: RunFolder, engine: Engine) -> None:
    engine.do(STARTED)
    engine.do("journal.set_state(RunState.STOPPING)")
    assert run.state() is RunState.STOPPING
    engine.do('journal.emit(RunStopped(step=7, reason="asked"))')
    engine.leave()
    status = run.status()
    assert (status.state, status.pid) == (RunState.PAUSED, None)
    assert "resume" in status.reason


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (
            RunFinished(
                result="", exit_code=0, optimized_steps=4, score=1.0, lower_bound=1.0, seconds=1.0
            ),
            RunState.DONE,
        ),
        (RunFailed(error="E", message="m"), RunState.FAILED),
        (RunCancelled(step=1, cancelled_by="me"), RunState.CANCELLED),
    ],
)
def test_a_run_that_ended_stays_ended(
    run: RunFolder, engine: Engine, event: object, state: RunState
) -> None:
    engine.do(STARTED)
    engine.do(f"journal.emit({event!r})")
    assert run.state() is state
    engine.kill()
    assert run.state() is state


@pytest.mark.parametrize("last_words", ["", STARTED, "journal.emit(Paused(step=7))"])
def test_a_run_whose_engine_was_killed_is_lost(
    run: RunFolder, engine: Engine, last_words: str
) -> None:
    engine.do(last_words or "pass")
    engine.kill()
    assert run.state() is RunState.LOST


def test_a_lost_run_that_is_taken_up_waits_and_runs_again(run: RunFolder, spawn: Spawn) -> None:
    first = Engine(spawn, run)
    first.do(STARTED)
    first.kill()
    second = Engine(spawn, run)
    assert run.state() is RunState.QUEUED
    second.do('journal.emit(RunResumed(pid=2, host="h", device="cpu", step=0, checkpoint=None))')
    assert run.state() is RunState.RUNNING


def test_an_engine_that_leaves_without_a_word_leaves_a_lost_run(
    run: RunFolder, engine: Engine
) -> None:
    engine.do(STARTED)
    engine.leave()
    assert run.state() is RunState.LOST


def test_a_halted_engine_is_stuck_not_lost(run: RunFolder, engine: Engine) -> None:
    engine.do(STARTED)
    engine.process.send_signal(signal.SIGSTOP)
    with JournalReader(run.journal_path) as reader:
        latest = reader.latest()
    assert run.status(latest).state is RunState.RUNNING
    latest["heartbeat"][0] -= 3600.0
    while "is halted" not in (status := run.status(latest)).reason:  # a signal takes its time
        time.sleep(0.01)
    assert status.state is RunState.STUCK
    assert f"kill -CONT {engine.process.pid}" in status.reason
    engine.process.send_signal(signal.SIGCONT)
    while "is halted" in (status := run.status(latest)).reason:
        time.sleep(0.01)
    assert "no heartbeat" in status.reason, "it runs, and says nothing"


def test_a_paused_engine_that_is_halted_cannot_resume_and_is_stuck(
    run: RunFolder, engine: Engine
) -> None:
    engine.do(STARTED)
    engine.do("journal.emit(Paused(step=7))")
    engine.do("journal.heartbeat()")
    engine.process.send_signal(signal.SIGSTOP)
    with JournalReader(run.journal_path) as reader:
        latest = reader.latest()
    assert run.status(latest).state is RunState.PAUSED, "its pulse is not missed yet"
    latest["heartbeat"][0] -= 5.0
    while run.status(latest).state is RunState.PAUSED:
        time.sleep(0.01)
    assert run.status(latest).state is RunState.STUCK


def test_an_engine_without_progress_is_stuck_unless_it_asked_for_patience(
    run: RunFolder, engine: Engine
) -> None:
    engine.do(STARTED)
    with JournalReader(run.journal_path) as reader:
        latest = reader.latest()
        latest["progress"][0] -= 3600.0
        assert run.status(latest).state is RunState.STUCK
        engine.do("journal.expect_progress_within(7200.0)")
        patient = reader.latest() | {"progress": latest["progress"]}
    assert run.status(patient).state is RunState.RUNNING


def test_a_wall_clock_that_jumps_changes_no_state(
    run: RunFolder, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.do(STARTED)
    now = time.time()
    for years in (-30, 30):
        monkeypatch.setattr(time, "time", lambda: now + years * 3.15e7)  # noqa: B023
        assert run.state() is RunState.RUNNING
    engine.do("import time; time.time = lambda: 0.0")
    engine.do('journal.record_metrics(1, {"loss": 1.0})')
    engine.do("journal.heartbeat()")
    assert run.state() is RunState.RUNNING


def test_a_new_holder_of_the_lock_is_not_judged_by_its_forerunner_s_ages(run: RunFolder) -> None:
    """After a reboot the ages' clock starts again; until the new worker writes, all is old."""
    with JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        journal.emit(RunStarted(pid=1, host="h", device="cpu"))
        journal.record(
            latest={"engine": {"pid": os.getpid() + 1, "host": "h"}, "heartbeat": [-1e9, 0]}
        )
        with run.own():
            assert holder_of(run.lock_path).pid == os.getpid()
            assert run.state() is RunState.QUEUED


def test_a_stale_reading_of_a_run_that_has_ended_is_read_again(
    run: RunFolder, engine: Engine
) -> None:
    engine.do(STARTED)
    with JournalReader(run.journal_path) as reader:
        stale = reader.latest()
    engine.do('journal.emit(RunFailed(error="E", message="m"))')
    engine.leave()
    assert run.status(stale).state is RunState.FAILED


def test_a_state_of_a_newer_engine_counts_as_running(run: RunFolder, engine: Engine) -> None:
    engine.do('journal.record(latest={"state": "dreaming"})')
    assert run.state() is RunState.RUNNING


def test_the_lock_alone_tells_lost_from_running() -> None:
    """Whatever the ages are, they never make a run lost, and never save one from it."""
    for age in (None, 0.0, 1e9):
        for written in (RunState.RUNNING, RunState.STOPPING, RunState.PAUSED, RunState.QUEUED):
            for is_locked in (True, False):
                facts = RunFacts(
                    written=written,
                    is_locked=is_locked,
                    is_engine_signed_on=True,
                    heartbeat_age_seconds=age,
                    progress_age_seconds=age,
                )
                assert (derive_state(facts)[0] is RunState.LOST) is not is_locked


def test_paused_stays_paused_when_the_engine_stopped_in_order(run: RunFolder) -> None:
    with JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        journal.emit(Paused(step=3), RunStopped(step=3, reason="asked"))
    assert run.state() is RunState.PAUSED
