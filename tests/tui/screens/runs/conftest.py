"""Runs over an empty folder."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tui.screens.runs.stage import Stage, Story
from tui.app import DiffoptApp
from tui.options import Options


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def play(options: Options) -> Callable[..., None]:
    def go(story: Story, size: tuple[int, int] = (120, 36)) -> None:
        async def on_stage() -> None:
            app = DiffoptApp(options)
            async with app.run_test(size=size) as pilot:
                stage = Stage(app, pilot)
                await stage.settled()
                await story(stage)

        asyncio.run(on_stage())

    return go
