"""All letters and digits that are drawn can be read: measured on the screen, in every theme."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.color import ColorType
from textual.color import Color
from textual.pilot import Pilot

from engine.run import RunFolder
from tests.tui.screens.config.scene import Scene
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.contrast import FAINT, READABLE, contrast
from tui.options import Options
from tui.screens.config import ConfigScreen
from tui.targets import Target
from tui.theme import BUNDLED

TEXT = """\
# fox study, second try
model_path: bundled:digits  # here
target_steps: 4
training:
  learning_rate: 3.0e-4  # was 1e-4
  weighting: 'snr'
  batch_size: 0
  is_compiled: true
"""
MEASURED = [name for name in BUNDLED if name != "sixteen"]  # whose colours are the terminal's


def test_all_that_config_draws_can_be_read(
    options: Options, tmp_path: Path, go: Callable[..., Any]
) -> None:
    file = tmp_path / "fox.yaml"
    file.write_text(TEXT)

    async def story() -> None:
        app = DiffoptApp(options, Target(config=file))
        async with app.run_test(size=(120, 36)) as pilot:
            await Scene(app, pilot).opened()
            screen = app.screen
            assert isinstance(screen, ConfigScreen)
            screen.form.go_to("training.batch_size")
            await in_every_theme(app, pilot)
            screen.yaml.focus()
            screen.yaml.go_to(2)
            await in_every_theme(app, pilot)

    go(story())


@pytest.mark.parametrize("key", ["", "1", "4", "?", "T"])
def test_all_that_the_other_screens_draw_can_be_read(
    options: Options, recorded: Callable[[str], RunFolder], go: Callable[..., Any], key: str
) -> None:
    run = recorded("smoke")

    async def story() -> None:
        app = DiffoptApp(options, Target(run=run))
        async with app.run_test(size=(120, 36)) as pilot:
            await until(lambda: "Stages" in drawn(app), pilot.pause)
            if key:
                await pilot.press(key)
                await pilot.pause()
            await in_every_theme(app, pilot)

    go(story())


async def in_every_theme(app: DiffoptApp, pilot: Pilot[Any]) -> None:
    found = {}
    for theme in MEASURED:
        assert app.wear_theme(theme)
        await pilot.pause()
        found[theme] = hard_to_read(app)
    assert {theme: faint for theme, faint in found.items() if faint} == {}


def drawn(app: DiffoptApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def hard_to_read(app: DiffoptApp) -> list[str]:
    """Return the words drawn too faintly, each with its contrast and colours."""
    css = app.theme_variables
    off = Color.parse(css["text-disabled"])
    least = 7.0 if app.theme == "contrast" else READABLE
    found = {}
    strips = app.screen._compositor.render_strips()
    for box in app.screen.query("#help, #list"):  # what is behind is dimmed, and meant to be
        region = box.region
        strips = [strips[y].crop(region.x, region.right) for y in range(region.y, region.bottom)]
    for row, strip in enumerate(strips):
        for segment in strip:
            style = segment.style
            if style is None or not any(letter.isalnum() for letter in segment.text):
                continue
            assert style.color is not None
            assert style.bgcolor is not None
            assert ColorType.TRUECOLOR in (style.color.type, style.bgcolor.type)
            ink, ground = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
            measure = contrast(ink, ground)
            if measure < (FAINT if ink == off else least):
                what = f"{segment.text.strip()!r}: {measure:.1f}, {ink.hex} on {ground.hex}"
                found.setdefault((ink.hex, ground.hex), f"row {row}: {what}")
    return list(found.values())
