"""The kernel keeps the locks: a killed holder frees them, an onlooker never takes them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.run import RunFolder
from engine.run.lock import FileLock, holder_of, is_locked

Spawn = Callable[..., subprocess.Popen[str]]

HOLDER = """
    import pathlib, sys
    from engine.run import RunFolder
    with RunFolder.open(pathlib.Path(sys.argv[1])).own():
        print("held", flush=True)
        sys.stdin.read()
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
