"""What `diffopt-tui WORD` opens, and that a recipe is started as what it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import config_to_yaml, load_config, recipe_names
from engine.errors import ConfigError, RunError
from engine.run import JournalReader, RunFolder, steering
from engine.run.events import RunQueued
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.options import Options
from tui.screens.config import ConfigScreen
from tui.screens.live import LiveScreen
from tui.screens.runs import RunsScreen
from tui.targets import Target, find_target


def made(options: Options, name: str) -> RunFolder:
    return RunFolder.create(options.runs_dir, "seed: 0\n", name=name, mounts=[])


def test_no_word_and_no_run_at_work_opens_the_table(options: Options) -> None:
    assert find_target(options) == Target()
    made(options, "waiting")  # nobody holds it
    assert find_target(options) == Target()


def test_no_word_opens_the_run_that_is_at_work(options: Options) -> None:
    run = made(options, "fox")
    with working(run, *UP_TO_TRAINING):
        made(options, "newer")
        assert find_target(options) == Target(run=run)


def test_of_two_that_are_held_the_one_at_work_is_opened_not_the_one_in_line(
    options: Options,
) -> None:
    run, queued = made(options, "fox"), made(options, "newer")
    with working(queued):
        assert find_target(options) == Target(run=queued)
        with working(run, *UP_TO_TRAINING):
            assert find_target(options) == Target(run=run)


def test_demo_is_a_recipe_to_be_started(options: Options) -> None:
    assert find_target(options._replace(target="demo")) == Target(recipe="demo")


def test_another_recipe_s_name_opens_its_settings(options: Options) -> None:
    for name in set(recipe_names()) - {"demo"}:
        assert find_target(options._replace(target=name)) == Target(config=name)


def test_a_run_is_named_by_the_beginning_of_its_name(options: Options) -> None:
    run = made(options, "fox-trot")
    assert find_target(options._replace(target="fox")) == Target(run=run)
    made(options, "fox-two")
    with pytest.raises(RunError, match=r"fox-two|fox-trot"):
        find_target(options._replace(target="fox"))


def test_a_file_is_a_configuration_whatever_it_is_called(options: Options, tmp_path: Path) -> None:
    for name in ("mine.yaml", "mine"):
        path = tmp_path / name
        path.write_text("seed: 1\n")
        assert find_target(options._replace(target=str(path))) == Target(config=path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_target(options._replace(target=str(path)))


@pytest.mark.parametrize(
    ("target", "screen"),
    [(Target(), RunsScreen), (Target(config="smoke"), ConfigScreen)],
    ids=["nothing", "a recipe's settings"],
)
def test_a_target_is_the_first_screen(
    options: Options, go: Callable[..., Any], target: Target, screen: type
) -> None:
    async def story() -> None:
        app = DiffoptApp(options, target)
        async with app.run_test() as pilot:
            await until(lambda: isinstance(app.screen, screen), pilot.pause)
            if isinstance(app.screen, ConfigScreen):
                await until(lambda: "recipe smoke" in drawn(app), pilot.pause, lambda: drawn(app))

    go(story())


@pytest.mark.parametrize("recipe", ["smoke", "demo"])
def test_a_recipe_is_started_with_its_settings_and_live_shows_it(
    options: Options, monkeypatch: pytest.MonkeyPatch, go: Callable[..., Any], recipe: str
) -> None:
    started: list[RunFolder] = []
    monkeypatch.setattr(steering, "_start", started.append)

    async def story() -> None:
        app = DiffoptApp(options, Target(recipe=recipe))
        async with app.run_test(size=(120, 36)) as pilot:
            await until(lambda: "QUEUED" in drawn(app), pilot.pause, lambda: drawn(app))
            (run,) = started
            assert isinstance(app.screen, LiveScreen)
            assert app.current_run == run
            assert run.path.parent == options.runs_dir
            assert run.name in drawn(app).splitlines()[0]
            assert any(f"{run.name} is started" == one.text for one in app.notices)

    go(story())
    (run,) = started
    assert run.config_path.read_text() == config_to_yaml(load_config(recipe))
    with JournalReader(run.journal_path) as reader:
        queued = reader.facts()[0].event
    assert isinstance(queued, RunQueued)
    assert queued.label == recipe
    assert queued.queued_by.endswith("diffopt-tui")


def test_a_recipe_that_cannot_be_started_says_why_on_live(
    options: Options, go: Callable[..., Any]
) -> None:
    options.runs_dir.write_text("a file stands there")

    async def story() -> str:
        app = DiffoptApp(options, Target(recipe="smoke"))
        async with app.run_test() as pilot:
            await until(lambda: len(list(app.notices)) > 0, pilot.pause)
            assert isinstance(app.screen, LiveScreen)
            return next(iter(app.notices)).text

    assert str(options.runs_dir) in go(story())


def drawn(app: DiffoptApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())
