"""What of a run's own settings may change while it is at work, and when the worker takes it up."""

from collections.abc import Callable
from typing import Any

from engine.config import config_to_yaml, load_config
from engine.live_settings import live_keys
from engine.run import JournalWriter, RunFolder
from engine.run.events import RunCancelled
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.screens.config.scene import Scene
from tui.options import Options
from tui.schema import settings_by_key


def test_every_live_setting_says_when_it_is_taken_up_and_no_other_opens(
    play: Callable[..., Any], options: Options, size: tuple[int, int]
) -> None:
    text = config_to_yaml(load_config("smoke"))
    run = RunFolder.create(options.runs_dir, text, name="digits", mounts=[])

    async def story(scene: Scene) -> None:
        with working(run, *UP_TO_TRAINING):
            scene.screen._look_around()
            live = set(live_keys())
            for key, one in settings_by_key().items():
                await scene.go_to(key)
                if key in live:
                    assert "live at once" in scene.row(key)
                    assert "takes it up at its next step" in " ".join(
                        scene.pane("help-pane").split()
                    )
                else:
                    assert "▪" in scene.row(key)
                    scene.form.action_open()
                    assert not scene.form.is_typing, one
                    assert scene.text == text
        scene.screen._look_around()  # its worker has gone
        assert all("at resume" in scene.row(key) for key in live)
        with JournalWriter(run.journal_path) as journal:
            journal.emit(RunCancelled(step=1, cancelled_by="ada"))
        await scene.go_to("run.keep_awake")
        scene.screen._look_around()
        await scene.press("enter")
        assert scene.text == text, "what is over is history"
        assert "settings are history" in scene.words("banner")

    play(story, size, source=run)


def test_a_run_s_settings_open_where_they_can_be_changed(
    play: Callable[..., Any], options: Options
) -> None:
    run = RunFolder.create(
        options.runs_dir, config_to_yaml(load_config("smoke")), name="digits", mounts=[]
    )

    async def leave_yaml(scene: Scene) -> None:
        await scene.press("f2")

    async def story(scene: Scene) -> None:
        assert scene.screen.focused is scene.form
        assert scene.form.key == "run.checkpoint_seconds"
        assert len(scene.words("banner").splitlines()) == 1

    play(leave_yaml, (80, 24))
    play(story, (80, 24), source=run)
