"""The commands about runs, as a person or a program uses them, against a true worker."""

import contextlib
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from engine.commands import runs as commands_runs
from engine.commands.runs import follow
from engine.config import load_config
from engine.run import (
    Command,
    CommandKind,
    CommandQueue,
    JournalWriter,
    RunFolder,
    RunState,
    TrainingQueue,
)
from engine.run.events import RunCancelled, RunFailed, RunFinished, RunStarted, RunStopped
from tests.engine.endless import ENDLESS

HOUSE = Path(__file__).resolve().parents[2]
# The leader of a session gets SIGHUP when its controlling terminal goes.
IN_A_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "engine.cli", *sys.argv[1:]])
"""
PATIENCE_SECONDS = 60.0

Diffopt = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The folder of runs; whatever still works there is ended."""
    root = tmp_path / "runs"
    yield root
    for run in [RunFolder.open(path.parent) for path in root.glob("*/journal.sqlite")]:
        pid = run.status().pid
        if pid is not None and pid != os.getpid():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def config(tmp_path: Path, ddpm_cifar: Path) -> Path:
    """A run that goes on until it is asked to end."""
    path = tmp_path / "endless.yaml"
    path.write_text(ENDLESS.format(model_path=ddpm_cifar.with_name("ddpm_flat")))
    return path


@pytest.fixture
def diffopt(root: Path, capsys: pytest.CaptureFixture[str]) -> Diffopt:
    """Run a command with --json; return its exit code and what it printed."""

    def call(*words: object) -> tuple[int, Any]:
        code = main([*map(str, words), "--runs-dir", str(root), "--json"])
        printed = capsys.readouterr().out
        return code, json.loads(printed) if printed else None

    return call


@pytest.fixture
def idle(root: Path) -> RunFolder:
    """A run that nobody works on."""
    return RunFolder.create(root, "seed: 0\n", name="idle", mounts=[])


def say(run: RunFolder, *events: Any) -> None:
    with JournalWriter(run.journal_path) as journal:
        journal.emit(*events)


def wait_for(is_there: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


STARTED = RunStarted(pid=1, host="h", device="d", engine_version="0")
FAILED = RunFailed(error="TrainingError", message="the loss is nan", log_tail="")
FINISHED = RunFinished(result="", exit_code=0, optimized_steps=4, score=1, lower_bound=1, seconds=1)


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("training.batch_size=0", "batch_size"),
        ("target_steps=40", "target_steps"),
        ("model_path=/nowhere", "/nowhere"),
        ("data.imags=x", "imags"),
    ],
)
def test_a_mistake_leaves_no_run_behind(
    config: Path, root: Path, mistake: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", str(config), "--runs-dir", str(root), "--set", mistake])
    assert code == 2
    assert not root.exists()
    assert named in capsys.readouterr().err


def test_paths_of_a_run_do_not_depend_on_where_it_is_taken_up(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_config(str(config), ["data.images=pictures"])
    commands_runs.check_inputs(settings)
    assert settings.data.images == str(tmp_path / "pictures")
    assert Path(settings.model_path).is_absolute()
    assert settings.data.prompts.startswith("bundled:")


def test_a_run_in_the_background_is_listed_steered_and_taken_up_again(
    config: Path, root: Path, diffopt: Diffopt
) -> None:
    code, made = diffopt("run", config, "--detach", "--name", "endless")
    assert (code, made["run"], made["state"]) == (0, "endless", "queued")
    run = RunFolder.open(root / "endless")
    wait_for(lambda: diffopt("show", "endless")[1]["last"])
    _, (listed,) = diffopt("runs")
    assert (listed["run"], listed["state"]) == ("endless", "running")

    code, paused = diffopt("pause", "endless")
    assert (code, paused["outcome"], paused["state"]) == (0, "done", "paused")
    code, refused = diffopt("resume", "endless")
    assert (code, refused["outcome"], refused["state"]) == (0, "done", "running")
    code, refused = diffopt("resume", "endless")
    assert (code, refused["outcome"]) == (1, "refused")
    assert "not paused" in refused["detail"]
    assert diffopt("checkpoint", "endless")[1]["outcome"] == "done"
    assert list(run.checkpoints_path.glob("*-training.safetensors"))

    code, stopped = diffopt("stop", "endless")
    assert (code, stopped["outcome"]) == (0, "done")
    code, taken_up = diffopt("resume", "endless")  # perhaps before the worker is gone
    assert (code, taken_up["outcome"]) == (0, "started")
    wait_for(lambda: run.state() is RunState.RUNNING)
    code, cancelled = diffopt("cancel", "endless")
    assert (code, cancelled["outcome"]) == (0, "done")
    wait_for(lambda: run.status().pid is None)
    assert diffopt("show", "endless")[1]["state"] == "cancelled"


def test_a_run_that_waits_for_another_is_not_said_to_be_at_work(
    config: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("engine.run.steering._start", lambda *_words: None)
    words = ("run", str(config), "--detach", "--runs-dir", str(root))
    assert main([*words, "--name", "one"]) == 0
    assert "one begins in the background" in capsys.readouterr().out
    with TrainingQueue().join(str(root / "one")) as turn:
        assert turn.try_take()
        assert main([*words, "--name", "two"]) == 0
        assert "two is queued behind one" in capsys.readouterr().out
        assert main([*words, "--name", "three", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["waits_for"]) == ("queued", "one")


def test_a_run_whose_worker_ends_as_it_is_asked_to_go_on_is_taken_up(
    idle: RunFolder, diffopt: Diffopt, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(idle, STARTED, RunStopped(step=3, reason="asked"))
    started: list[RunFolder] = []
    monkeypatch.setattr("engine.run.steering._start", started.append)
    with contextlib.ExitStack() as worker:
        worker.enter_context(idle.own())
        send = commands_runs.send

        def send_too_late(*words: Any, **more: Any) -> Command:
            worker.close()
            return send(*words, **more)

        monkeypatch.setattr(commands_runs, "send", send_too_late)
        code, taken_up = diffopt("resume", "idle")
    assert (code, taken_up["outcome"]) == (0, "started")
    assert started == [idle]


def test_closing_the_terminal_leaves_the_worker_running(
    config: Path, root: Path, diffopt: Diffopt
) -> None:
    ours, theirs = pty.openpty()
    words = ["run", str(config), "--name", "endless", "--runs-dir", str(root)]
    client = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
    )
    os.close(theirs)
    wait_for(lambda: (root / "endless").exists())
    run = RunFolder.open(root / "endless")
    wait_for(lambda: diffopt("show", "endless")[1]["last"])
    os.close(ours)
    assert client.wait(PATIENCE_SECONDS) != 0, "it was hung up"

    step = diffopt("show", "endless")[1]["step"]
    wait_for(lambda: diffopt("show", "endless")[1]["step"] > step)
    assert run.state() is RunState.RUNNING

    follower = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "engine.cli",
            *("log", "endless", "--follow", "--json", "--runs-dir", root),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
    )
    assert diffopt("cancel", "endless")[0] == 0
    printed, _ = follower.communicate(timeout=PATIENCE_SECONDS)
    told = [json.loads(line) for line in printed.splitlines()]
    assert [one["id"] for one in told] == list(range(1, len(told) + 1)), "from the first, in order"
    assert told[0]["kind"] == "RunQueued"
    assert "RunCancelled" in [one["kind"] for one in told]


def test_log_without_follow_ends_where_the_journal_does(
    idle: RunFolder, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(idle, STARTED)
    assert main(["log", "idle", "--runs-dir", str(root), "--json"]) == 0
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["RunQueued", "RunStarted"]


@pytest.mark.parametrize(
    ("last", "state"),
    [(FINISHED, "done"), (FAILED, "failed"), (RunStopped(step=3, reason="SIGTERM"), "paused")],
)
def test_nobody_is_asked_where_no_worker_is(
    idle: RunFolder, diffopt: Diffopt, last: Any, state: str
) -> None:
    say(idle, STARTED, last)
    assert diffopt("show", "idle")[1]["state"] == state
    for command in ("pause", "stop", "checkpoint"):
        assert diffopt(command, "idle")[0] == 2
    assert diffopt("cancel", "idle")[0] == (0 if state == "paused" else 2)
    with JournalWriter(idle.journal_path) as journal:
        assert journal.pending() == [], "or the next worker would obey it"


def test_a_finished_run_is_not_taken_up_again(idle: RunFolder, diffopt: Diffopt) -> None:
    say(idle, STARTED, FINISHED)
    assert diffopt("resume", "idle")[0] == 2


def test_a_failure_is_the_reason_until_the_run_is_done_after_all(
    idle: RunFolder, diffopt: Diffopt
) -> None:
    say(idle, STARTED, FAILED)
    assert "the loss is nan" in diffopt("show", "idle")[1]["reason"]
    say(idle, STARTED, FINISHED)
    assert diffopt("show", "idle")[1]["reason"] == ""


def test_a_command_waits_for_a_worker_that_is_about_to_come(
    config: Path, root: Path, diffopt: Diffopt
) -> None:
    run = RunFolder.create(root, config.read_text(), name="soon", mounts=[])
    with CommandQueue(run.journal_path) as queue:
        queue.send(Command.new(CommandKind.CANCEL_RUN, client="a test"))
    assert diffopt("resume", "soon")[1]["outcome"] == "started"
    wait_for(lambda: run.state() is RunState.CANCELLED)


def test_one_damaged_journal_does_not_hide_the_other_runs(
    idle: RunFolder, root: Path, diffopt: Diffopt
) -> None:
    broken = RunFolder.create(root, "seed: 0\n", name="broken", mounts=[])
    broken.journal_path.write_bytes(b"no database" * 1000)
    code, listed = diffopt("runs")
    assert code == 0
    states = {one["run"]: one["state"] for one in listed}
    assert states == {"idle": "queued", "broken": "damaged"}
    assert diffopt("show", "broken")[0] == 2
    broken.journal_path.unlink()


def test_a_newer_journal_is_shown_with_a_line_that_says_what_to_update(
    idle: RunFolder, root: Path, diffopt: Diffopt, capsys: pytest.CaptureFixture[str]
) -> None:
    say(idle, STARTED, FINISHED)
    connection = sqlite3.connect(idle.journal_path)
    connection.execute("pragma user_version=99")
    connection.close()
    code, shown = diffopt("show", "idle")
    assert (code, shown["state"]) == (0, "done")
    assert "Update diffopt" in shown["notice"]
    assert main(["runs", "--runs-dir", str(root)]) == 0
    assert "Update diffopt" in capsys.readouterr().out
    assert main(["log", "idle", "--runs-dir", str(root)]) == 0
    assert "Update diffopt" in capsys.readouterr().err
    assert diffopt("pause", "idle")[0] == 2


def test_a_worker_that_dies_under_its_follower_is_a_failure_not_a_mistake(
    idle: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    say(idle, STARTED)
    assert follow(idle, is_json=False) == 1
    assert "`diffopt resume idle`" in capsys.readouterr().err


def test_ctrl_c_detaches_or_cancels_and_tells_nothing_twice(
    idle: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ask is answered with cancel first; the run then ends, as a worker's would."""
    say(idle, STARTED)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 1:
            raise KeyboardInterrupt
        say(idle, RunCancelled(step=0, cancelled_by="someone"))

    monkeypatch.setattr(commands_runs, "_wants_to_cancel", lambda: True)
    monkeypatch.setattr(commands_runs.time, "sleep", nap)
    with idle.own(), JournalWriter(idle.journal_path) as journal:
        journal.begin_engine()
        journal.emit(STARTED)
        assert follow(idle, is_json=False) == 130
        (asked,) = journal.pending()
    assert asked.kind == CommandKind.CANCEL_RUN
    assert capsys.readouterr().err.count("queued by ") == 1

    monkeypatch.setattr(commands_runs, "_wants_to_cancel", lambda: False)
    naps.clear()
    other = RunFolder.create(idle.path.parent, "seed: 0\n", name="other", mounts=[])
    assert follow(other, is_json=True) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["state"] == "queued"
    assert "detached; other stays queued" in told.err
