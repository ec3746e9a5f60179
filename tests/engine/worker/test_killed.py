"""True workers that are killed, paused, stopped and starved: the same bytes come out."""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.memory import Memory
from engine.run import CommandKind, JournalFull, RunState
from engine.run.events import (
    CommandAcknowledged,
    Continued,
    DiskLow,
    Exported,
    Paused,
    StageRolledBack,
)
from tests.engine.worker.processes import Start, Worked
from tests.engine.worker.within import Write


def test_a_run_killed_at_random_moments_ends_as_if_it_never_was(
    start: Start, unharmed: dict[str, Any]
) -> None:
    rng, worked = random.Random(0), start()
    worked.wait_for(lambda: worked.last_step() > 0)
    for _ in range(3):
        time.sleep(rng.uniform(0, 1.5))
        worked.process.kill()
        worked.process.wait()
        assert worked.run.state() in (RunState.LOST, RunState.DONE)
        worked.start()
    assert worked.end() == 0
    assert worked.outcome() == unharmed


def test_a_run_paused_freed_stopped_and_terminated_ends_as_if_it_never_was(
    start: Start, unharmed: dict[str, Any]
) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 3)
    for kind in (CommandKind.PAUSE, CommandKind.PAUSE_AND_FREE):
        assert worked.ask(kind) == "done"
        assert worked.run.state() is RunState.PAUSED
        step = worked.last_step()
        time.sleep(0.3)
        assert worked.last_step() == step
        assert worked.ask(CommandKind.RESUME) == "done"
    worked.wait_for(lambda: worked.last_step() > step)
    assert worked.ask(CommandKind.STOP) == "done"
    assert worked.end() == 143
    assert worked.run.state() is RunState.PAUSED
    assert "stage-1-try-1-training" in Memory(worked.run.checkpoints_path).names()

    worked.start()
    step = worked.last_step()
    worked.wait_for(lambda: worked.last_step() > step)
    worked.process.terminate()
    assert worked.end() == 143
    worked.start()
    assert worked.end() == 0
    assert worked.outcome() == unharmed
    pauses = [event for event in worked.events() if isinstance(event, Paused)]
    assert [pause.is_memory_freed for pause in pauses] == [False, True]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_a_run_out_of_room_waits_and_loses_nothing(start: Start, unharmed: dict[str, Any]) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 3)
    before = resource.prlimit(worked.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worked.process.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
    # the reserve is given up to say so, in vain here, and cannot be set aside again
    worked.wait_for(lambda: not worked.run.ballast_path.exists())
    step = worked.last_step()
    time.sleep(0.5)
    assert worked.last_step() == step, "it holds still"
    resource.prlimit(worked.process.pid, resource.RLIMIT_FSIZE, before)
    assert worked.end() == 0, worked.run.log_path.read_text()
    assert worked.outcome() == unharmed
    told = [event for event in worked.events() if isinstance(event, DiskLow | Paused | Continued)]
    assert {type(event) for event in told} == {DiskLow, Paused, Continued}
    assert worked.run.ballast_path.is_file()


@contextlib.contextmanager
def no_room_at_all() -> Iterator[None]:
    """Let this process, and what it starts, write not a byte into any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_a_worker_that_can_write_not_a_byte_waits_and_says_so_afterwards(
    start: Start, unharmed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.run.state.SIGNING_ON_SECONDS", 1.0)
    worked = start()
    worked.process.kill()
    worked.process.wait()
    with no_room_at_all():
        worked.start()
    worked.wait_for(lambda: "is the disk full" in worked.run.status().reason)
    assert worked.run.state() is RunState.QUEUED
    assert not worked.run.ballast_path.exists()
    assert not [event for event in worked.events() if isinstance(event, DiskLow)]

    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(worked.process.pid, resource.RLIMIT_FSIZE, limits)
    assert worked.end() == 0, worked.run.log_path.read_text()
    assert worked.outcome() == unharmed
    told = [event for event in worked.events() if isinstance(event, DiskLow | Paused)]
    assert [type(event) for event in told] == [DiskLow, Paused]
    assert worked.run.ballast_path.is_file()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_a_worker_that_waits_for_room_to_begin_is_ended_by_sigterm(start: Start) -> None:
    worked = start()
    worked.process.kill()
    worked.process.wait()
    with no_room_at_all():
        worked.start()
    worked.wait_for(lambda: not worked.run.ballast_path.exists())
    worked.process.terminate()
    assert worked.end() == -signal.SIGTERM
    assert worked.run.state() is RunState.LOST, "and can be resumed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until there is next to no room left."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass


def has_said_so(worked: Worked) -> bool:
    try:
        return any(isinstance(one, DiskLow) for one in worked.events())
    except JournalFull:  # before the reserve is given up a look, too, may want room
        return False


def test_a_run_on_a_full_disk_says_so_waits_and_loses_nothing(
    small_disk: Path, worker_config: str, unharmed: dict[str, Any]
) -> None:
    worked = Worked(small_disk, worker_config)
    try:
        worked.wait_for(lambda: worked.last_step() > 3)
        fill(small_disk / "filler")
        worked.wait_for(lambda: has_said_so(worked))
        assert worked.run.state() is RunState.PAUSED
        assert worked.ask(CommandKind.CHECKPOINT) == "refused", "it is there, and hears"
        assert not worked.run.ballast_path.exists(), "given up, so that this could be said"
        (low,) = (one for one in worked.events() if isinstance(one, DiskLow))
        assert low.free_bytes < 8 << 20
        (small_disk / "filler").unlink()
        assert worked.end() == 0
        assert worked.outcome() == unharmed
        assert worked.run.ballast_path.is_file()
    finally:
        worked.process.kill()
        worked.process.wait()


def test_a_worker_that_begins_on_a_full_disk_says_so_and_waits(
    small_disk: Path, worker_config: str, unharmed: dict[str, Any]
) -> None:
    worked = Worked(small_disk, worker_config)
    try:
        worked.process.kill()
        worked.process.wait()
        fill(small_disk / "filler")
        worked.start()
        worked.wait_for(lambda: has_said_so(worked))
        assert worked.run.state() is RunState.PAUSED
        (small_disk / "filler").unlink()
        assert worked.end() == 0
        assert worked.outcome() == unharmed
    finally:
        worked.process.kill()
        worked.process.wait()


def test_what_a_killed_worker_left_half_written_is_gone_at_the_next_start(
    start: Start, unharmed: dict[str, Any]
) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 0)
    worked.process.kill()
    pid = worked.process.wait() and worked.process.pid
    half = worked.run.checkpoints_path / f".stage-1-try-1-training.safetensors.tmp-{pid}"
    half.write_bytes(b"half")
    worked.start()
    assert worked.end() == 0
    assert not half.exists()
    assert worked.outcome() == unharmed


def test_a_second_sigterm_ends_the_worker_at_once(start: Start) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 0)
    os.kill(worked.process.pid, signal.SIGSTOP)
    worked.process.terminate()
    os.kill(worked.process.pid, signal.SIGCONT)
    worked.process.terminate()
    assert worked.end() in (-signal.SIGTERM, 143)
    assert worked.run.state() in (RunState.LOST, RunState.PAUSED)


def test_a_cancelled_stage_falls_back_to_the_last_accepted_student(
    write_config: Write, tmp_path: Path
) -> None:
    config = write_config(stages=2, iterations=25).replace(
        "iterations: [25]", "iterations: [3, 1000000]"
    )
    worked = Worked(tmp_path / "runs", config)
    try:
        worked.wait_for(lambda: worked.last_step() > 4)
        assert worked.ask(CommandKind.CANCEL_STAGE) == "done"
        assert worked.end() == 3, "done, the target missed"
    finally:
        worked.process.kill()
    events = worked.events()
    (answer,) = (event for event in events if isinstance(event, CommandAcknowledged))
    (rolled_back,) = (event for event in events if isinstance(event, StageRolledBack))
    assert answer.outcome == "done"
    assert (rolled_back.stage, rolled_back.to_steps) == (2, 3)
    assert any(isinstance(event, Exported) for event in events)
    result = json.loads(worked.run.metrics_path.read_text())
    assert result["metrics"]["optimized_steps"] == 3
    (given_up,) = result["cancelled"]
    assert (given_up["stage_number"], given_up["attempt"]) == (2, 1)
    assert (given_up["input_steps"], given_up["iterations"]) == (3, 1_000_000)
    assert given_up["reason"].startswith("cancelled by ")
    assert f"| {given_up['reason']} |" in worked.run.report_path.read_text()


def test_a_cancelled_run_stays_so_and_keeps_no_trajectories(start: Start) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 0)
    assert worked.ask(CommandKind.CANCEL_RUN) == "done"
    assert worked.end() == 130
    assert worked.run.state() is RunState.CANCELLED
    assert not any(name.startswith("traj") for name in Memory(worked.run.checkpoints_path).names())
