"""What Config writes to disk, and what becomes of changes that were not saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.widgets import Input

from engine.config import load_config, parse_config
from tests.tui.screens.config.scene import TEXT, Scene
from tui.dialogs import Dialog


def test_saving_writes_the_text_as_it_is_shown(
    play: Callable[..., Any], file: Path, size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.seed", "3")
        await scene.press("ctrl+s")
        await scene.pilot.pause()
        assert file.read_text() == scene.text
        assert "seed: 3" in file.read_text()
        assert "is saved" in scene.notices[-1]
        assert not scene.screen.draft.is_modified  # type: ignore[union-attr]

    play(story, size)


def test_a_recipe_is_saved_under_a_name_that_is_asked_for(
    play: Callable[..., Any], tmp_path: Path
) -> None:
    async def story(scene: Scene) -> None:
        await scene.press("ctrl+s")
        scene.app.screen.query_one(Input).value = str(tmp_path / "new.txt")
        await scene.press("enter")
        assert "end in .yaml" in str(scene.app.screen.query_one("#prompt-hint").render())
        for name, said in (
            ("~nobody-of-that-name/new.yaml", "~nobody-of-that-name is nobody's home folder"),
            (f"{tmp_path}/{'a' * 300}.yaml", "File name too long"),
        ):
            scene.app.screen.query_one(Input).value = name
            await scene.press("enter")
            assert said in str(scene.app.screen.query_one("#prompt-hint").render())
        scene.app.screen.query_one(Input).value = str(tmp_path / "new.yaml")
        await scene.press("enter")
        await scene.pilot.pause()
        assert parse_config((tmp_path / "new.yaml").read_text(), "new") == load_config("smoke")
        assert scene.screen.draft.source.path == tmp_path / "new.yaml"  # type: ignore[union-attr]

    play(story, source="smoke")


def test_a_name_that_is_taken_is_asked_about(play: Callable[..., Any], file: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.press("ctrl+s")
        scene.app.screen.query_one(Input).value = str(file)
        await scene.press("enter")
        await scene.pilot.pause()
        assert isinstance(scene.app.screen, Dialog)
        await scene.press("enter")  # the safe button
        assert file.read_text() == TEXT
        await scene.press("ctrl+s")
        scene.app.screen.query_one(Input).value = str(file)
        await scene.press("enter")
        await scene.pilot.pause()
        await scene.press("y")
        await scene.pilot.pause()
        assert file.read_text() == scene.text

    play(story, source="smoke")


def test_a_file_that_changed_on_disk_is_told_and_either_side_can_win(
    play: Callable[..., Any], file: Path
) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.seed", "3")
        file.write_text(TEXT + "# elsewhere\n")
        scene.screen._look_around()
        await scene.pilot.pause()
        assert "changed on disk" in scene.words("banner")
        await scene.press("ctrl+s")
        await scene.pilot.pause()
        assert isinstance(scene.app.screen, Dialog)  # overwriting is asked about
        await scene.press("n")
        assert file.read_text().endswith("# elsewhere\n")
        await scene.press("K")
        assert not scene.screen.query_one("#banner").display
        assert "seed: 3" in scene.text
        file.write_text(TEXT + "# again\n")
        scene.screen._look_around()
        await scene.press("f5")
        assert scene.text == TEXT + "# again\n"
        await scene.press("ctrl+z")
        assert "seed: 3" in scene.text

    play(story, (80, 24))


def test_unsaved_changes_survive_a_hangup_and_are_offered(
    play: Callable[..., Any], file: Path
) -> None:
    async def typed(scene: Scene) -> None:
        await scene.go_to("training.seed")
        await scene.press("enter", "ctrl+u", "7")
        scene.screen.on_hangup()  # in the middle of a box, before any timer

    play(typed)
    assert file.read_text() == TEXT
    assert "seed: 7" in file.with_name(".fox.yaml.draft").read_text()

    async def taken(scene: Scene) -> None:
        await scene.pilot.pause()
        assert isinstance(scene.app.screen, Dialog)
        assert "unsaved changes" in scene.app.screen.question.text
        await scene.press("y")
        await scene.pilot.pause()
        assert "seed: 7" in scene.text
        await scene.press("ctrl+z")
        assert scene.text == TEXT

    play(taken)


def test_leaving_for_another_screen_and_back_keeps_everything(
    play: Callable[..., Any], file: Path
) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.seed", "3")
        await scene.press("1")
        assert scene.app.current_mode == "runs"
        assert file.with_name(".fox.yaml.draft").exists()
        await scene.press("2")
        assert scene.app.current_mode == "config"
        assert "seed: 3" in scene.text

    play(story)


def test_a_damaged_source_is_told_and_something_is_open_all_the_same(
    play: Callable[..., Any], tmp_path: Path
) -> None:
    async def story(scene: Scene) -> None:
        assert "no such file" in scene.notices[-1]
        assert scene.screen.draft is not None
        assert "recipe demo" in scene.screen.draft.source.name

    play(story, source=tmp_path / "gone.yaml")
