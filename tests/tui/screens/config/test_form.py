"""Config's form: what typing, turning and taking back change, and how mistakes are marked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tui.screens.config.scene import TEXT, Scene
from tui.dialogs import Dialog
from tui.preferences import config_folder
from tui.widgets.header import Header


def test_typing_into_a_box_changes_that_scalar_and_nothing_else(
    play: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.learning_rate", "3e-4")
        assert scene.text == TEXT.replace("1e-3", "3.0e-4")
        assert scene.yaml.text == scene.text
        assert "●" in scene.row("training.learning_rate")
        assert "[ 3.0e-4 " in scene.row("training.learning_rate")  # as it is written
        assert "default 1e-4" in scene.row("training.learning_rate")
        assert "# high" in scene.yaml.text
        assert "● modified" in scene.screen.query_one(Header).subject.plain

    play(story, size)


def test_escape_takes_back_what_was_typed(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("training.batch_size")
        await scene.press("enter", "ctrl+u", "7")
        await scene.settle()
        assert "batch_size: 7\n" in scene.text
        await scene.press("backspace", "8")
        await scene.settle()
        assert "batch_size: 8\n" in scene.text
        await scene.press("escape")
        await scene.settle()
        assert scene.text == TEXT
        assert not scene.screen.draft.is_modified  # type: ignore[union-attr]
        await scene.press("ctrl+z")
        assert scene.text == TEXT
        assert "nothing to undo" in scene.notices[-1]

    play(story)


def test_backspace_in_an_empty_box_and_ctrl_d_are_the_default(
    play: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("training.batch_size")
        await scene.press("enter", "backspace", "backspace", "backspace")
        await scene.settle()
        assert "batch_size" not in scene.text
        assert not scene.form.is_typing
        await scene.go_to("training.learning_rate")
        await scene.press("ctrl+d")
        assert scene.text == "\n".join(TEXT.splitlines()[:3]) + "\ntraining:\n  # high\n"
        await scene.go_to("model_path")
        await scene.press("ctrl+d")
        assert "has no default" in scene.notices[-1]
        assert "model_path: bundled:digits" in scene.text

    play(story, size)


def test_after_an_undo_in_an_open_box_leaving_it_changes_nothing(
    play: Callable[..., Any],
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("training.seed")
        await scene.press("enter", "ctrl+u", "5")
        await scene.settle()
        typed = scene.text
        assert "seed: 5" in typed
        await scene.press("ctrl+z")
        assert scene.text == TEXT
        assert scene.form.is_typing
        await scene.press("enter")
        await scene.settle()
        assert scene.text == TEXT
        await scene.press("ctrl+y")
        assert scene.text == typed

    play(story)


def test_keys_that_a_person_chose_open_find_and_take_the_default(
    play: Callable[..., Any],
) -> None:
    path = config_folder() / "ui.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "keys: {pane.open: f9, view.find: ctrl+e, config.default: ctrl+k, "
        "config.keep_mine: space}\n"
    )

    async def story(scene: Scene) -> None:
        await scene.go_to("training.batch_size")
        await scene.press("enter", "slash", "space")
        assert not scene.form.is_typing
        assert scene.form.key == "training.batch_size"
        await scene.press("f9")
        assert scene.form.editor is not None
        await scene.press("escape", "ctrl+e")
        assert scene.form.finder is not None
        await scene.press("escape", "f2")
        scene.yaml.move_cursor((5, 4))
        await scene.press("ctrl+d")
        await scene.settle()
        assert scene.text == TEXT
        await scene.press("ctrl+k")
        await scene.settle()
        assert "batch_size" not in scene.text

    play(story)


def test_choices_and_switches_turn_with_enter_space_and_arrows(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("training.states")
        await scene.press("enter")
        assert "states: rollout" in scene.text
        await scene.press("right")
        assert "states: data" in scene.text
        await scene.press("left", "left")
        assert "states: trajectory" in scene.text
        await scene.go_to("run.keep_awake")
        await scene.press("space")
        assert "run:\n  keep_awake: false" in scene.text
        assert "[ ] no" in scene.row("run.keep_awake")
        await scene.go_to("original.spacing")
        await scene.press("left")
        assert "spacing: karras" in scene.text
        await scene.press("right")
        assert "spacing: null" in scene.text

    play(story)


def test_a_mistake_is_marked_in_form_yaml_and_help_and_greys_the_start(
    play: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.batch_size", "0")
        assert "✗" in scene.row("training.batch_size")
        assert "wanted >= 1" in scene.row("training.batch_size")
        assert scene.yaml._marks[6] == "✗"
        await scene.go_to("training.batch_size")
        assert "line 6: wanted >= 1, found 0" in scene.pane("help-pane")
        assert "cannot start: training.batch_size: wanted >= 1" in scene.words("config-cost")
        assert scene.screen.check_action("run", ()) is None
        await scene.press("ctrl+r")
        assert not isinstance(scene.app.screen, Dialog)
        await scene.press("ctrl+z")
        assert scene.screen.check_action("run", ()) is True

    play(story, size)


def test_ctrl_n_walks_through_all_mistakes(play: Callable[..., Any], size: tuple[int, int]) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.batch_size", "0")
        await scene.fill("target_steps", "60")
        await scene.fill("quality.bootstrap", "1")
        seen = []
        for _ in range(4):
            await scene.press("ctrl+n")
            seen.append(scene.form.key)
        assert set(seen[:3]) == {"training.batch_size", "target_steps", "quality.bootstrap"}
        assert seen[3] == seen[0]
        for key in seen[:3]:
            await scene.go_to(key)
            await scene.press("ctrl+d")
        await scene.press("ctrl+n")
        assert "Nothing is wrong" in scene.notices[-1]

    play(story, size)


def test_what_is_typed_ahead_goes_into_the_box_and_is_no_command(
    play: Callable[..., Any],
) -> None:
    """Keys that arrive in one packet, as over a slow line: q would leave, t change the theme."""
    from textual.events import Key

    async def story(scene: Scene) -> None:
        await scene.go_to("model_path")
        theme = scene.app.theme
        for key in ("enter", "ctrl+u", "q", "t", "1", "escape", "slash", "q", "u", "escape"):
            scene.form.post_message(Key(key, key if len(key) == 1 else None))
        await scene.pilot.pause()
        await scene.settle()
        assert scene.app.theme == theme
        assert scene.app.current_mode == "config"
        assert scene.text == TEXT
        assert not scene.form.is_typing

    play(story)


def test_what_is_cut_in_a_row_says_so_when_a_file_opens(
    play: Callable[..., Any], tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("target_steps: 4\n")

    async def story(scene: Scene) -> None:
        (line,) = (line for line in scene.drawn.splitlines() if "✗ model_path" in line)
        note = line[: scene.form.region.right - 1].rstrip(" ▆█▇▅▄▃▂▁")
        assert note.endswith("…"), note
        assert scene.form.virtual_size.width <= scene.form.scrollable_content_region.width

    play(story, size, path)


def test_a_message_does_not_repeat_the_key_it_stands_beside(
    play: Callable[..., Any], tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "crossed.yaml"
    path.write_text("model_path: x\noptimization_stages: 2\ntraining:\n  stage_steps: [2, 3]\n")

    async def story(scene: Scene) -> None:
        assert "stage_steps: [2, 3]; wanted" in scene.drawn
        assert "[2, 3]" in scene.row("training.stage_steps").split("]", 1)[1]

    play(story, size, path)
