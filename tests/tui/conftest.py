"""What the dashboard's tests share."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import pytest
import textual.app
import textual.pilot
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

from engine.run import RunFolder
from tests.tui.journals import RECORDED
from tui.options import Options

IDLE_SECONDS = 0.004
PATIENCE_SECONDS = 5.0  # a busy machine may need long
SIZES = ((80, 24), (120, 36), (160, 48))


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """The dashboard over an empty folder of runs."""
    return Options(runs_dir=tmp_path / "runs")


@pytest.fixture
def go() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end."""
    return asyncio.run


async def _wait_for_idle(min_sleep: float = 0, max_sleep: float = PATIENCE_SECONDS) -> None:
    """Wait until nothing is left to do, as Textual's own does in a fifth of its time.

    It holds a process that used a twentieth of 20 ms for busy, and one that the system let stand
    for idle. Here what the event loop still has to do counts as well.
    """
    loop, start = asyncio.get_running_loop(), monotonic()
    while monotonic() - start < max_sleep:
        cpu = process_time()
        await asyncio.sleep(IDLE_SECONDS)
        is_busy = process_time() - cpu > IDLE_SECONDS / 10
        if not is_busy and not loop._ready:  # type: ignore[attr-defined]
            return


@pytest.fixture(autouse=True)
def _quick_to_see_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (textual.app, textual.pilot):
        monkeypatch.setattr(module, "wait_for_idle", _wait_for_idle)


@pytest.fixture(scope="session", autouse=True)
def _style_sheets_parsed_once() -> Iterator[None]:
    """Share what was parsed among all apps: it is a quarter of what starting one takes."""
    parse, known = Stylesheet._parse_rules, {}

    def parse_rules(sheet: Stylesheet, *words: Any, **more: Any) -> list[RuleSet]:
        key = (words, *more.items(), *sorted(sheet._variables.items()))
        if key not in known:
            known[key] = parse(sheet, *words, **more)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", parse_rules)
        yield


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[str], RunFolder]:
    """Return a copy of a recorded run that a test may change."""

    def copy(name: str) -> RunFolder:
        path = tmp_path / "runs" / name
        if not path.exists():
            shutil.copytree(RECORDED / name, path)
            (path / "lock").touch()
        return RunFolder.open(path)

    return copy
