"""What a key must not do: in each state of a screen the keys that are grey, and that say why."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from engine.config import config_to_yaml, load_config
from engine.run import JournalReader, JournalWriter, RunFolder
from engine.run.events import Paused
from tests.tui.conftest import SIZES
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.journals import RECORDED
from tests.tui.keys.stage import hurry
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.keys import KEYS
from tui.live_keys import UNKNOWN, live_keys
from tui.marks import Marks
from tui.options import Options
from tui.screens.compare import CompareScreen
from tui.screens.config import ConfigScreen
from tui.screens.live import LiveScreen
from tui.screens.runs import RunsScreen
from tui.targets import Target

STEERING = {f"run.{name}" for name in ("pause", "pause_free", "resume", "cancel_stage",
                                       "cancel_run")}  # fmt: skip
ON_LIVE = STEERING | {"run.pause_space", "run.checkpoint", "run.retry"}
STAGE_ONLY = {"run.cancel_stage", "run.checkpoint", "run.retry"}
SELECTED = {"runs.mark", "runs.duplicate", "runs.edit", "runs.archive", "runs.trash"}
EDITS = {"config.save", "config.undo", "config.redo", "config.default"}
UNLOCKED = {"config.editor", "config.presets"}
MARKED = {"view.zoom", "view.tab_left", "view.tab_right", "view.log_y",
          "view.x_axis", "view.metric", "view.images", "view.open_file",
          "view.blink", "view.sort", "compare.export", "compare.diff"}  # fmt: skip

OF_LIVE = {key.id for key in KEYS if "live" in key.screens} - {"pane.next", "pane.previous"}
NO_REPORT = {"view.report"}
OPEN = {"pane.open"}
SHELVING = {"runs.archive", "runs.trash", "runs.undo"}

# what there is -> screen -> the keys that are grey there
REFUSED: dict[str, dict[str, set[str]]] = {
    "nothing": {
        "runs": STEERING | SELECTED | NO_REPORT | OPEN | {"runs.undo"},
        "config": {"runs.duplicate", "config.keep_mine"},
        "live": OF_LIVE | OPEN,
        "compare": MARKED | OPEN,
    },
    "starting": {
        "runs": STAGE_ONLY & STEERING | NO_REPORT | SHELVING | {"run.resume"},
        "live": STAGE_ONLY | NO_REPORT | {"run.resume"},
    },
    "training": {
        "runs": SHELVING | NO_REPORT | {"run.resume"},
        "config": UNLOCKED | {"config.keep_mine"},
        "live": NO_REPORT | {"run.resume"},
    },
    "paused": {"runs": SHELVING | NO_REPORT, "live": NO_REPORT},
    "lost": {
        "runs": STEERING - {"run.resume", "run.cancel_run"} | NO_REPORT | {"runs.undo"},
        "config": UNLOCKED | {"config.keep_mine"},
        "live": ON_LIVE - {"run.resume", "run.cancel_run"} | NO_REPORT,
    },
    "done": {
        "runs": STEERING | {"runs.undo"},
        "config": EDITS | UNLOCKED | {"config.keep_mine"},
        "live": ON_LIVE,
        "compare": set(),
    },
}

EVENTS = {
    "starting": UP_TO_TRAINING[:1],
    "training": UP_TO_TRAINING,
    "paused": (*UP_TO_TRAINING, Paused(step=100)),
    "lost": UP_TO_TRAINING[:1],
}


@contextmanager
def run_that_is(what: str, root: Path) -> Iterator[RunFolder | None]:
    """Make the run; a worker holds it while it is not lost, done or nothing."""
    root.mkdir()
    if what == "nothing":
        yield None
        return
    if what == "done":
        shutil.copytree(RECORDED / "smoke", root / "smoke")
        (root / "smoke" / "lock").touch()
        yield RunFolder.open(root / "smoke")
        return
    run = RunFolder.create(root, config_to_yaml(load_config("smoke")), name="digits", mounts=[])
    if what == "lost":
        with JournalWriter(run.journal_path) as journal:
            for event in EVENTS[what]:
                journal.emit(event)
        yield run
    else:
        with working(run, *EVENTS[what]):
            yield run


async def go_to(app: DiffoptApp, pilot: Pilot[None], screen: str, run: RunFolder | None) -> None:
    """Open a screen on the run, and wait until it knows of it."""
    app.marked = Marks()
    if run is not None:
        app.marked.toggle(run.path)
    if screen == "config" and run is not None:
        app.open_config(run)
    elif screen == "live" and run is not None:
        app.open_run(run)
    else:
        app.switch_mode(screen)
    await pilot.pause(0.01)
    await until(
        lambda: app.current_mode == screen and knows(app.screen, run),
        lambda: pilot.pause(0.01),
        lambda: f"{screen} never came to know of the run",
    )
    await pilot.pause()


def knows(screen: Screen[Any], run: RunFolder | None) -> bool:
    """Return whether what a screen shows of a run is all that there is."""
    match screen:
        case LiveScreen():
            return run is None or (screen.snapshot is not None and screen.snapshot.is_loaded)
        case RunsScreen():
            screen._list()
            return run is None or (screen.row is not None and screen.row.is_readable)
        case CompareScreen():
            return run is None or bool(screen.runs)
        case ConfigScreen():
            draft = screen.draft
            return draft is not None and (run is None or draft.source.run == run)
    return False


def grey(screen: Screen[Any]) -> set[str]:
    """Return the ids of the table's keys for this screen that do nothing now."""
    here = {key.id for key in KEYS if screen.NAME in key.screens}  # pyright: ignore[reportAttributeAccessIssue]
    keys = live_keys(screen)
    greyed = {key.id for key in keys if not key.is_enabled}
    return greyed | here - {key.id for key in keys if key.is_enabled}


def state_of(app: DiffoptApp, run: RunFolder | None, root: Path) -> tuple[Any, ...]:
    """Return all that a refused key must leave as it is."""
    asked: list[str] = []
    if run is not None:
        with JournalReader(run.journal_path) as reader:
            asked = [record.command.kind for record in reader.commands()]
    draft = getattr(app.screen, "draft", None)
    files = sorted(path for path in root.rglob("*") if "journal" not in path.name)
    return asked, app.current_mode, list(app.marked), files, draft and draft.text


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("what", list(REFUSED))
def test_what_cannot_be_done_is_grey_does_nothing_and_says_why(
    what: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    hurry(monkeypatch)

    async def story(run: RunFolder | None) -> None:
        app = DiffoptApp(Options(runs_dir=root), Target())
        async with app.run_test(size=size) as pilot:
            for screen, refused in REFUSED[what].items():
                await go_to(app, pilot, screen, run)
                assert grey(app.screen) == refused, screen
                before = state_of(app, run, root)
                for key in (key for key in KEYS if key.id in refused):
                    shown, count = app.screen, len(app.notices)
                    await pilot.press(key.keys.split(",")[0])
                    assert app.screen is shown, key.id
                    assert state_of(app, run, root) == before, key.id
                    assert len(app.notices) == count + 1, f"{key.id} on {screen}"
                    assert list(app.notices)[-1].text != UNKNOWN, (
                        f"{key.id} on {screen} has no reason"
                    )

    with run_that_is(what, root) as run:
        asyncio.run(story(run))
