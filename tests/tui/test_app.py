"""The frame: four screens behind four keys, at every size, without MLX."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from textual.color import Color
from textual.widgets import Static

from tests.tui.conftest import SIZES
from tui.app import DiffoptApp
from tui.options import Options
from tui.screens.runs import RunsScreen
from tui.theme import BUNDLED, ThemeLibrary


@pytest.mark.parametrize("size", SIZES)
def test_it_starts_on_runs_and_the_digits_lead_to_the_four_screens(
    options: Options, size: tuple[int, int], go: Callable[..., Any]
) -> None:
    async def story() -> list[str]:
        app = DiffoptApp(options)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            seen = [app.current_mode]
            for key in "2341":
                await pilot.press(key)
                await pilot.pause()
                seen.append(app.current_mode)
            return seen

    assert go(story()) == ["runs", "config", "live", "compare", "runs"]


@pytest.mark.parametrize("theme", BUNDLED)
def test_every_bundled_theme_dresses_every_screen(
    options: Options, theme: str, go: Callable[..., Any]
) -> None:
    async def story() -> None:
        app = DiffoptApp(options._replace(theme=theme))
        ground = Color.parse(str(ThemeLibrary().load(theme).theme.background))
        async with app.run_test(size=(80, 24)) as pilot:
            for key in "1234?":
                await pilot.press(key)
                await pilot.pause()
                if key != "?":  # which dims what is behind
                    strip = app.screen._compositor.render_strips()[-2]
                    assert {one.style and one.style.bgcolor for one in strip} == {
                        ground.rich_color
                    }, key
            assert app.theme == theme

    go(story())


def test_the_dashboard_never_imports_mlx() -> None:
    program = (
        "import sys, tui.app, tui.cli\n"
        "import tui.screens.runs, tui.screens.config, tui.screens.live, tui.screens.compare\n"
        "print('mlx' in sys.modules, 'mlx.core' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_what_a_screen_still_works_at_ends_before_its_panes_are_taken_away(
    options: Options, monkeypatch: pytest.MonkeyPatch, go: Callable[..., Any]
) -> None:
    ended: list[str] = []

    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test() as pilot:
            screen = pilot.app.screen
            answer = asyncio.Event()

            async def ask_then_show() -> None:
                try:
                    await answer.wait()
                    ended.append(str(screen.query_one("#banner", Static).content))
                except asyncio.CancelledError:
                    ended.append("cancelled")

            async def answered_when_the_panes_are_gone(_: RunsScreen) -> None:
                answer.set()
                await asyncio.sleep(0.01)

            monkeypatch.setattr(RunsScreen, "on_unmount", answered_when_the_panes_are_gone)
            screen.run_worker(ask_then_show())
            await pilot.pause()

    go(story())
    assert ended == ["cancelled"]
