"""The dashboard as people use it: in tmux, by keys, over a connection that drops."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.config import config_to_yaml, load_config
from engine.run import JournalReader, RunFolder, list_runs
from engine.run.events import CommandAcknowledged
from tests.terminals import HOUSE, dashboard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Tmux:
    """A tmux server of its own, each session a terminal with a dashboard."""

    def __init__(self, folder: Path) -> None:
        self.runs_dir = folder / "runs"
        self._socket = folder / "tmux"
        self._environment = {
            "XDG_CONFIG_HOME": str(folder / "config"),
            "DIFFOPT_STATE_DIR": str(folder / "state"),
            "PYTHONPATH": str(HOUSE),
            "LANG": "C.UTF-8",
        }

    def open(self, name: str, width: int, height: int, *words: str) -> "Session":
        return self.start(name, width, height, dashboard(self.runs_dir, *words))

    def start(self, name: str, width: int, height: int, program: list[str]) -> "Session":
        settings = [f"{key}={value}" for key, value in self._environment.items()]
        command = shlex.join(["env", *settings, *program])
        self.run("new-session", "-d", "-s", name, "-x", str(width), "-y", str(height), command)
        return Session(self, name)

    def use(self, house: Path) -> None:
        """Start the dashboard of another source tree from now on."""
        self._environment["PYTHONPATH"] = str(house)

    def let_pass(self, seconds: float) -> None:
        """Make what was seen so much older, which waiting would do too."""
        path = Path(self._environment["DIFFOPT_STATE_DIR"]) / "seen.json"
        seen = json.loads(path.read_text())
        path.write_text(json.dumps({run: [at, when - seconds] for run, (at, when) in seen.items()}))

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self._socket), "-f", os.devnull, *words],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"},
        )
        return done.stdout


class Session:
    def __init__(self, tmux: Tmux, name: str) -> None:
        self._tmux, self._name = tmux, name
        self.pid = int(tmux.run("list-panes", "-t", name, "-F", "#{pane_pid}"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux.run("send-keys", "-t", self._name, key)
            time.sleep(0.15)

    @property
    def text(self) -> str:
        return self._tmux.run("capture-pane", "-p", "-t", self._name)

    def until(self, words: str, limit: float = 60) -> None:
        deadline = time.monotonic() + limit
        while words not in (text := self.text):
            assert time.monotonic() < deadline, f"{words!r} never came:\n{text}"
            time.sleep(0.2)

    def was_told(self, words: str) -> None:
        """Find words among what popped up."""
        self.press("!")
        self.until(words)
        self.press("Escape")

    def reads_the_report(self, run: RunFolder) -> None:
        """Open the report as the footer says, and close it."""
        self.until("O Report")
        self.press("O")
        self.until(f"Report of {run.name}"[:40])
        for words in ("quality score", "its lower bound (95 %)", "speed-up"):
            self.until(words)
        self.press("Escape")
        self.until("O Report")

    def hang_up(self) -> None:
        """Drop the connection: the terminal is gone."""
        self._tmux.run("kill-session", "-t", self._name)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    server = Tmux(tmp_path)
    server.runs_dir.mkdir()
    server.run("new-session", "-d", "-s", "held", "sleep 1000")  # keeps the server alive
    server.run("set-option", "-g", "remain-on-exit", "on")  # so that a crash can be read
    yield server
    with suppress(subprocess.CalledProcessError):
        server.run("kill-server")
    for run in list_runs(server.runs_dir):
        if pid := run.status().pid:
            os.kill(pid, signal.SIGKILL)


def waited(test: Callable[[], bool], limit: float) -> bool:
    deadline = time.monotonic() + limit
    while not test():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return False
        return True


def test_from_nothing_to_a_finished_run_over_a_dropped_connection(tmux: Tmux) -> None:
    first = tmux.open("first", 80, 24)
    first.until("No runs yet")
    first.press("n")
    first.until("A new run")
    first.press("Down", "Enter")  # past demo
    first.until("recipe smoke")
    first.press("C-r")
    first.until("Start a run")
    first.press("y")
    first.until("RUNNING")
    first.until("train", 120)
    (run,) = list_runs(tmux.runs_dir)
    worker = run.status().pid
    assert worker is not None

    first.hang_up()
    assert waited(lambda: is_gone(first.pid), 60)
    assert run.status().pid == worker  # training goes on

    tmux.let_pass(600)
    second = tmux.open("second", 120, 36)
    second.until("Away 10 min: ")
    second.until("RUNNING")

    # another terminal on the same run: each sees what the other did, and who did it
    third = tmux.open("third", 80, 24, run.name[:12])
    third.until("RUNNING")
    third.press("p")
    third.until("PAUSED")
    second.until("PAUSED")
    second.was_told(f"Paused by {acknowledged(run)[-1].issued_by}")
    second.press("p")
    second.until("RUNNING")
    third.until("RUNNING")
    third.was_told(f"Going on by {acknowledged(run)[-1].issued_by}")
    first_told, *_, last_told = acknowledged(run)
    assert first_told.issued_by != last_told.issued_by

    second.until("DONE", 240)
    third.until("DONE")
    for session in (second, third):
        session.reads_the_report(run)
        session.press("q")
        assert waited(lambda session=session: is_gone(session.pid), 60)


def test_demo_from_nothing_to_its_report(tmux: Tmux, tmp_path: Path) -> None:
    """Its recipe is the small one here, in a copy of the program: the true one takes minutes."""
    house = tmp_path / "house"
    for package in ("engine", "tui", "themes"):
        shutil.copytree(HOUSE / package, house / package, ignore=shutil.ignore_patterns("*.pyc"))
    recipes = house / "engine" / "assets" / "recipes"
    shutil.copy(recipes / "smoke.yaml", recipes / "demo.yaml")
    tmux.use(house)

    first = tmux.open("first", 80, 24, "demo")
    first.until("RUNNING", 120)
    second = tmux.open("second", 120, 36)  # no word: the run that is at work
    second.until("RUNNING")
    (run,) = list_runs(tmux.runs_dir)
    assert run.name.endswith("-demo")
    assert run.config_path.read_text() == config_to_yaml(load_config("smoke"))
    for session in (first, second):
        session.until("DONE", 240)
        session.reads_the_report(run)
        session.press("q")
        assert waited(lambda session=session: is_gone(session.pid), 60)


def test_ctrl_z_gives_the_shell_back_and_fg_the_dashboard(tmux: Tmux) -> None:
    shell = tmux.start("shell", 80, 24, ["sh", "-i"])
    shell.press(shlex.join(dashboard(tmux.runs_dir)), "Enter")
    shell.until("No runs yet")
    shell.press("C-z")
    shell.until("Stopped")
    assert "No runs yet" not in shell.text
    shell.press("fg", "Enter")
    shell.until("No runs yet")
    shell.until("q Detach")
    shell.press("q")
    shell.until("Stopped")  # the shell's screen again


def acknowledged(run: RunFolder) -> list[CommandAcknowledged]:
    with JournalReader(run.journal_path) as reader:
        events = [stored.event for stored in reader.facts()]
    return [event for event in events if isinstance(event, CommandAcknowledged)]
