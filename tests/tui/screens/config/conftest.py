"""Config over a file of settings, at three sizes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tui.conftest import SIZES
from tests.tui.screens.config.scene import TEXT, Scene, Story
from tui.app import DiffoptApp
from tui.options import Options
from tui.targets import Target


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
                await scene.opened()
                await story(scene)

        go(whole())
        return app

    return run
