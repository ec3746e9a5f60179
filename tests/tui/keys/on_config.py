"""What the keys of Config do."""

from contextlib import nullcontext
from pathlib import Path

from engine.run import RunFolder
from tests.tui.keys.stage import Stage, does
from tui.screens.config import ConfigScreen

TEXT = "model_path: bundled:digits  # here\ntraining:\n  batch_size: 64\n"


def config(stage: Stage) -> ConfigScreen:
    assert isinstance(stage.screen, ConfigScreen)
    return stage.screen


def text(stage: Stage) -> str:
    draft = config(stage).draft
    assert draft is not None
    return draft.text


def file(stage: Stage) -> Path:
    return stage.folder / "fox.yaml"


async def open_afresh(stage: Stage) -> None:
    """Open the file as it was, nothing of earlier keys among it."""
    draft = config(stage).draft
    if draft is not None:
        draft.drop_draft()
        draft.set_text(draft.source.text)
    file(stage).write_text(TEXT)
    config(stage).load_source(file(stage))
    config(stage).form.focus()
    await stage.pilot.pause()


async def put(stage: Stage, key: str, value: str) -> None:
    config(stage).change(lambda draft: draft.set_typed(key, value))
    await stage.pilot.pause()


async def at(stage: Stage, key: str) -> None:
    config(stage).form.focus()
    assert config(stage).form.go_to(key)
    await stage.pilot.pause()


@does("list.right", "config")
async def takes_the_next_choice(stage: Stage, key: str) -> None:
    await at(stage, "training.states")
    await stage.press(key)
    assert "states: rollout" in text(stage)


@does("view.tab_left", "config")
async def shows_the_tab_to_the_left_where_there_are_tabs(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert config(stage)._tab == ("diff" if stage.screen.is_narrow else "form")


@does("view.tab_right", "config")
async def shows_the_tab_to_the_right_where_there_are_tabs(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert config(stage)._tab == ("yaml" if stage.screen.is_narrow else "form")


@does("view.find", "config")
async def filters_the_form(stage: Stage, key: str) -> None:
    await stage.press(key, *"decay")
    assert config(stage).form.needle == "decay"
    await stage.press("escape")
    assert config(stage).form.needle == ""


@does("view.wrap", "config")
async def wraps_the_yaml(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: config(stage).yaml.soft_wrap, is_back=True)


@does("view.reload", "config")
async def reads_the_file_again(stage: Stage, key: str) -> None:
    file(stage).write_text(TEXT + "target_steps: 8\n")
    await stage.press(key)
    assert text(stage).endswith("target_steps: 8\n")


@does("runs.duplicate", "config")
async def makes_new_settings_of_a_run_s(stage: Stage, key: str) -> None:
    config(stage).load_source(stage.run)
    await stage.pilot.pause()
    await stage.press(key)
    draft = config(stage).draft
    assert draft is not None
    assert draft.source.name == f"clone of {stage.run.name}"
    assert not config(stage).lock


@does("compare.diff", "config")
async def shows_what_differs(stage: Stage, key: str) -> None:
    screen = config(stage)
    await stage.turns(key, lambda: (screen._tab, screen._is_diff_to_disk))


@does("config.save", "config")
async def writes_the_file(stage: Stage, key: str) -> None:
    await put(stage, "training.seed", "3")
    await stage.press(key)
    await stage.until(lambda: "seed: 3" in file(stage).read_text(), "the file")
    assert file(stage).read_text() == text(stage)


@does("config.run", "config")
async def asks_then_starts_a_run_and_shows_it(stage: Stage, key: str) -> None:
    started: list[str] = []

    def start(text: str, label: str) -> RunFolder:
        started.append(text)
        return stage.run

    stage.patch.setattr(stage.app, "start_run", start)
    await put(stage, "training.batch_size", "32")
    await stage.opens(key, "Dialog")
    assert (started, stage.app.current_mode) == ([], "config")
    await stage.confirms(key)
    await stage.until(lambda: stage.app.current_mode == "live", "Live")
    assert len(started) == 1
    assert "batch_size: 32" in started[0]
    assert stage.app.current_run == stage.run


@does("config.undo", "config")
async def takes_the_change_back(stage: Stage, key: str) -> None:
    await put(stage, "training.seed", "3")
    await stage.press(key)
    assert text(stage) == TEXT


@does("config.redo", "config")
async def makes_it_again(stage: Stage, key: str) -> None:
    await put(stage, "training.seed", "3")
    await stage.press("ctrl+z", key)
    assert "seed: 3" in text(stage)


@does("config.default", "config")
async def takes_the_default(stage: Stage, key: str) -> None:
    await at(stage, "training.batch_size")
    await stage.press(key)
    assert "batch_size" not in text(stage)


@does("config.next_error", "config")
async def goes_to_what_is_wrong(stage: Stage, key: str) -> None:
    await put(stage, "quality.bootstrap", "1")
    await stage.press(key)
    assert config(stage).form.key == "quality.bootstrap"


@does("config.editor", "config")
async def takes_what_the_editor_leaves(stage: Stage, key: str) -> None:
    editor = stage.folder / "editor"
    editor.write_text("#!/bin/sh\nprintf 'target_steps: 8\\n' >> \"$1\"\n")
    editor.chmod(0o755)
    stage.patch.setenv("VISUAL", str(editor))
    stage.patch.setattr(stage.app, "suspend", nullcontext)
    await stage.press(key)
    assert text(stage) == TEXT + "target_steps: 8\n"


@does("config.yaml", "config")
async def goes_to_the_line_and_back(stage: Stage, key: str) -> None:
    await at(stage, "training.batch_size")
    await stage.press(key)
    assert stage.screen.focused is config(stage).yaml
    assert config(stage).yaml.cursor_location[0] == 2
    await stage.press(key)
    assert stage.screen.focused is config(stage).form
    assert config(stage).form.key == "training.batch_size"


@does("config.presets", "config")
async def takes_an_effort_or_a_recipe(stage: Stage, key: str) -> None:
    await stage.opens(key, "Pick")
    assert text(stage) == TEXT
    await stage.press(key)
    await stage.until(lambda: stage.over == "Pick", "the list")
    await stage.press("enter")
    await stage.until(lambda: "retries: 1" in text(stage), "the quick look's settings")
    assert "# here" in text(stage)


@does("config.command", "config")
async def copies_the_command_line(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert stage.told[-1].startswith("copied: diffopt run ")
    assert stage.app.clipboard.startswith("diffopt run ")


@does("config.keep_mine", "config")
async def keeps_the_text_here(stage: Stage, key: str) -> None:
    file(stage).write_text(TEXT + "target_steps: 8\n")
    config(stage)._look_around()
    await stage.pilot.pause()
    assert config(stage)._disk_told == "changed"
    await stage.press(key)
    assert config(stage)._disk_told == ""
    assert text(stage) == TEXT
