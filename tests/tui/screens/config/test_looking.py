"""Finding one's way in Config: search, folds, difference, tabs, mouse and sizes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tui.screens.config.scene import Scene
from tui.app import DiffoptApp
from tui.keys import KEYS
from tui.options import Options
from tui.screens.config import ConfigScreen
from tui.targets import Target
from tui.widgets.form import Form


def test_the_text_is_painted_before_what_it_amounts_to_and_no_key_fails_until_then(
    options: Options,
    file: Path,
    go: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    monkeypatch.setattr(ConfigScreen, "painted", lambda self: None)

    async def story() -> None:
        app = DiffoptApp(options, Target(config=file))
        async with app.run_test(size=size) as pilot:
            await pilot.pause(0.05)
            scene = Scene(app, pilot)
            assert scene.screen.draft is None
            assert scene.yaml.text == file.read_text()
            assert [line.plain.split()[1] for line in scene.form.lines][:2] == [
                "essentials",
                "original",
            ]
            for key in KEYS:
                if "config" in key.screens and key.id not in ("view.reload", "config.presets"):
                    await pilot.press(key.keys.split(",")[0])
            await pilot.press("escape", "slash", "d", "enter", "down", "enter", "escape")
            assert app.is_running
            assert app.current_mode == "config"
            assert app.screen is scene.screen, "no window without anything to ask about"
            assert scene.yaml.text == file.read_text()
            assert not [notice for notice in app.notices if notice.severity == "error"]
            scene.screen.load_source(file)
            await pilot.pause()
            assert scene.text == file.read_text()
            assert not scene.form.is_typing

    go(story())


def test_a_search_that_began_before_the_settings_were_read_goes_on(
    options: Options, file: Path, go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConfigScreen, "painted", lambda self: None)

    async def story() -> None:
        app = DiffoptApp(options, Target(config=file))
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.pause(0.05)
            scene = Scene(app, pilot)
            await scene.press("slash", "s", "e", "e")
            scene.screen.load_source(file)
            await scene.press("d", "enter", "enter", "ctrl+u", "7", "enter")
            await scene.settle()
            assert "  seed: 7\n" in scene.text
            scene.screen.load_source(file)
            assert scene.form.needle == "", "another text begins without one"

    go(story())


def test_the_first_paint_brings_no_pydantic() -> None:
    code = "import sys, tui.screens.config; print('pydantic' in sys.modules, 'yaml' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


def test_a_search_filters_by_key_and_description_and_escape_ends_it(
    play: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.press("slash")
        await scene.type("decay")
        keys = [row.key for row in scene.form._rows if row.setting]
        assert keys == ["training.weight_decay", "training.ema_decay"]
        assert "decay" in str(scene.form.border_title)
        await scene.press("enter")
        assert scene.form.key == "training.weight_decay"
        assert "decay" in str(scene.form.border_title)  # the filter stays in sight
        await scene.press("escape")
        assert len([row for row in scene.form._rows if row.setting]) > 10
        await scene.press("slash")
        await scene.type("no such thing")
        assert "No setting has that" in scene.pane("help-pane")
        await scene.press("escape")
        assert scene.app.current_mode == "config"

    play(story, size)


def test_names_that_match_come_before_descriptions(
    play: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        for needle, key in (
            ("target_steps", "target_steps"),
            ("steps", "original.steps"),
            ("seed", "training.seed"),
            ("run.", "run.checkpoint_seconds"),
        ):
            await scene.press("slash")
            await scene.type(needle)
            names = [needle in row.key for row in scene.form._rows if row.setting]
            assert scene.form.key == key
            assert names[0]
            await scene.press("escape")

    play(story, size)


def test_a_search_that_follows_an_escape_at_once_is_not_ended_by_it(
    play: Callable[..., Any],
) -> None:
    """Keys that arrive in one packet: the escape leads back only after the slash was taken."""
    from textual.events import Key

    async def story(scene: Scene) -> None:
        words = (letter if letter.isalpha() else "full_stop" for letter in "training.seed")
        for key in ("escape", "slash", *words, "enter", "enter", "ctrl+u", "7", "enter"):
            character = "." if key == "full_stop" else key if len(key) == 1 else None
            scene.app.post_message(Key(key, character))
        await scene.pilot.pause()
        await scene.settle()
        assert scene.form.needle == "training.seed"
        assert "  seed: 7\n" in scene.text
        await scene.press("escape")
        assert scene.form.needle == ""

    play(story)


def test_sections_fold(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        assert "training." in [row.key for row in scene.form._rows]
        assert "run.keep_awake" not in [row.key for row in scene.form._rows]
        scene.form.cursor = [row.key for row in scene.form._rows].index("run.")
        await scene.press("enter")
        assert "run.keep_awake" in [row.key for row in scene.form._rows]
        await scene.press("left")
        assert "run.keep_awake" not in [row.key for row in scene.form._rows]
        await scene.press("l")
        assert "run.keep_awake" in [row.key for row in scene.form._rows]

    play(story)


def test_the_difference_is_shown_from_defaults_and_from_the_file(
    play: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.seed", "3")
        await scene.press("D")
        name = "diff-tab" if size[0] < 100 else "diff"
        if size[0] < 100:
            assert "training.seed" in scene.pane(name)
            assert "training.seed" in scene.drawn
            assert "Form | YAML | Diff" in scene.drawn
            await scene.press("D")
        assert "+  seed: 3" in scene.pane(name)
        await scene.press("D")
        assert "training.learning_rate" in scene.pane(name)
        assert "was 1e-4" in scene.pane(name)
        assert "was 1e-4" in scene.drawn

    play(story, size)


def test_narrow_layouts_turn_tabs(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        seen = []
        for _ in range(4):
            seen.append(scene.screen.focused.id if scene.screen.focused else None)
            scene.form.focus() if not scene.screen.focused else None
            scene.screen.action_next_tab()
            await scene.pilot.pause()
        assert seen == ["form", "yaml", "diff-tab", "form"]
        await scene.go_to("target_steps")
        scene.screen._show_tab("form")
        await scene.press("right_square_bracket")
        assert scene.yaml.display
        await scene.pilot.pause()
        assert scene.yaml.region.height > 5
        assert scene.form.region.height == 0
        assert "F2 the form" in scene.drawn
        assert "[ ]" not in scene.drawn, "they are typed into the text"
        await scene.press("f2")
        assert "[ ] or F2" in scene.drawn

    play(story, (80, 24))


def test_the_tab_in_front_is_remembered(play: Callable[..., Any]) -> None:
    async def leave_diff(scene: Scene) -> None:
        await scene.press("left_square_bracket")
        assert scene.screen.focused is scene.screen.query_one("#diff-tab")

    async def find_diff(scene: Scene) -> None:
        assert scene.screen.focused is scene.screen.query_one("#diff-tab")
        assert scene.form.region.height == 0
        await scene.press("right_square_bracket")

    async def find_form(scene: Scene) -> None:
        assert scene.screen.focused is scene.form
        assert scene.form.region.height > 5

    play(leave_diff, (80, 24))
    play(find_form, (120, 36))
    play(find_diff, (80, 24))
    play(find_form, (80, 24))


def test_clicks_move_open_and_turn(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        keys = [row.key for row in scene.form._rows]
        at = keys.index("apple_silicon_optimization")
        await scene.pilot.click(Form, offset=(6, 1 + at))
        assert scene.form.key == "apple_silicon_optimization"
        await scene.pilot.click(Form, offset=(34, 1 + at))
        assert "apple_silicon_optimization: false" in scene.text
        at = keys.index("target_steps")
        await scene.pilot.click(Form, offset=(34, 1 + at))
        assert scene.form.is_typing

    play(story)


def test_a_resize_storm_leaves_a_whole_screen(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.batch_size", "0")
        for width, height in ((80, 24), (160, 48), (60, 15), (100, 30), (99, 29), (120, 36)):
            await scene.pilot.resize_terminal(width, height)
            await scene.pilot.pause()
        assert scene.form.region.width > 50
        assert scene.yaml.region.width > 40
        assert "✗" in scene.row("training.batch_size")

    play(story)


def test_every_action_of_the_screen_has_its_key() -> None:
    from tui.keys import KEYS

    here = {key.action for key in KEYS if "config" in key.screens}
    wanted = {"save", "run", "undo", "redo", "default", "next_error", "editor", "show_yaml",
              "presets", "copy_command", "keep_mine", "duplicate", "find", "diff", "zoom",
              "reload", "wrap", "next_tab", "previous_tab"}  # fmt: skip
    assert wanted <= here
    for action in wanted:
        assert hasattr(ConfigScreen, f"action_{action}"), action
