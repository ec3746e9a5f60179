"""Help: made from the live bindings; everything in it can be reached."""

from collections.abc import Callable
from typing import Any

from tui.app import DiffoptApp
from tui.options import Options
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
