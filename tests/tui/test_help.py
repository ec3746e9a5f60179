"""Help: made from the live bindings; everything in it can be reached."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.run import RunFolder
from tests.tui.conftest import SIZES
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.keys import KEYS
from tui.live_keys import live_keys
from tui.options import Options
from tui.targets import Target
from tui.widgets.footer import Footer
from tui.widgets.pane import Pane

Go = Callable[..., Any]


def test_help_lists_only_what_works_and_enter_runs_the_line(options: Options, go: Go) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.press("question_mark")
            await pilot.pause()
            lines = [line.plain for line in app.screen.query_one("#help-keys", Pane).lines]
            assert any("training goes on" in line for line in lines)
            assert not any("$EDITOR" in line for line in lines)  # a key of Config
            await pilot.press(*"compare")
            await pilot.pause()
            lines = [line.plain for line in app.screen.query_one("#help-keys", Pane).lines]
            wanted = next(row for row, line in enumerate(lines) if " 4 " in line)
            pane = app.screen.query_one("#help-keys", Pane)
            while pane.cursor != wanted:
                await pilot.press("down" if pane.cursor < wanted else "up")
            await pilot.press("enter")
            await pilot.pause()
            assert app.current_mode == "compare"

    go(story())


def test_all_of_help_can_be_reached_and_what_is_below_is_told(options: Options, go: Go) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("question_mark")
            await pilot.pause()
            pane = app.screen.query_one("#help-keys", Pane)

            def below() -> int:
                seen = pane.scroll_offset.y + pane.scrollable_content_region.height
                return len(pane.lines) - seen

            assert below() > 0
            assert f"{below()} more below" in str(pane.border_subtitle)
            await pilot.press("pagedown")
            await pilot.pause()
            assert pane.scroll_offset.y > 0
            for _ in pane.lines:
                await pilot.press("down")
            await pilot.pause()
            assert below() == 0, "the signs too, where no line can be run"
            assert str(pane.border_subtitle) == "esc closes"
            for _ in pane.lines:
                await pilot.press("up")
            await pilot.pause()
            assert pane.scroll_offset.y == 0, "with the first heading"

    go(story())


def told(app: DiffoptApp) -> list[str]:
    return [notice.text for notice in app.notices]


def test_a_grey_line_of_help_tells_why_when_it_is_chosen(
    options: Options, recorded: Callable[[str], RunFolder], go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options, Target(run=recorded("ladder")))
        async with app.run_test(size=(120, 36)) as pilot:
            await until(lambda: getattr(app.screen, "snapshot", None), pilot.pause)
            await pilot.press("question_mark", *"hold still after", "enter")
            await until(lambda: told(app), pilot.pause)
            assert told(app) == [
                "ladder is done; there is nothing left to do. d starts another like it."
            ]
            assert app.current_mode == "live"

    go(story())


def test_a_click_on_a_grey_key_of_the_footer_tells_why(options: Options, go: Go) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(160, 48)) as pilot:
            await pilot.press("4")
            await until(lambda: app.current_mode == "compare", pilot.pause)
            await pilot.pause()
            at = app.screen.query_one(Footer).render_line(0).text.index("E Export")
            await pilot.click("#footer", offset=(at, 0))
            await until(lambda: told(app), pilot.pause)
            assert told(app) == ["Nothing is marked. 1 lists the runs; space there marks one."]

    go(story())


@pytest.mark.parametrize("size", SIZES)
def test_every_word_of_help_is_shown(
    options: Options, recorded: Callable[[str], RunFolder], size: tuple[int, int], go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options, Target(run=recorded("ladder")))
        async with app.run_test(size=size) as pilot:
            await until(lambda: getattr(app.screen, "snapshot", None), pilot.pause)
            keys = {key.id for key in live_keys(app.screen)}
            await pilot.press("question_mark")
            await pilot.pause()
            pane = app.screen.query_one("#help-keys", Pane)
            assert max(len(line) for line in pane.lines) <= pane.scrollable_content_region.width
            text = " ".join(" ".join(line.plain for line in pane.lines).split())
            assert "…" not in text
            for key in (key for key in KEYS if key.id in keys):
                asks = " (asks)" if key.is_asked and "asks" not in key.help else ""
                assert key.help + asks in text

    go(story())
