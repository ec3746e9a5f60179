"""Config's YAML beside its form: one text, one stack of undo, pasted and edited elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste

from engine.config import config_to_yaml, load_config
from engine.run import RunFolder
from tests.tui.screens.config.scene import TEXT, Scene
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.options import Options


def test_the_yaml_is_typed_into_and_the_form_follows(
    play: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def story(scene: Scene) -> None:
        await scene.go_to("target_steps")
        await scene.press("f2")
        assert scene.screen.focused is scene.yaml
        assert scene.yaml.cursor_location[0] == 2
        await scene.press("end", "backspace")
        await scene.type("8 # more")
        await scene.settle()
        assert "target_steps: 8 # more\n" in scene.text
        assert scene.screen.draft.value("target_steps") == 8  # type: ignore[union-attr]
        assert "Sampling steps wanted" in scene.pane("help-pane")
        await scene.press("f2")
        assert scene.form.key == "target_steps"
        assert scene.screen.focused is scene.form
        assert "8" in scene.row("target_steps")

    play(story, size)


def test_while_the_yaml_does_not_parse_the_form_waits_and_no_text_is_eaten(
    play: Callable[..., Any],
) -> None:
    async def story(scene: Scene) -> None:
        await scene.press("f2", "ctrl+end", "end")
        scene.yaml.move_cursor((5, 16))
        await scene.type("[")
        scene.yaml.insert("quality: [", (6, 0))
        await scene.settle()
        broken = scene.text
        assert "quality: [" in broken
        assert "The form waits" in scene.words("banner")
        assert not any("wrong" in line.plain for line in scene.form.lines), "no row of it is"
        await scene.go_to("training.seed")
        await scene.press("enter", "5", "enter")
        await scene.settle()
        assert scene.text == broken
        assert "does not parse" in scene.notices[-1]
        scene.form.post_message(Paste("training:\n  seed: 5\n"))
        await scene.pilot.pause()
        await scene.press("ctrl+t")
        await until(lambda: scene.app.screen.query("#pick"), scene.pilot.pause)
        await scene.press("enter")
        await scene.pilot.pause()
        assert scene.text == broken
        assert not any("takes it back" in one or "taken" in one for one in scene.notices)
        await scene.press("ctrl+n")
        assert scene.screen.focused is scene.yaml
        await scene.press("ctrl+z", "ctrl+z")
        assert scene.text == TEXT
        assert not scene.screen.query_one("#banner").display

    play(story, (80, 24))


def test_undo_and_redo_are_one_stack_behind_form_and_yaml(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        await scene.fill("training.seed", "3")
        await scene.press("f2")
        scene.yaml.move_cursor((0, 0))
        await scene.type("#")
        await scene.settle()
        await scene.press("f2")
        await scene.fill("training.retries", "1")
        end = scene.text
        await scene.press("ctrl+z")
        assert "retries" not in scene.text
        await scene.press("ctrl+z")
        assert scene.text.startswith("# fox")
        await scene.press("ctrl+z")
        assert scene.text == TEXT
        assert scene.form.key == "training.seed"  # where it happened
        await scene.press("ctrl+y", "ctrl+y", "ctrl+y")
        assert scene.text == end
        await scene.press("f2", "ctrl+z")  # from within the YAML too
        assert "retries" not in scene.text

    play(story)


def test_pasted_yaml_is_taken_as_one_step(play: Callable[..., Any]) -> None:
    async def story(scene: Scene) -> None:
        scene.form.post_message(Paste("training:\n  seed: 9\n  nonsense: 1\ntarget_steps: 8\n"))
        await scene.pilot.pause()
        assert "seed: 9" in scene.text
        assert "target_steps: 8" in scene.text
        assert "left out: training.nonsense" in scene.notices[-1]
        await scene.press("ctrl+z")
        assert scene.text == TEXT
        scene.form.post_message(Paste("just words"))
        await scene.pilot.pause()
        assert "holds no settings" in scene.notices[-1]
        await scene.go_to("model_path")
        await scene.press("enter", "ctrl+u")
        scene.form.post_message(Paste("/models/a b\n"))
        await scene.pilot.pause()
        await scene.settle()
        assert "model_path: /models/a b" in scene.text

    play(story)


def test_the_editor_gets_the_text_and_what_it_leaves_is_one_step(
    play: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    script = tmp_path / "editor"
    script.write_text("#!/bin/sh\nprintf 'quality_threshold: 0.5\\n' >> \"$1\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setattr(DiffoptApp, "suspend", lambda self: nullcontext())

    async def story(scene: Scene) -> None:
        await scene.press("f4")
        assert scene.text == TEXT + "quality_threshold: 0.5\n"
        await scene.press("ctrl+z")
        assert scene.text == TEXT
        monkeypatch.setenv("EDITOR", "false")
        await scene.press("f4")
        assert "nothing is taken" in scene.notices[-1]
        monkeypatch.setenv("EDITOR", "no-such-editor")
        await scene.press("f4")
        assert "set $EDITOR" in scene.notices[-1]
        monkeypatch.setenv("EDITOR", "'unbalanced")
        await scene.press("f4")
        assert "$EDITOR or $VISUAL is no command line (No closing quotation)" in scene.notices[-1]
        assert scene.text == TEXT

    play(story)


def test_a_key_that_stands_twice_is_named(play: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("target_steps: 2\ntarget_steps: 4\n")

    async def story(scene: Scene) -> None:
        assert "line 2: target_steps stands here twice, first in line 1" in scene.drawn

    play(story, (80, 24), path)


def test_what_cannot_be_read_is_told_with_its_line_in_one_sentence(
    play: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("model_path: x\n[a, b]: 4\n")

    async def story(scene: Scene) -> None:
        said = " ".join(scene.words("banner").split())
        assert said == "line 2: ['a', 'b'] cannot be a key. The form waits until it parses."

    play(story, (120, 36), path)


def test_typing_into_a_locked_text_is_told_once(play: Callable[..., Any], options: Options) -> None:
    text = config_to_yaml(load_config("smoke"))
    run = RunFolder.create(options.runs_dir, text, name="digits", mounts=[])

    async def story(scene: Scene) -> None:
        def told() -> int:
            return sum("only `run` may change" in one for one in scene.notices)

        scene.yaml.focus()
        await scene.press("down", "pagedown", "j", "D", "D")
        assert told() == 1, "j does nothing here; what moves or shows is no typing"
        await scene.press("a", "enter", "backspace")
        assert told() == 1
        await scene.press("f2", "f2", "a")
        assert scene.text == text
        scene.form.focus()
        await scene.pilot.pause()
        assert not scene.screen._is_lock_told

    play(story, source=run)
