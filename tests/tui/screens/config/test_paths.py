"""Config's paths: tab types what can only go on one way, and tells where it can on several."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.widgets import Input

from tests.tui.screens.config.scene import Scene


def test_tab_completes_a_path_and_tells_where_several_fit(
    play: Callable[..., Any], tmp_path: Path, size: tuple[int, int]
) -> None:
    for name in ("sd15", "sdxl"):
        (tmp_path / "models" / name).mkdir(parents=True)

    async def story(scene: Scene) -> None:
        await scene.go_to("model_path")
        await scene.press("enter", "ctrl+u")
        await scene.type(f"{tmp_path}/mo")
        await scene.press("tab")
        await scene.press("s", "tab")
        assert scene.form.editor is not None
        assert scene.form.editor.text == f"{tmp_path}/models/sd"
        assert "sd15/  sdxl/" in scene.pane("help-pane")
        await scene.press("x")
        assert "sd15/" not in scene.pane("help-pane")
        await scene.press("tab", "enter")
        await scene.settle()
        assert f"model_path: {tmp_path}/models/sdxl/  # here" in scene.text
        await scene.go_to("model_path")
        await scene.press("enter", "tab")  # nothing to complete: the next pane, as everywhere
        assert not scene.form.is_typing
        assert scene.screen.focused is not scene.form

    play(story, size)


def test_tab_completes_the_name_to_save_under(play: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()

    async def story(scene: Scene) -> None:
        await scene.press("ctrl+s")
        await scene.pilot.pause()
        box = scene.app.screen.query_one(Input)
        box.value = f"{tmp_path}/stu"
        await scene.press("tab")
        assert box.value == f"{tmp_path}/studies/"
        await scene.press("a", "full_stop", *"yaml", "enter")
        await scene.pilot.pause()
        assert (tmp_path / "studies" / "a.yaml").is_file()

    play(story, source="demo")
