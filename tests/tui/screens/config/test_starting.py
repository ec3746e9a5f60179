"""From Config to a run: command line, presets, the start, and the settings of a run at work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import config_to_yaml, load_config, parse_config
from engine.run import JournalReader, RunFolder, steering
from engine.run.events import Paused
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.screens.config.scene import TEXT, Scene
from tests.tui.waiting import until
from tui.dialogs import Dialog
from tui.options import Options
from tui.widgets.pane import Pane


def test_the_command_line_is_copied(play: Callable[..., Any], file: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.seed", "3")
        await scene.press("Y")
        assert scene.app.clipboard == f"diffopt run {file} --set training.seed=3"
        await scene.fill("target_steps", "0")
        await scene.press("Y")
        assert "without errors" in scene.notices[-1]

    play(story)


def test_a_preset_is_one_step_and_tells_its_cost(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        await scene.press("ctrl+t")
        await until(lambda: scene.app.screen.query("#pick"), scene.pilot.pause)
        await scene.pilot.pause()
        lines = [line.plain for line in scene.app.screen.query_one("#pick", Pane).lines]
        assert [line.split("  ")[0] for line in lines[:3]] == ["quick look", "good", "best"]
        assert any("demo" in line and "recipe" in line for line in lines)
        await scene.press("enter")
        await scene.pilot.pause()
        assert "iterations: [100, 100, 200]" in scene.text
        assert "# high" in scene.text
        await scene.press("ctrl+z")
        assert scene.text == TEXT

    play(story, (80, 24))


def test_starting_is_asked_and_makes_a_run_of_these_settings(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[RunFolder] = []

    def start(run: RunFolder) -> None:
        started.append(run)

    monkeypatch.setattr("engine.run.steering._start", start)

    async def story(scene: Scene) -> None:
        await scene.fill("training.seed", "3")
        await scene.press("ctrl+r")
        await scene.pilot.pause()
        assert isinstance(scene.app.screen, Dialog)
        assert "differ from their defaults" in scene.app.screen.question.text
        await scene.press("enter")  # not yet
        assert not started
        await scene.press("ctrl+r")
        await scene.pilot.pause()
        await scene.press("y")
        await scene.pilot.pause()
        assert len(started) == 1
        config = load_config(started[0].config_path)
        assert config.training.seed == 3
        assert config.training.learning_rate == 1e-3
        assert started[0].name.endswith("-fox")
        assert scene.app.current_mode == "live"

    play(story, (80, 24))


def test_a_model_that_is_not_there_is_not_started(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("model_path", "/nowhere/at/all")
        scene.screen._begin_cost()
        await until(
            lambda: scene.screen.estimate is not None and scene.screen.estimate.problem,
            scene.pilot.pause,
        )
        await scene.pilot.pause()
        assert "there is no such folder" in scene.words("config-cost")
        await scene.press("ctrl+r")
        await scene.pilot.pause()
        assert not isinstance(scene.app.screen, Dialog)
        assert "there is no such folder" in scene.notices[-1]

    play(story)


def test_a_run_s_own_settings_are_locked_and_cloned(
    play: Callable[..., Any], options: Options, size: tuple[int, int]
) -> None:
    text = config_to_yaml(load_config("smoke"))
    run = RunFolder.create(options.runs_dir, text, name="digits", mounts=[])

    async def story(scene: Scene) -> None:
        assert "digits is queued: only `run` may change; d makes" in scene.words("banner")
        assert scene.screen.query_one("#banner").region.height == 1
        await scene.go_to("training.batch_size")
        await scene.press("enter")
        assert not scene.form.is_typing
        assert "digits is queued" in scene.notices[-1]
        await scene.press("ctrl+d", "ctrl+s", "ctrl+z")
        assert scene.text == text
        assert run.config_path.read_text() == text
        assert "Nothing has changed" in " ".join(scene.notices)
        assert scene.yaml.read_only
        assert "▪" in scene.row("training.batch_size")
        await scene.press("d")
        await scene.pilot.pause()
        assert len(scene.text.splitlines()) < 30
        assert parse_config(scene.text, "clone") == load_config("smoke")
        await scene.fill("training.seed", "3")
        assert "seed: 3" in scene.text

    play(story, size, source=run)


def test_settings_of_the_process_change_while_a_run_works(
    play: Callable[..., Any], options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = config_to_yaml(load_config("smoke"))
    run = RunFolder.create(options.runs_dir, text, name="digits", mounts=[])
    monkeypatch.setattr(
        steering, "wait_for", lambda run, command: steering.Answer("done", "as told")
    )

    async def story(scene: Scene) -> None:
        await scene.fill("run.checkpoint_seconds", "60")
        assert "▪" not in scene.row("run.checkpoint_seconds")
        await scene.go_to("run.checkpoint_seconds")
        assert "May change now" in scene.pane("help-pane")
        await scene.press("ctrl+z")
        assert scene.text == text
        await scene.press("ctrl+y", "ctrl+s")
        await until(lambda: "digits took up: as told" in scene.notices[-1], scene.pilot.pause)
        assert load_config(run.config_path).run.checkpoint_seconds == 60
        assert not scene.screen.draft.is_modified  # type: ignore[union-attr]
        with JournalReader(run.journal_path) as reader:
            asked = [record.command.kind for record in reader.commands()]
        assert asked == ["take-settings"]

    play(story, (80, 24), source=run)


def test_a_start_while_another_run_works_says_that_it_waits(
    play: Callable[..., Any], options: Options
) -> None:
    text = config_to_yaml(load_config("smoke"))
    run = RunFolder.create(options.runs_dir, text, name="digits", mounts=[])

    async def asked(scene: Scene) -> str:
        await scene.press("ctrl+r")
        await scene.pilot.pause()
        assert isinstance(scene.app.screen, Dialog)
        words = scene.app.screen.question.text
        await scene.press("escape")
        return words

    async def story(scene: Scene) -> None:
        assert "waits" not in await asked(scene), "one that is queued is not at work"
        with working(run, *UP_TO_TRAINING) as worker:
            assert "digits is at work; this one waits for its turn." in await asked(scene)
            worker.emit(Paused(step=3))
            assert "digits is at work; this one waits" in await asked(scene)
        assert "waits" not in await asked(scene), "its worker has gone"

    play(story)
