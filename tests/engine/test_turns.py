"""Runs that share a machine, with true workers: who trains, who waits, and what is said of it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.run import CommandKind, JournalReader, RunFolder, RunState, send, start_worker, wait_for
from engine.run.events import Continued, Event, Paused, RunStarted
from tests.engine.endless import ENDLESS

PATIENCE_SECONDS = 60.0

Make = Callable[[str], RunFolder]


@pytest.fixture
def make(tmp_path: Path, ddpm_cifar: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a run that trains until it is told to end, its worker started."""
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))
    processes = []

    def begin(name: str) -> RunFolder:
        config = ENDLESS.format(model_path=ddpm_cifar.with_name("ddpm_flat"))
        run = RunFolder.create(tmp_path / "runs", config, name=name, mounts=[])
        processes.append(start_worker(run))
        return run

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def until(is_there: Callable[[], object], run: RunFolder) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_there():
        assert time.monotonic() < deadline, run.log_path.read_text()
        time.sleep(0.02)


def ask(run: RunFolder, kind: CommandKind) -> str:
    answer = wait_for(run, send(run, kind, client="a test"), timeout_seconds=PATIENCE_SECONDS)
    assert answer is not None
    return answer.outcome


def trains(run: RunFolder) -> bool:
    with JournalReader(run.journal_path) as reader:
        return run.state() is RunState.RUNNING and bool(reader.last_values())


def told(run: RunFolder, *kinds: type[Event]) -> list[Event]:
    with JournalReader(run.journal_path) as reader:
        return [one.event for one in reader.facts() if isinstance(one.event, kinds)]


@pytest.mark.slow
def test_a_run_that_freed_its_memory_lets_the_next_one_train_and_stands_in_line_again(
    make: Make,
) -> None:
    first = make("first")
    until(lambda: trains(first), first)
    second = make("second")
    until(lambda: second.status().reason == "waits for first, which is running", second)
    third = make("third")
    until(lambda: third.status().reason.endswith("which is running, and 1 more before it"), third)

    assert ask(first, CommandKind.PAUSE) == "done"
    time.sleep(1.0)
    assert second.status().reason == "waits for first, which is paused", "it keeps its turn"
    assert ask(third, CommandKind.PAUSE) == "done"
    assert ask(second, CommandKind.PAUSE) == "done"
    assert ask(third, CommandKind.RESUME) == "done"
    assert third.status().reason == "waits for first, which is paused", "who pauses steps aside"

    assert ask(first, CommandKind.PAUSE_AND_FREE) == "done"
    until(lambda: trains(third), third)
    assert first.state() is RunState.PAUSED
    assert second.state() is RunState.PAUSED
    assert ask(first, CommandKind.RESUME) == "done"
    until(lambda: first.status().reason == "waits for third, which is running", first)
    assert first.state() is RunState.QUEUED
    assert ask(third, CommandKind.STOP) == "done"
    until(lambda: first.state() is RunState.RUNNING, first)
    assert len(told(first, RunStarted)) == 1, "it is the same worker"
    reasons = [event.reason for event in told(first, Continued) if isinstance(event, Continued)]
    assert reasons == ["its turn has come again"]
    assert [
        event.is_memory_freed for event in told(first, Paused) if isinstance(event, Paused)
    ] == [
        False,
        True,
    ]


def test_a_halted_worker_keeps_its_turn_and_the_waiting_say_so(make: Make) -> None:
    first = make("first")
    until(lambda: trains(first), first)
    second = make("second")
    until(lambda: second.status().reason, second)
    pid = first.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    until(lambda: first.state() is RunState.STUCK, first)
    assert f"kill -CONT {pid}" in first.status().reason
    assert second.state() is RunState.QUEUED
    assert second.status().reason.startswith(f"waits for first, which is stuck: process {pid}")
    os.kill(pid, signal.SIGCONT)
    until(lambda: first.state() is RunState.RUNNING, first)
    os.kill(pid, signal.SIGKILL)
    until(lambda: second.state() is RunState.RUNNING, second)
