"""Fixtures of the run wing: a run folder, its journal, and programs that can be killed."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.run import JournalReader, JournalWriter, RunFolder

HOUSE = Path(__file__).resolve().parents[3]

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "seed: 0\n", name="digits", mounts=[])


@pytest.fixture
def writer(run: RunFolder) -> Iterator[JournalWriter]:
    with JournalWriter(run.journal_path) as journal:
        yield journal


@pytest.fixture
def reader(writer: JournalWriter) -> Iterator[JournalReader]:
    with JournalReader(writer.path) as journal:
        yield journal


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a Python program that imports the engine, with its arguments; killed at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(HOUSE)},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))
