"""Runs, Compare and Help as text, at two sizes: a change of their looks is a change of these."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.run import JournalWriter, RunFolder
from engine.run.events import RunFailed, RunStarted
from tests.tui.pictures import come_to
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.machine import Machine
from tui.options import Options
from tui.screens.runs import RunsScreen
from tui.widgets.pane import Pane

SIZES = ((80, 24), (120, 36))
SOON_AFTER = 1_795_631_500.0  # the recorded runs
MACHINE = Machine(
    cpu=0.42,
    memory_used_bytes=9 * 2**30,
    memory_total_bytes=24 * 2**30,
    swap_used_bytes=0,
    disk_free_bytes=82 * 10**9,
)


@pytest.fixture(autouse=True)
def _same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tui.screens.runs.look", lambda *_: MACHINE)
    monkeypatch.setattr("tui.screens.runs.queue_of", lambda: ("ladder", 2))
    monkeypatch.setattr("tui.screens.runs.time", SimpleNamespace(time=lambda: SOON_AFTER))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def house(recorded: Callable[[str], RunFolder]) -> list[Path]:
    found = [recorded(name).path for name in ("smoke", "ladder")]
    run = RunFolder.create(found[0].parent, "seed: 0\n", label="mine", name="broken", mounts=[])
    with JournalWriter(run.journal_path) as journal:
        journal.emit(RunStarted(pid=1, host="here", device="a machine"))
        journal.emit(RunFailed(error="TrainingError", message="the loss is nan"))
    return found


def text_of(app: DiffoptApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def detail(app: DiffoptApp) -> str:
    """Return the title of the pane beside the table, which knows its run a moment later."""
    return str(app.screen.query_one("#details", Pane).border_title)


@pytest.mark.parametrize("size", SIZES)
def test_runs_looks_as_it_did(house: list[Path], options: Options, size: tuple[int, int]) -> None:
    async def check() -> None:
        app = DiffoptApp(options._replace(theme="mono", is_ascii=size == (80, 24)))
        app.marked.toggle(house[1])
        async with app.run_test(size=size) as pilot:
            screen = app.screen
            assert isinstance(screen, RunsScreen)
            await until(lambda: screen.row is not None and screen.row.name == "broken", pilot.pause)
            await pilot.press("j")
            await come_to(f"runs-{size[0]}x{size[1]}", lambda: text_of(app), pilot)

    asyncio.run(check())


@pytest.mark.parametrize("size", SIZES)
def test_compare_looks_as_it_did(
    house: list[Path], options: Options, size: tuple[int, int]
) -> None:
    async def check() -> None:
        app = DiffoptApp(options._replace(theme="mono", is_ascii=size == (80, 24)))
        for path in house:
            app.marked.toggle(path)
        async with app.run_test(size=size) as pilot:
            await pilot.press("4")
            await come_to(f"compare-{size[0]}x{size[1]}", lambda: text_of(app), pilot)

    asyncio.run(check())


@pytest.mark.parametrize("size", SIZES)
def test_help_looks_as_it_did(house: list[Path], options: Options, size: tuple[int, int]) -> None:
    async def check() -> None:
        app = DiffoptApp(options._replace(theme="mono", is_ascii=size == (80, 24)))
        async with app.run_test(size=size) as pilot:
            screen = app.screen
            assert isinstance(screen, RunsScreen)
            await until(lambda: screen.row is not None and screen.row.name == "broken", pilot.pause)
            await pilot.press("j")
            await until(lambda: "ladder" in detail(app), pilot.pause)
            await pilot.press("question_mark")
            await come_to(f"help-{size[0]}x{size[1]}", lambda: text_of(app), pilot)

    asyncio.run(check())
