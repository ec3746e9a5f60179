"""One run's settings on several dashboards and in an editor: nobody's change is written over."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from engine.config import config_to_yaml, load_config
from engine.run import RunFolder, steering
from engine.run.commands import Command
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.screens.config.scene import Scene
from tests.tui.waiting import until
from tui.options import Options

TEXT = config_to_yaml(load_config("smoke"))
THEIRS = TEXT.replace("checkpoint_seconds: 300.0", "checkpoint_seconds: 11.0")


@pytest.fixture
def run(options: Options) -> RunFolder:
    return RunFolder.create(options.runs_dir, TEXT, name="digits", mounts=[])


@pytest.fixture(autouse=True)
def _answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "wait_for", lambda run, command: steering.Answer("done", "so"))


async def saved(scene: Scene, said: str) -> None:
    await scene.press("ctrl+s")
    await until(lambda: said in scene.notices[-1], scene.pilot.pause, lambda: scene.notices[-1])
    await scene.pilot.pause()


def run_of(run: RunFolder) -> tuple[float, bool]:
    settings = load_config(run.config_path).run
    return settings.checkpoint_seconds, settings.keep_awake


def test_two_dashboards_that_change_different_settings_keep_both(
    play: Callable[..., Any], run: RunFolder, size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        with working(run, *UP_TO_TRAINING):
            await scene.go_to("run.keep_awake")
            await scene.press("space")
            steering.change_settings(run, THEIRS, client="another dashboard")
            scene.screen._look_around()
            assert "changed on disk: F5 takes it · K keeps" in scene.words("banner")
            await scene.press("D")
            shown = scene.pane("diff-tab" if size[0] < 100 else "diff")
            assert "-  checkpoint_seconds: 11.0" in shown
            await scene.go_to("run.keep_awake")
            await saved(scene, "took up")
            assert run_of(run) == (11.0, False)
            assert scene.text == run.config_path.read_text()
            assert "11.0" in scene.row("run.checkpoint_seconds")
            assert "changed on disk" not in scene.words("banner")
            await scene.press("ctrl+z")
            assert "nothing to undo" in scene.notices[-1], "no undo takes back another's change"

    play(story, size, source=run)


def test_a_save_before_any_look_at_the_disk_keeps_both_too(
    play: Callable[..., Any], run: RunFolder
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("run.keep_awake")
        await scene.press("space")
        run.config_path.write_text(THEIRS + "# by an editor\n")
        await saved(scene, "took up")
        assert run_of(run) == (11.0, False)
        assert run.config_path.read_text().endswith("# by an editor\n")

    play(story, source=run)


def test_a_setting_that_both_changed_is_not_written_until_one_side_wins(
    play: Callable[..., Any], run: RunFolder, size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("run.keep_awake")
        await scene.press("space")
        await scene.fill("run.checkpoint_seconds", "20")
        run.config_path.write_text(THEIRS)
        await saved(scene, "run.checkpoint_seconds is 11.0 there by now and 20")
        assert "F5 takes what is there, K keeps yours" in scene.notices[-1]
        assert run.config_path.read_text() == THEIRS
        assert "changed on disk" in scene.words("banner")
        await scene.press("K")
        assert "changed on disk" not in scene.words("banner")
        assert run.config_path.read_text() == THEIRS
        await saved(scene, "took up")
        assert run_of(run) == (20.0, False)

    play(story, size, source=run)


def test_the_answer_to_a_save_is_told_though_another_was_asked_for(
    play: Callable[..., Any], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer = threading.Event()

    def answer(run: RunFolder, command: Command) -> steering.Answer:
        assert may_answer.wait(60)
        return steering.Answer("done", "in the end")

    monkeypatch.setattr(steering, "wait_for", answer)

    async def story(scene: Scene) -> None:
        await scene.go_to("run.keep_awake")
        await scene.press("space")
        await saved(scene, "telling its worker")
        await saved(scene, "Nothing has changed")
        may_answer.set()
        await until(lambda: "took up: in the end" in scene.notices[-1], scene.pilot.pause)

    play(story, source=run)


def test_what_is_on_disk_is_taken_and_undo_brings_back_these_changes_alone(
    play: Callable[..., Any], run: RunFolder
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("run.keep_awake")
        await scene.press("space")
        run.config_path.write_text(THEIRS)
        scene.screen._look_around()
        await scene.press("enter", "f5")
        assert scene.text == THEIRS
        assert not scene.screen.draft.is_modified  # type: ignore[union-attr]
        await scene.press("ctrl+z", "ctrl+s")
        await scene.pilot.pause()
        assert "11.0" in scene.row("run.checkpoint_seconds")
        assert run_of(run)[0] == 11.0

    play(story, source=run)


def test_another_s_change_comes_into_view_where_nothing_was_changed(
    play: Callable[..., Any], run: RunFolder, size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("run.checkpoint_seconds")
        await scene.press("enter")
        run.config_path.write_text(THEIRS)
        scene.screen._look_around()
        assert scene.text == TEXT, "not into a box that is typed into"
        await scene.press("escape")
        scene.screen._look_around()
        assert scene.text == THEIRS
        assert "11.0" in scene.row("run.checkpoint_seconds")
        assert "only `run` may change" in scene.words("banner")
        run.config_path.write_text("run: [")
        scene.screen._look_around()
        assert "The form waits" in scene.words("banner")
        run.config_path.write_text(THEIRS)
        scene.screen._look_around()
        run.config_path.unlink()
        scene.screen._look_around()
        assert "gone from the disk" in scene.words("banner")
        run.config_path.write_text(TEXT)
        scene.screen._look_around()
        assert scene.text == TEXT
        assert "only `run` may change" in scene.words("banner")

    play(story, size, source=run)


def test_a_box_that_was_only_looked_at_changes_nothing_of_what_came_meanwhile(
    play: Callable[..., Any], run: RunFolder
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("run.keep_awake")
        await scene.press("space")
        await scene.go_to("run.checkpoint_seconds")
        await scene.press("enter")
        run.config_path.write_text(THEIRS)
        await saved(scene, "took up")
        assert scene.form.is_typing
        await scene.press("enter")
        await scene.settle()
        assert not scene.screen.draft.is_modified  # type: ignore[union-attr]
        assert run_of(run) == (11.0, False)

    play(story, source=run)


def test_changes_of_a_run_that_were_not_written_are_offered_again(
    play: Callable[..., Any], run: RunFolder
) -> None:
    async def typed(scene: Scene) -> None:
        await scene.go_to("run.keep_awake")
        await scene.press("space")
        scene.screen.on_hangup()

    async def taken(scene: Scene) -> None:
        await scene.pilot.pause()
        assert "unsaved changes" in scene.app.screen.question.text  # type: ignore[attr-defined]
        await scene.press("y")
        await scene.pilot.pause()
        assert "[ ] no" in scene.row("run.keep_awake")

    async def outdated(scene: Scene) -> None:
        await scene.pilot.pause()
        assert scene.text == THEIRS
        assert "has changed since changes to it were left unsaved; they lie in" in scene.notices[-1]

    play(typed, source=run)
    play(taken, source=run)
    run.config_path.write_text(THEIRS)
    play(outdated, source=run)
