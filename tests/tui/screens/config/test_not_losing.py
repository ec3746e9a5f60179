"""Config loses nothing that was typed, whatever file, disk and keys do at that moment."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tui.screens.config.scene import TEXT, Scene
from tui import draft_file


def _draft_of(file: Path) -> str:
    return file.with_name(f".{file.name}.draft").read_text().partition("\n")[2]


def test_what_is_typed_stays_though_the_file_changes(play: Callable[..., Any], file: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.yaml.focus()
        scene.yaml.insert("# typed\n", (0, 0))
        file.write_text(TEXT + "# another's\n")
        scene.screen.look_at_disk()
        assert scene.text == "# typed\n" + TEXT
        assert scene.yaml.text == "# typed\n" + TEXT
        assert scene.screen._disk_told == "changed"

    play(story)


def test_a_choice_in_the_form_takes_nothing_from_the_text(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        scene.yaml.insert("# typed\n", (0, 0))
        scene.screen.change(lambda draft: draft.set_value("target_steps", 8))
        assert scene.text == "# typed\n" + TEXT.replace("steps: 4", "steps: 8")

    play(story)


def test_leaving_at_once_keeps_what_was_typed(play: Callable[..., Any], file: Path) -> None:
    async def into_the_text(scene: Scene) -> None:
        scene.yaml.focus()
        scene.yaml.insert("# typed\n", (0, 0))
        scene.app.action_detach()
        assert _draft_of(file) == "# typed\n" + TEXT

    async def into_a_box(scene: Scene) -> None:
        file.with_name(f".{file.name}.draft").unlink()
        await scene.go_to("target_steps")
        await scene.press("enter", "ctrl+u", "8")
        scene.screen._pending = None  # as before its message comes
        scene.app.exit()
        assert _draft_of(file) == TEXT.replace("steps: 4", "steps: 8")

    play(into_the_text)
    file.with_name(f".{file.name}.draft").write_text("")
    play(into_a_box)


@pytest.mark.parametrize("failing", ["TemporaryDirectory", "write_bytes"])
def test_an_editor_without_a_temporary_folder_is_told(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    async def story(scene: Scene) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(tempfile if failing == "TemporaryDirectory" else Path, failing, refuse)
            await scene.press("f4")
        assert "No space left on device" in scene.notices[-1]
        await scene.fill("target_steps", "8")
        assert "target_steps: 8" in scene.text

    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    play(story)


def test_a_list_within_itself_is_a_mistake_of_the_text(
    play: Callable[..., Any], file: Path
) -> None:
    file.write_text("a: &a [*a]\n" + TEXT)

    async def story(scene: Scene) -> None:
        assert "line 1: an alias stands within itself" in scene.words("banner")
        scene.yaml.load_text(TEXT.replace("steps: 4", "steps: &a [*a]"))
        await scene.settle()
        assert "line 3: an alias stands within itself" in scene.words("banner")
        scene.yaml.load_text(TEXT)
        await scene.settle()
        await scene.fill("target_steps", "&a [*a]")
        assert scene.screen.draft is not None
        assert scene.screen.draft.fault_of("target_steps") is not None

    play(story)


def test_nothing_else_is_opened_where_a_draft_cannot_be_written(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("target_steps", "8")
        with monkeypatch.context() as patch:
            patch.setattr(draft_file, "keep_draft", lambda source, text: None)
            scene.screen.load_source("smoke")
            assert "target_steps: 8" in scene.text
            assert "cannot be kept" in scene.notices[-1]
        scene.screen.load_source("smoke")
        assert "are kept as a draft" in " ".join(scene.notices)
        assert "fox" not in scene.text

    play(story)


def test_the_next_mistake_is_reached_from_one_without_a_line(
    play: Callable[..., Any], file: Path
) -> None:
    file.write_text("target_steps: 4\ntraining:\n  seed: x\n  batch_size: 0\n")

    async def story(scene: Scene) -> None:
        scene.yaml.focus()
        await scene.press("ctrl+n")
        assert "model_path" in scene.notices[-1]
        rows = []
        for _ in range(3):
            await scene.press("ctrl+n")
            rows.append(scene.yaml.cursor_location[0])
        assert rows == [2, 3, 0]

    play(story)
