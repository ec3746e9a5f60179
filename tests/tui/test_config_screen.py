"""The Config screen, driven by its keys at three sizes: what they do, and what is refused."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.config import config_to_yaml, load_config, parse_config
from engine.run import JournalReader, RunFolder, steering
from tui.app import DiffoptApp
from tui.dialogs import Dialog
from tui.options import Options
from tui.screens.config import ConfigScreen
from tui.targets import Target
from tui.widgets.form import Form
from tui.widgets.header import Header
from tui.widgets.pane import Pane
from tui.widgets.yaml_area import YamlArea

SIZES = ((80, 24), (120, 36), (160, 48))
TEXT = (
    "# fox study, second try\n"
    "model_path: bundled:digits  # here\n"
    "target_steps: 4\n"
    "training:\n"
    "  learning_rate: 1e-3  # high\n"
    "  batch_size: 64\n"
)
Story = Callable[["Scene"], Awaitable[None]]


class Scene:
    """The screen under test, and short words for what a person does there."""

    def __init__(self, app: DiffoptApp, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> ConfigScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, ConfigScreen)
        return screen

    @property
    def form(self) -> Form:
        return self.screen.query_one(Form)

    @property
    def yaml(self) -> YamlArea:
        return self.screen.query_one(YamlArea)

    @property
    def text(self) -> str:
        assert self.screen.draft is not None
        return self.screen.draft.text

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, words: str) -> None:
        await self.press(*("space" if letter == " " else letter for letter in words))

    async def settle(self) -> None:
        """Let timers of typing run out, without waiting for them."""
        self.screen.flush()
        await self.pilot.pause()

    async def go_to(self, key: str) -> None:
        self.form.focus()
        assert self.form.go_to(key)
        await self.pilot.pause()

    async def fill(self, key: str, words: str) -> None:
        await self.go_to(key)
        await self.press("enter", "ctrl+u")
        await self.type(words)
        await self.press("enter")
        await self.settle()

    def pane(self, name: str) -> str:
        return "\n".join(line.plain for line in self.screen.query_one(f"#{name}", Pane).lines)

    def row(self, key: str) -> str:
        rows = [row.key for row in self.form._rows]
        return self.form.lines[rows.index(key)].plain

    def words(self, name: str) -> str:
        return str(self.screen.query_one(f"#{name}").render())

    @property
    def notices(self) -> list[str]:
        return [notice.text for notice in self.app.notices]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fox.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


@pytest.fixture
def play(options: Options, file: Path, go: Callable[..., Any]) -> Callable[..., DiffoptApp]:
    def run(story: Story, size: tuple[int, int] = (120, 36), source: Any = None) -> DiffoptApp:
        app = DiffoptApp(options, Target(config=source or file))

        async def whole() -> None:
            async with app.run_test(size=size) as pilot:
                scene = Scene(app, pilot)
                await pilot.pause()
                await story(scene)

        go(whole())
        return app

    return run


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
        await scene.go_to("training.seed")
        await scene.press("enter", "5", "enter")
        await scene.settle()
        assert scene.text == broken
        assert "does not parse" in scene.notices[-1]
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
            await scene.press("D")
        assert "+  seed: 3" in scene.pane(name)
        await scene.press("D")
        assert "training.learning_rate" in scene.pane(name)
        assert "was 1e-4" in scene.pane(name)

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

    play(story, (80, 24))


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


def test_pasted_yaml_is_taken_as_one_step(play: Callable[..., Any]) -> None:
    from textual.events import Paste

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
        for _ in range(50):
            await scene.pilot.pause(0.05)
            if scene.app.screen.query("#pick"):
                break
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
        for _ in range(50):
            await scene.pilot.pause(0.05)
            if scene.screen.estimate is not None and scene.screen.estimate.problem:
                break
        assert "there is no such folder" in scene.words("config-cost")
        await scene.press("ctrl+r")
        await scene.pilot.pause()
        assert not isinstance(scene.app.screen, Dialog)
        assert "there is no such folder" in scene.notices[-1]

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
        assert scene.text == TEXT

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
        assert "May change now" in scene.pane("help-pane") or scene.form.key != (
            "run.checkpoint_seconds"
        )
        await scene.press("ctrl+z")
        assert scene.text == text
        await scene.press("ctrl+y", "ctrl+s")
        for _ in range(50):
            await scene.pilot.pause(0.05)
            if "took up" in scene.notices[-1]:
                break
        assert "digits took up: as told" in scene.notices[-1]
        assert load_config(run.config_path).run.checkpoint_seconds == 60
        assert not scene.screen.draft.is_modified  # type: ignore[union-attr]
        with JournalReader(run.journal_path) as reader:
            asked = [record.command.kind for record in reader.commands()]
        assert asked == ["take-settings"]

    play(story, (80, 24), source=run)


def test_a_damaged_source_is_told_and_something_is_open_all_the_same(
    play: Callable[..., Any], tmp_path: Path
) -> None:
    async def story(scene: Scene) -> None:
        assert "no such file" in scene.notices[-1]
        assert scene.screen.draft is not None
        assert "recipe demo" in scene.screen.draft.source.name

    play(story, source=tmp_path / "gone.yaml")


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
