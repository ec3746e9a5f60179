"""A report in a pane says what report.md says, in columns and within the width where it can."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from engine.run import RunFolder
from tests.tui.journals import RECORDED
from tui.app import DiffoptApp
from tui.options import Options
from tui.report_text import report_lines
from tui.screens.report import ReportScreen
from tui.targets import Target
from tui.widgets.pane import Pane

TEXT = (RECORDED / "ladder" / "report.md").read_text()


@pytest.mark.parametrize("width", [40, 74, 110, 200])
def test_no_word_of_the_report_is_lost(width: int) -> None:
    shown = "\n".join(line.plain for line in report_lines(TEXT, width))
    assert Counter(re.findall(r"\w+", shown)) == Counter(re.findall(r"\w+", TEXT))


def test_prose_is_wrapped_and_the_last_column_of_a_table_too() -> None:
    text = (
        "word " * 30
        + "\n\n| | value | how |\n|---|---|---|\n| score | 0.9876 | "
        + "as is " * 12
        + "|"
    )
    lines = [line.plain for line in report_lines(text, 50)]
    assert all(len(line) <= 50 for line in lines)
    assert lines[:4] == ["word " * 9 + "word", "word " * 9 + "word", "word " * 9 + "word", ""]
    assert lines[4:6] == ["       value   how", "score  0.9876  " + "as is " * 5 + "as is"]
    assert lines[6] == " " * 15 + "as is " * 5 + "as is"
    wide = report_lines("| a | b |\n|---|---|\n| " + "x" * 60 + " | " + "y" * 9 + " |", 50)
    assert wide[1].plain == "x" * 60 + "  " + "y" * 9  # it is scrolled to


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
def test_a_run_that_is_done_leads_to_its_report(
    options: Options,
    recorded: Callable[[str], RunFolder],
    go: Callable[..., Any],
    size: tuple[int, int],
) -> None:
    async def story() -> None:
        run = recorded("ladder")
        app = DiffoptApp(options, Target(run=run))
        async with app.run_test(size=size) as pilot:
            footer = ""
            for _ in range(100):
                await pilot.pause(0.02)
                footer = app.screen._compositor.render_strips()[-1].text
                if "O Report" in footer:
                    break
            assert "O Report" in footer
            await pilot.press("O")
            await pilot.pause()
            assert isinstance(app.screen, ReportScreen)
            text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
            assert "quality score" in text
            assert "esc closes" in text
            await pilot.press("o")
            assert str(run.report_path) in list(app.notices)[-1].text
            await pilot.press("G")
            assert app.screen.query_one(Pane).scroll_offset.y > 0
            await pilot.press("escape")
            assert app.current_mode == "live"
            assert not isinstance(app.screen, ReportScreen)

    go(story())
