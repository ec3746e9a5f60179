"""Every key of the table, by each of its spellings, on each screen that binds it, at three sizes.

The checks lie beside this file; a key without one fails here.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.config import config_to_yaml, load_config
from engine.run import RunFolder
from engine.run.events import LogLine, SamplesSaved
from tests.tui.conftest import SIZES
from tests.tui.fake_worker import UP_TO_TRAINING, FakeWorker, working
from tests.tui.journals import RECORDED
from tests.tui.keys import on_all, on_compare, on_config, on_live, on_runs
from tests.tui.keys.stage import CHECKS, Stage, hurry
from tui.app import DiffoptApp
from tui.keys import KEYS, Key
from tui.live_keys import live_keys
from tui.options import Options
from tui.screens.compare import CompareScreen
from tui.screens.config import ConfigScreen
from tui.screens.live import LiveScreen
from tui.screens.runs import RunsScreen
from tui.targets import Target

SCREENS = {
    "runs": RunsScreen,
    "config": ConfigScreen,
    "live": LiveScreen,
    "compare": CompareScreen,
}
LEAVES = ("app.detach", "app.stop")  # what they patch stays so: they come last
GREY = {  # what cannot be done before its check has made it so that it can
    ("config.keep_mine", "config"),
    ("view.report", "runs"),
    ("view.report", "live"),
    ("run.resume", "live"),
    ("run.resume", "runs"),
    ("runs.archive", "runs"),
    ("runs.duplicate", "config"),
    ("runs.trash", "runs"),
    ("runs.undo", "runs"),
}
_FILED = (on_all, on_compare, on_config, on_live, on_runs)  # importing them files their checks


def test_every_key_of_the_table_has_a_check_for_each_of_its_screens() -> None:
    assert set(CHECKS) == {(key.id, scope) for key in KEYS for scope in key.screens}


def test_every_screen_can_do_what_the_table_says_of_it() -> None:
    lacking = [
        (key.id, scope)
        for key in KEYS
        for scope in key.screens
        if scope in SCREENS and not hasattr(SCREENS[scope], f"action_{key.action}")
    ]
    assert lacking == []


@pytest.fixture(scope="module")
def settings() -> str:
    return config_to_yaml(load_config("smoke"))


@pytest.fixture
def runs(tmp_path: Path, settings: str) -> Path:
    """A folder of a dozen runs; two are recorded ones."""
    root = tmp_path / "runs"
    for name in ("ladder", "smoke"):
        shutil.copytree(RECORDED / name, root / name)
        (root / name / "lock").touch()
    for number in range(6):
        RunFolder.create(root, settings, name=f"other-{number}", mounts=[])
    return root


@asynccontextmanager
async def on_stage(
    mode: str, size: tuple[int, int], runs: Path, settings: str, patch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Open the dashboard on a screen, with a run at work."""
    patch.setenv("SSH_CONNECTION", "far away")  # nothing is opened on a desktop
    hurry(patch)
    (runs.parent / "fox.yaml").write_text(on_config.TEXT)
    run = RunFolder.create(runs, settings, name="digits", mounts=[])
    (run.path / "samples").mkdir(exist_ok=True)
    shutil.copy(next((runs / "smoke" / "samples").glob("*.png")),
                run.path / "samples" / "comparison.png")  # fmt: skip
    target = {"live": Target(run=run), "config": Target(config=runs.parent / "fox.yaml")}
    with working(run, *UP_TO_TRAINING) as worker:
        tell_much(worker)
        app = DiffoptApp(Options(runs_dir=runs), target.get(mode, Target()))
        async with app.run_test(size=size) as pilot:
            if mode == "compare":
                app.marked.toggle(runs / "ladder")
                app.marked.toggle(runs / "smoke")
                await pilot.press("4")
            stage = Stage(app, pilot, worker, runs.parent, patch)
            await at_home(stage)
            yield stage


def tell_much(worker: FakeWorker) -> None:
    worker.train(200)
    worker.emit(
        *(
            LogLine(level="WARNING" if number % 5 == 0 else "INFO", text=f"line {number}")
            for number in range(1, 60)
        ),
        SamplesSaved(path="samples/comparison.png", what="comparison", stage=1, step=9, steps=4),
    )


async def at_home(stage: Stage, *, is_afresh: bool = True) -> None:
    """Bring the screen back to how every key finds it; `is_afresh`: and what is edited there."""
    app, mode = stage.app, stage.mode
    while app.screen not in [stack[0] for stack in app._screen_stacks.values()]:
        await stage.press("escape")
    if app.current_mode != mode:
        app.switch_mode(mode)
        await stage.pilot.pause()
    screen = stage.screen
    if mode == "runs":
        screen.go_back()
        await stage.until(lambda: "digits" in [row.name for row in stage.get(on_all.RunTable).rows])
        on_runs.select(stage, "digits")
    elif mode == "config" and not is_afresh:
        on_config.config(stage).form.focus()
    elif mode == "config":
        await on_config.open_afresh(stage)
        on_config.config(stage)._show_tab("form")
        on_config.config(stage).form.focus()
    elif mode == "live":
        stage.app.open_run(stage.run)
        log, step = stage.get(on_live.Log), lambda: screen.snapshot and screen.snapshot.step  # pyright: ignore
        await stage.until(lambda: step() == 200 and len(log._rows) > 50, "the run")
        screen._show_pane("log")  # pyright: ignore[reportAttributeAccessIssue]
        screen._show_charts()  # pyright: ignore[reportAttributeAccessIssue]
        log.focus()
    else:
        compare = on_compare.compare(stage)
        await stage.until(lambda: len(compare.runs) == 2, "the marked runs")
        compare._tab = "chart"
        compare._place_tabs()
        stage.pane("chart").focus()
    await stage.pilot.pause()


def order(key: Key) -> bool:
    return key.id in LEAVES


async def walk(scope: str, stage: Stage) -> None:
    """Press every key of a scope, each from the same state of the screen."""
    for key in sorted(KEYS, key=order):
        if scope not in key.screens:
            continue
        for one in key.keys.split(","):
            if scope == stage.mode:
                live = [known.id for known in live_keys(stage.screen) if known.is_enabled]
                assert (key.id in live) != ((key.id, scope) in GREY), f"{key.id} on {scope}"
            try:
                await CHECKS[key.id, scope](stage, one)
            except AssertionError as error:
                raise AssertionError(f"{key.id} by {one} on {scope}: {error}") from error
            await at_home(stage, is_afresh=scope == stage.mode)


OPENED = {"T": "ThemesScreen", "exclamation_mark": "NoticesScreen", "O": "ReportScreen"}


def test_keys_work_over_report_themes_and_notices_too(
    runs: Path, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with on_stage("runs", SIZES[0], runs, settings, monkeypatch) as stage:
            for opener, name in OPENED.items():
                on_runs.select(stage, "ladder")
                await stage.pilot.pause()
                await stage.press(opener)
                await stage.until(lambda name=name: stage.over == name, name)
                for key in (key for key in KEYS if "over" in key.screens):
                    for one in key.keys.split(","):
                        await CHECKS[key.id, "over"](stage, one)
                        assert stage.over == name, f"{key.id} by {one} closed it"
                await stage.press("escape")
                await stage.until(lambda: stage.over == "", "its end")

    asyncio.run(story())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("mode", list(SCREENS))
def test_every_key_does_what_the_table_says(
    mode: str, size: tuple[int, int], runs: Path, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = ["pane", mode, "app"] if mode == "runs" else [mode, "app"]

    async def story() -> None:
        async with on_stage(mode, size, runs, settings, monkeypatch) as stage:
            for scope in scopes:
                await walk(scope, stage)

    asyncio.run(story())
