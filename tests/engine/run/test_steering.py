"""What a client may ask of a run, and what it is told where nobody is there to obey."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.run import (
    CommandKind,
    JournalReader,
    JournalWriter,
    RunFolder,
    RunState,
    answer_to,
    create_and_start,
    send,
    steering,
    take_up,
    wait_for,
)
from engine.run.events import (
    Event,
    Paused,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunQueued,
    RunStarted,
    RunStopped,
)
from engine.run.lock import FileLock
from engine.run.schema import FORMAT_VERSION, open_to_write

FINISHED = RunFinished(result="", exit_code=0, optimized_steps=4, score=1, lower_bound=1, seconds=1)
CANCELLED = RunCancelled(step=3, cancelled_by="someone")
FAILED = RunFailed(error="ValueError", message="no")
STOPPED = RunStopped(step=3, reason="as asked")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    """The runs whose worker was started; none is, in truth."""
    runs: list[RunFolder] = []
    monkeypatch.setattr(steering, "start_worker", runs.append)
    return runs


@pytest.fixture
def hold(run: RunFolder, writer: JournalWriter) -> Callable[[Event], FileLock]:
    """Take the run as a worker does, and say something."""

    def take(event: Event) -> FileLock:
        lock = FileLock(run.lock_path)
        assert lock.try_take(run.name)
        writer.begin_engine()
        writer.emit(event)
        return lock

    return take


RUNNING = RunStarted(pid=1, host="h", device="d")


def test_a_run_is_made_and_its_worker_started(tmp_path: Path, started: list[RunFolder]) -> None:
    run = create_and_start(
        tmp_path / "runs", "seed: 0\n", label="digits", name="mine", client="a test"
    )
    assert started == [run]
    assert run.config_path.read_text() == "seed: 0\n"
    with JournalReader(run.journal_path) as reader:
        (queued,) = (stored.event for stored in reader.facts())
    assert isinstance(queued, RunQueued)
    assert (queued.label, queued.queued_by.split()[-2:]) == ("digits", ["a", "test"])
    assert queued.engine_version


def test_a_worker_that_cannot_be_started_is_told_of_in_a_line(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: RunFolder) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(steering, "start_worker", refuse)
    with pytest.raises(RunError, match=r"temporarily unavailable.*tries again"):
        take_up(run)


@pytest.mark.parametrize(
    ("event", "state"), [(STOPPED, "paused"), (FAILED, "failed"), (RUNNING, "lost")]
)
def test_what_has_no_worker_is_taken_up_but_obeys_nothing(
    run: RunFolder, writer: JournalWriter, started: list[RunFolder], event: Event, state: str
) -> None:
    writer.emit(event)
    assert run.state() == state
    with pytest.raises(RunError, match=rf"{state}; no worker is there .* `diffopt resume digits`"):
        send(run, CommandKind.PAUSE, client="a test")
    with JournalReader(run.journal_path) as reader:
        assert reader.commands() == []
    take_up(run)
    assert started == [run]


@pytest.mark.parametrize("event", [STOPPED, RUNNING])
def test_a_run_without_a_worker_is_cancelled_by_the_one_who_asks(
    run: RunFolder, writer: JournalWriter, event: Event
) -> None:
    writer.emit(event)
    for name in (
        "trajectories-1.safetensors",
        "trajectories-1.x0.npy",
        "stage-1-try-1.safetensors",
    ):
        (run.checkpoints_path / name).write_bytes(b"x")
    answer = answer_to(run, send(run, CommandKind.CANCEL_RUN, client="a test"))
    assert answer is not None
    assert answer.is_done
    status = run.status()
    assert (status.state, status.pid) == (RunState.CANCELLED, None)
    kept = [path.name for path in run.checkpoints_path.iterdir()]
    assert kept == ["stage-1-try-1.safetensors"]


def test_a_cancel_refused_for_a_worker_that_has_just_come_is_not_obeyed_by_it(
    run: RunFolder, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.emit(STOPPED)
    status = run.status()
    monkeypatch.setattr(RunFolder, "status", lambda _run: status)  # seen before it came
    lock = FileLock(run.lock_path)
    assert lock.try_take(run.name)
    with lock, pytest.raises(RunError, match="is worked on by process"):
        send(run, CommandKind.CANCEL_RUN, client="a test")
    assert writer.pending() == []


@pytest.mark.parametrize("event", [FINISHED, CANCELLED])
def test_what_is_over_for_good_is_neither_steered_nor_taken_up(
    run: RunFolder, writer: JournalWriter, started: list[RunFolder], event: Event
) -> None:
    writer.emit(event)
    with pytest.raises(RunError, match=r"no worker is there to obey pause\.$"):
        send(run, CommandKind.PAUSE, client="a test")
    with pytest.raises(RunError, match="nothing left to do"):
        take_up(run)
    assert started == []


def test_what_has_a_worker_is_not_taken_up_twice(
    run: RunFolder, started: list[RunFolder], hold: Callable[[Event], FileLock]
) -> None:
    with hold(RUNNING), pytest.raises(RunError, match="works on it already"):
        take_up(run)
    assert started == []


def test_the_answer_comes_with_its_reason(
    run: RunFolder, writer: JournalWriter, hold: Callable[[Event], FileLock]
) -> None:
    with hold(RUNNING):
        command = send(run, CommandKind.CANCEL_STAGE, client="a test", stage=2)
        assert answer_to(run, command) is None
        (pending,) = writer.pending()
        assert pending == command
        thread = threading.Timer(
            0.05, lambda: writer.acknowledge(pending, "refused", detail="no stage is being trained")
        )
        thread.start()
        answer = wait_for(run, command, timeout_seconds=10)
        thread.join()
    assert answer is not None
    assert (answer.outcome, answer.detail) == ("refused", "no stage is being trained")
    assert not answer.is_done
    assert answer_to(run, command) == answer


def test_nobody_waits_for_a_worker_that_is_gone(
    run: RunFolder, hold: Callable[[Event], FileLock]
) -> None:
    with hold(Paused(step=3)):
        command = send(run, CommandKind.CHECKPOINT, client="a test")
    assert run.state() is RunState.LOST
    answer = wait_for(run, command, timeout_seconds=1000)
    assert answer is not None
    assert answer.outcome == "withdrawn"


def test_the_next_worker_does_not_obey_what_was_asked_of_the_last(
    run: RunFolder,
    writer: JournalWriter,
    hold: Callable[[Event], FileLock],
    started: list[RunFolder],
) -> None:
    with hold(RUNNING):
        command = send(run, CommandKind.PAUSE, client="a test")
        assert writer.pending() == [command]
    take_up(run)
    assert writer.pending() == []
    assert started == [run]


def test_a_newer_program_s_run_is_neither_steered_nor_taken_up(
    run: RunFolder, started: list[RunFolder]
) -> None:
    connection = open_to_write(run.journal_path)
    connection.execute(f"pragma user_version={FORMAT_VERSION + 1}")
    connection.close()
    with pytest.raises(RunError, match=r"only be watched\. Update diffopt"):
        send(run, CommandKind.PAUSE, client="a test")
    with pytest.raises(RunError, match=r"only be watched\. Update diffopt"):
        take_up(run)
    assert started == []
