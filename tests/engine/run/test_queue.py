"""The training queue: one at a time, in order, and whoever is gone holds up nobody."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.run import TrainingQueue

Spawn = Callable[..., subprocess.Popen[str]]

WAITER = """
    import pathlib, sys, time
    from engine.run import TrainingQueue
    with TrainingQueue(pathlib.Path(sys.argv[1])).join(sys.argv[2]) as turn:
        print("joined", flush=True)
        while not turn.try_take():
            time.sleep(0.01)
        print("mine", flush=True)
        sys.stdin.readline()
"""


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_runs_train_one_at_a_time_in_the_order_they_came(tmp_path: Path, spawn: Spawn) -> None:
    queue = TrainingQueue(tmp_path)
    waiters = []
    for name in ("first", "second", "third"):
        waiters.append(spawn(WAITER, tmp_path, name))
        assert line_of(waiters[-1]) == "joined"
    for position, waiter in enumerate(waiters):
        assert line_of(waiter) == "mine"
        training = queue.training()
        assert training is not None
        assert training.pid == waiter.pid
        assert [holder.pid for holder in queue.waiting()] == [
            w.pid for w in waiters[position + 1 :]
        ]
        waiter.communicate("\n")
    assert queue.training() is None
    assert queue.waiting() == []


def test_killed_ones_leave_the_queue_by_themselves(tmp_path: Path, spawn: Spawn) -> None:
    processes = []
    for name in ("trains", "waits", "last"):
        processes.append(spawn(WAITER, tmp_path, name))
        assert line_of(processes[-1]) == "joined"
    trainer, waiter, last = processes
    assert line_of(trainer) == "mine"
    waiter.kill()
    waiter.wait()
    trainer.kill()
    trainer.wait()
    assert line_of(last) == "mine"
    assert not list(tmp_path.rglob("*.ticket"))


def test_a_turn_may_be_given_up_and_asked_for_again(tmp_path: Path) -> None:
    """As pause-and-free does: whoever came meanwhile goes first."""
    queue = TrainingQueue(tmp_path)
    first, second = queue.join("first"), queue.join("second")
    assert not second.try_take()
    assert first.try_take()
    assert first.try_take()
    assert not second.try_take()
    first.release()
    assert not first.try_take(), "it does not stand in line"
    first.join()
    assert not first.try_take()
    assert second.try_take()
    assert second.is_mine
    second.release()
    assert first.try_take()
    first.join()
    assert queue.waiting() == [], "who has the turn needs no ticket"
    first.release()
    assert not first.try_take()


def test_whoever_leaves_the_queue_holds_up_nobody(tmp_path: Path) -> None:
    queue = TrainingQueue(tmp_path)
    first, second, third = (queue.join(name) for name in ("first", "second", "third"))
    assert [holder.what for holder in queue.waiting()] == ["first", "second", "third"]
    second.release()
    first.release()
    with third:
        assert third.try_take()


def test_a_state_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="DIFFOPT_STATE_DIR"):
        TrainingQueue(tmp_path / "file" / "below").join("a run")
