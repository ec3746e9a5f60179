"""A working engine to steer: its run, its journal, its control."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import control as control_module
from engine import full_disk
from engine.control import Control
from engine.run import Command, CommandQueue, JournalWriter, RunFolder
from engine.run.events import RunStarted
from tests.engine.control.steered import Ask, Saves


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "seed: 0\n", name="digits", mounts=[])


@pytest.fixture
def journal(run: RunFolder) -> Iterator[JournalWriter]:
    with JournalWriter(run.journal_path) as journal:
        journal.emit(RunStarted(pid=1, host="h", device="d", engine_version="0"))
        yield journal


@pytest.fixture
def control(
    run: RunFolder, journal: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Control]:
    """A control within a running optimizer, that looks for a resume a hundred times a second."""
    monkeypatch.setattr(control_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(full_disk, "_FIRST_WAIT_SECONDS", 0.01)
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(kind) for kind in kinds]
    control = Control(run, journal, checkpoint_seconds=1000)
    control.has_turn = control.is_working = True
    yield control
    for kind, handler in zip(kinds, before, strict=True):
        signal.signal(kind, handler)


@pytest.fixture
def ask(run: RunFolder) -> Iterator[Ask]:
    """Send a command and return its id."""
    with CommandQueue(run.journal_path) as queue:

        def send(kind: str) -> str:
            command = Command(f"{kind}-{time.monotonic_ns()}", kind, None, time.time(), "a test")
            queue.send(command)
            return command.id

        yield send


@pytest.fixture
def save() -> Saves:
    return Saves()
