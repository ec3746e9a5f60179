"""What lies around the screens: header, footer, help, palette, dialogs, notices, themes."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from textual._compositor import Compositor
from textual.binding import BindingType
from textual.widgets import Input

from engine.run import RunFolder
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.dialogs import Choice, Dialog, Question, confirm
from tui.notices import Notices, end_signal
from tui.options import Options
from tui.presets import presets
from tui.screens.help import HelpScreen
from tui.targets import Target
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.pane import Pane

Go = Callable[..., Any]


def line_of(widget: Header | Footer) -> str:
    return widget.render_line(0).text


def footer(app: DiffoptApp) -> str:
    return line_of(app.screen.query_one(Footer))


@pytest.mark.parametrize("target", ["runs", "live"])
def test_nothing_is_drawn_before_there_is_something_to_read(
    options: Options,
    recorded: Callable[[str], RunFolder],
    target: str,
    go: Go,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []
    draw = Compositor.render_update

    def note(compositor: Compositor, *args: Any, **more: Any) -> Any:
        strips = compositor.render_strips()
        drawn.append("\n".join("".join(one.text for one in strip) for strip in strips))
        return draw(compositor, *args, **more)

    async def story() -> None:
        run = recorded("ladder")
        app = DiffoptApp(options, Target(run=run) if target == "live" else Target())
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.pause(0.3)
            assert "MEM" in drawn[-1]

    monkeypatch.setattr(Compositor, "render_update", note)
    go(story())
    assert "≠ " in drawn[0]  # of the run that missed its target
    assert "reading…" in drawn[0]  # what the first paint need not wait for


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_header_and_footer_fill_their_line_and_no_more(
    options: Options, width: int, go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(width, 30)) as pilot:
            await pilot.pause()
            for screen_key in "1234":
                await pilot.press(screen_key)
                await pilot.pause()
                footer = line_of(app.screen.query_one(Footer))
                assert len(footer) == width
                assert footer.endswith("q Detach ")
                header = app.screen.query_one(Header)
                for subject in ("", "a run", "a run with a name that is far too long " * 4):
                    header.set_words(subject, "at the right")
                    assert len(line_of(header)) == width
                    assert line_of(header).endswith("at the right ")

    go(story())


def test_tabs_do_not_come_and_go_with_what_a_run_does(options: Options, go: Go) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(80, 30)) as pilot:
            await pilot.pause()
            header = app.screen.query_one(Header)
            header.set_words("my-run  RUNNING  train")
            assert line_of(header).startswith(" diffopt  1 Runs ")
            header.set_words("my-run  RUNNING  stage 1/3 · 50 → 16 · evaluate")
            drawn = line_of(header).partition("my-run")[0]
            assert "1 Runs" not in drawn
            header.set_words("my-run  RUNNING  train")
            assert line_of(header).partition("my-run")[0] == drawn
            header.set_words("other  RUNNING  train")
            assert line_of(header).startswith(" diffopt  1 Runs ")

    go(story())


def test_what_a_screen_is_there_for_stands_in_the_footer_of_the_smallest_terminal(
    options: Options, go: Go
) -> None:
    async def story() -> None:
        run = RunFolder.create(options.runs_dir, "seed: 0\n", name="digits", mounts=[])
        app = DiffoptApp(options, Target(run=run))
        app.config_source = "demo"
        with working(run, *UP_TO_TRAINING):
            async with app.run_test(size=(80, 24)) as pilot:
                for key, wanted in (
                    ("3", ("p Pause", "c Cancel", "b Checkpoint")),
                    ("1", ("enter Open", "n New", "/ Find")),
                    ("2", ("^r Run", "^s Save", "^z Undo")),
                ):
                    await pilot.press(key)
                    await until(
                        lambda wanted=wanted: all(one in footer(app) for one in wanted),
                        pilot.pause,
                        lambda: footer(app),
                    )

    go(story())


def test_a_pane_s_own_keys_come_and_go_with_its_focus(
    options: Options, recorded: Callable[[str], RunFolder], go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options, Target(run=recorded("ladder")))
        async with app.run_test(size=(160, 48)) as pilot:
            await until(lambda: getattr(app.screen, "snapshot", None), pilot.pause)
            had: dict[str | None, bool] = {}
            for _ in range(6):
                assert app.screen.focused is not None
                had[app.screen.focused.id] = "f Follow" in footer(app)
                await pilot.press("tab")
                await pilot.pause()
            assert {pane for pane, is_shown in had.items() if is_shown} == {"log", "charts"}
            assert len(had) == 6

    go(story())


def test_help_begins_with_what_this_screen_alone_can_do(options: Options, go: Go) -> None:
    async def story() -> list[str]:
        app = DiffoptApp(options)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("question_mark")
            await pilot.pause()
            lines = [line.plain for line in app.screen.query_one("#help-keys", Pane).lines]
            assert all(len(line) <= 74 for line in lines)
            return [line for line in lines if not line.startswith("  ")]

    groups = go(story())
    assert groups[:5] == ["Runs", "Run control", "View", "Move", "All screens"]


def test_a_click_on_a_tab_and_on_a_footer_key_does_what_the_key_does(
    options: Options, go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.pause()
            at = line_of(app.screen.query_one(Header)).index("4 Compare")
            await pilot.click("#header", offset=(at + 2, 0))
            await pilot.pause()
            assert app.current_mode == "compare"
            at = line_of(app.screen.query_one(Footer)).index("? Help")
            await pilot.click("#footer", offset=(at, 0))
            await pilot.pause()
            assert isinstance(app.screen, HelpScreen)

    go(story())


def test_help_says_so_where_no_key_fits(options: Options, go: Go) -> None:
    async def story() -> str:
        app = DiffoptApp(options)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("f1", *"zzzz")
            await pilot.pause()
            text = app.screen.query_one("#help-keys", Pane).lines[0].plain
            await pilot.press("enter", "escape")
            await pilot.pause()
            assert app.current_mode == "runs"
            return text

    assert "No key does that here" in go(story())


class Asking(DiffoptApp):
    """An app that keeps the answers to its questions."""

    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.answers: list[str | None] = []

    def put(self, question: Question) -> None:
        async def put() -> None:
            self.answers.append(await self.ask(question))

        self.run_worker(put())


STAGE = Question(
    "Cancel stage",
    "Cancel stage 3?",
    (Choice("keep", "Keep running"), Choice("save", "Checkpoint"), Choice("now", "Cancel", True)),
    yes="now",
)


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("enter",), "keep"),
        (("n",), "keep"),
        (("escape",), "keep"),
        (("y",), "now"),
        (("tab", "enter"), "save"),
        (("right", "right", "enter"), "now"),
    ],
)
def test_a_dialog_starts_on_the_safe_button(
    options: Options, keys: tuple[str, ...], answer: str, go: Go
) -> None:
    async def story() -> list[str | None]:
        app = Asking(options)
        async with app.run_test(size=(80, 24)) as pilot:
            app.put(STAGE)
            await pilot.pause()
            assert isinstance(app.screen, Dialog)
            told = str(app.screen.query_one("#dialog").border_subtitle)
            assert told.startswith("y ")
            assert "· esc Keep running" in told
            await pilot.press(*keys)
            await pilot.pause()
            return app.answers

    assert go(story()) == [answer]


def test_what_a_recipe_is_for_is_told_whole_at_80_columns() -> None:
    told = {one.name: one.words for one in presets() if one.recipe is not None}
    assert {name: len(words) for name, words in told.items() if not 20 <= len(words) <= 58} == {}
    assert all(words.endswith((".", "?")) for words in told.values())


def test_what_needs_a_name_typed_is_refused_without_it(options: Options, go: Go) -> None:
    async def story() -> list[str | None]:
        app = Asking(options)
        async with app.run_test(size=(80, 24)) as pilot:
            app.put(confirm("Cancel run", "It ends.", "Cancel it", typed="digits"))
            await pilot.pause()
            await pilot.press("enter")
            await pilot.press(*"digit", "enter")
            await pilot.pause()
            assert app.answers == []
            assert "That is not digits" in str(app.screen.query_one("#dialog-hint").render())
            await pilot.press("tab", "right", "enter", "tab")  # nor by the button
            await pilot.pause()
            assert app.answers == []
            app.screen.query_one(Input).focus()
            await pilot.press("s", "enter")
            await pilot.pause()
            return app.answers

    assert go(story()) == ["yes"]


def test_one_notice_of_a_kind_pops_up_in_five_seconds_and_all_are_kept() -> None:
    now = 100.0
    notices = Notices(lambda: now)
    assert notices.add("paused", kind="state")
    assert not notices.add("resumed", kind="state")
    assert notices.add("disk low", "warning")
    now = 105.1
    assert notices.add("paused", kind="state")
    assert [notice.text for notice in notices] == ["paused", "resumed", "disk low", "paused"]


def test_an_end_is_rung_as_the_preferences_say() -> None:
    assert end_signal("bell", "done") == "\a"
    assert end_signal("notification", "done\x1b]0;x\a") == "\x1b]9;done]0;x\x1b\\"
    assert end_signal("off", "done") == ""


def test_moving_among_themes_previews_enter_keeps_and_escape_goes_back(
    options: Options, go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options._replace(theme="midnight"))
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("T", "down")
            await pilot.pause()
            assert app.theme == "paper"
            await pilot.press("escape")
            await pilot.pause()
            assert (app.theme, app.preferences.theme) == ("midnight", None)
            await pilot.press("T", "down", "down", "enter")
            await pilot.pause()
            assert (app.theme, app.preferences.theme) == ("ember", "ember")
            await pilot.press("t")
            await pilot.pause()
            assert app.preferences.theme == app.theme == "fjord"

    go(story())


def test_a_remapped_key_works_and_is_what_footer_and_help_show(options: Options, go: Go) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        app.set_keymap({"app.help": "f7"})
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.pause()
            assert "F7 Help" in line_of(app.screen.query_one(Footer))
            await pilot.press("f7")
            await pilot.pause()
            assert isinstance(app.screen, HelpScreen)

    go(story())
