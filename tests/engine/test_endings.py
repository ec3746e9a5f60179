"""How a worker ends, whatever its work comes to: what is written, who is told, what it returns.

The work itself is a stand-in here; tests/engine/worker has true runs.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.control import Control
from engine.errors import Cancelled, CheckpointError
from engine.interruptions import StopWork
from engine.run import JournalReader, JournalWriter, RunFolder
from engine.run.events import Event, RunFailed, RunFinished, RunStopped
from engine.worker import EXIT_CANCELLED, EXIT_STOPPED, Worker, main

RESULT = {
    "summary": "50 steps became 4",
    "exit_code": 3,
    "seconds": 60.0,
    "metrics": {"optimized_steps": 4, "quality_score": 0.98, "quality_lower_bound": 0.97},
}
ON_FINISH = 'run: {on_finish: "env | grep ^DIFFOPT_ > told; pwd >> told; exit 7"}\n'
CAFFEINATE = """\
#!/bin/sh
echo "$@" >> "$CAFFEINATE_LOG"
exec sleep 60
"""

Work = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", f"model_path: x\n{ON_FINISH}", name="r", mounts=[])


@pytest.fixture
def work(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[Control], Any]], int]]:
    """Run a worker whose work is a function of its control; return its exit code."""
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(kind) for kind in kinds]

    def do(task: Callable[[Control], Any]) -> int:
        monkeypatch.setattr(Worker, "_optimized", lambda worker, config: task(worker.control))
        with run.own(), JournalWriter(run.journal_path) as journal:
            return Worker(run, journal).work()

    yield do
    for kind, handler in zip(kinds, before, strict=True):
        signal.signal(kind, handler)


def raising(error: Exception) -> Callable[[Control], Any]:
    def task(_: Control) -> Any:
        raise error

    return task


def last_event(run: RunFolder) -> Event:
    with JournalReader(run.journal_path) as reader:
        return reader.facts()[-1].event


def told(run: RunFolder) -> dict[str, str]:
    """What the user's command found in its environment, and where it ran."""
    *variables, place = (run.path / "told").read_text().splitlines()
    return dict(line.split("=", 1) for line in variables) | {"place": place}


def test_a_finished_run_tells_its_result(run: RunFolder, work: Work) -> None:
    assert work(lambda _: RESULT) == 3, "the command's own exit code changes nothing"
    found = told(run)
    assert {key: found[f"DIFFOPT_{key}"] for key in ("STATE", "SUMMARY", "EXIT_CODE")} == {
        "STATE": "done",
        "SUMMARY": "50 steps became 4",
        "EXIT_CODE": "3",
    }
    assert (found["DIFFOPT_STEPS"], found["DIFFOPT_SCORE"]) == ("4", "0.98")
    assert found["DIFFOPT_LOWER_BOUND"] == "0.97"
    assert found["place"] == found["DIFFOPT_RUN"] == str(run.path)
    assert isinstance(last_event(run), RunFinished)


def test_a_failed_run_tells_why(run: RunFolder, work: Work) -> None:
    run.log_path.write_text("".join(f"line {number}\n" for number in range(100)))
    assert work(raising(RuntimeError("the device is gone"))) == 1
    assert told(run)["DIFFOPT_STATE"] == "failed"
    assert told(run)["DIFFOPT_SUMMARY"] == "the device is gone"
    assert told(run)["DIFFOPT_SCORE"] == ""
    failed = last_event(run)
    assert isinstance(failed, RunFailed)
    assert (failed.error, failed.message) == ("RuntimeError", "the device is gone")
    assert failed.log_tail.splitlines() == [f"line {number}" for number in range(50, 100)]


def test_a_cancelled_run_tells_it_too_and_a_stopped_one_is_not_over(
    run: RunFolder, work: Work
) -> None:
    assert work(raising(StopWork("asked"))) == EXIT_STOPPED
    assert isinstance(last_event(run), RunStopped)
    assert not (run.path / "told").exists()
    assert work(raising(Cancelled("someone"))) == EXIT_CANCELLED
    assert told(run)["DIFFOPT_STATE"] == "cancelled"


def test_a_mistake_of_the_user_s_is_their_exit_code_and_one_line(
    run: RunFolder, work: Work
) -> None:
    assert work(raising(CheckpointError("x holds NaN"))) == 2
    failed = last_event(run)
    assert isinstance(failed, RunFailed)
    assert (failed.error, failed.message) == ("CheckpointError", "x holds NaN")


def test_settings_that_were_broken_meanwhile_fail_the_run_in_its_journal(
    run: RunFolder, work: Work
) -> None:
    run.config_path.write_text("target_steps: [\n")
    assert work(lambda _: RESULT) == 2
    failed = last_event(run)
    assert isinstance(failed, RunFailed)
    assert failed.error == "ConfigError"
    assert str(run.config_path) in failed.message


def test_a_folder_that_is_no_run_ends_the_worker_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "is not a run folder" in caplog.text


def test_a_run_that_another_works_on_is_left_alone(
    run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with run.own():
        assert main([str(run.path)]) == 2
    assert f"process {os.getpid()}" in caplog.text


# Sleep


@pytest.fixture
def caffeinate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A caffeinate on PATH that notes how it is called, and a platform that has one."""
    program, log = tmp_path / "bin" / "caffeinate", tmp_path / "caffeinate.log"
    program.parent.mkdir()
    program.write_text(CAFFEINATE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CAFFEINATE_LOG", str(log))
    return log


def calls(log: Path, count: int) -> list[str]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = log.read_text().splitlines() if log.exists() else []
        if len(lines) == count:
            return lines
        time.sleep(0.01)
    raise AssertionError(f"{count} calls of caffeinate never came")


def test_a_mac_stays_awake_while_it_trains_and_may_sleep_during_a_pause(
    run: RunFolder, work: Work, caffeinate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    children = psutil.Process().children

    def task(control: Control) -> Any:
        calls(caffeinate, 1)
        assert len(children()) == 1
        with control.while_held():
            assert children() == []
        calls(caffeinate, 2)
        return RESULT

    monkeypatch.setattr(Worker, "_announce", lambda worker: None)  # it asks a Mac's own tools
    monkeypatch.setattr(sys, "platform", "darwin")
    assert work(task) == 3
    assert calls(caffeinate, 2) == [f"-i -s -w {os.getpid()}"] * 2
    assert children() == []


@pytest.mark.parametrize(("platform", "setting"), [("darwin", "false"), ("linux", "true")])
def test_sleep_is_left_alone_elsewhere_and_where_it_is_not_wanted(
    run: RunFolder,
    work: Work,
    caffeinate: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    setting: str,
) -> None:
    run.config_path.write_text(f"model_path: x\nrun: {{keep_awake: {setting}}}\n")
    monkeypatch.setattr(Worker, "_announce", lambda worker: None)
    monkeypatch.setattr(sys, "platform", platform)
    assert work(lambda _: RESULT) == 3
    assert not caffeinate.exists()
