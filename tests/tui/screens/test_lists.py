"""The lists over a screen: what was told is read there whole."""

import asyncio

import pytest

from tests.tui.conftest import SIZES
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.options import Options
from tui.screens.lists import NoticesScreen


@pytest.mark.parametrize("size", SIZES)
def test_long_notices_are_broken_and_not_cut(options: Options, size: tuple[int, int]) -> None:
    words = [f"word{n}" for n in range(40)]

    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            app.notices.add(" ".join(words))
            await pilot.press("exclamation_mark")
            await until(lambda: isinstance(app.screen, NoticesScreen), pilot.pause)
            await pilot.pause()
            drawn = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
            assert [word for word in words if word not in drawn.split()] == []

    asyncio.run(story())
