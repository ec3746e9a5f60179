"""The kernel keeps the locks: a killed holder frees them, an onlooker never takes them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.run import RunFolder, TrainingQueue
from engine.run.lock import FileLock, holder_of, is_locked

Spawn = Callable[..., subprocess.Popen[str]]

HOLDER = """
    import pathlib, sys
    from engine.run import RunFolder
    with RunFolder.open(pathlib.Path(sys.argv[1])).own():
        print("held", flush=True)
        sys.stdin.read()
"""
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


def test_a_run_is_owned_by_one_process_which_is_named(run: RunFolder, spawn: Spawn) -> None:
    holder = spawn(HOLDER, run.path)
    assert line_of(holder) == "held"
    with pytest.raises(RunError, match=f"process {holder.pid} "), run.own():
        pass


def test_kill_9_frees_the_lock(run: RunFolder, spawn: Spawn) -> None:
    holder = spawn(HOLDER, run.path)
    assert line_of(holder) == "held"
    assert is_locked(run.lock_path)
    holder.kill()
    holder.wait()
    assert not is_locked(run.lock_path)
    with run.own():
        assert is_locked(run.lock_path)
    assert not is_locked(run.lock_path)


def test_an_onlooker_neither_makes_nor_takes_the_lock(run: RunFolder) -> None:
    assert not is_locked(run.lock_path)
    assert not run.lock_path.exists()
    with run.own():
        for _ in range(3):
            assert is_locked(run.lock_path)
    assert not is_locked(run.lock_path)


def test_onlookers_do_not_keep_an_owner_out(run: RunFolder, spawn: Spawn) -> None:
    with run.own():
        pass
    onlooker = spawn(
        """
        import pathlib, sys
        from engine.run.lock import is_locked
        print("looking", flush=True)
        while True:
            is_locked(pathlib.Path(sys.argv[1]))
        """,
        run.lock_path,
    )
    assert line_of(onlooker) == "looking"
    for _ in range(50):
        with run.own():
            pass


def test_a_child_program_does_not_inherit_the_lock(run: RunFolder) -> None:
    with run.own():
        child = subprocess.Popen(["sleep", "60"])
    try:
        assert not is_locked(run.lock_path)
    finally:
        child.kill()
        child.wait()


def test_a_shorter_note_replaces_a_longer_one(tmp_path: Path) -> None:
    for what in ("a long name of a run", "short"):
        with FileLock(tmp_path / "lock") as lock:
            assert lock.try_take(what)
        assert holder_of(tmp_path / "lock").what == what


def test_an_unreadable_note_names_nobody(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "none").pid is None
    (tmp_path / "lock").write_text("?")
    assert holder_of(tmp_path / "lock").pid is None


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
    again = queue.join("first")
    assert not again.try_take()
    assert second.try_take()
    assert second.is_mine
    second.release()
    assert again.try_take()
    again.release()
    assert not again.try_take()


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
        TrainingQueue(tmp_path / "file" / "below")
