"""The report over Live: all of it can be read."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.run import RunFolder
from tests.tui.screens.live.scene import live
from tui.screens.report import ReportScreen
from tui.widgets.pane import Pane


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
@pytest.mark.parametrize("name", ["smoke", "ladder"])
def test_no_letter_of_the_report_s_prose_and_first_table_lies_under_the_bar(
    recorded: Callable[[str], RunFolder],
    go: Callable[..., Any],
    name: str,
    size: tuple[int, int],
) -> None:
    async def check() -> None:
        async with live(recorded(name), size) as screen:
            await screen.press("O")
            await screen.pilot.pause()
            report = screen.app.screen
            assert isinstance(report, ReportScreen)
            pane = report.query_one(Pane)
            assert pane.show_vertical_scrollbar
            width = pane.scrollable_content_region.width
            told = [line.plain for line in pane.lines]
            end = told.index("What the score means")
            assert max(map(len, told[:end])) <= width
            drawn = screen.text
            for line in told[:12]:
                assert line.strip() in drawn

    go(check())
