"""A person's own themes in the dashboard: worn, previewed, and harmless where they are broken."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tui.app import DiffoptApp
from tui.options import Options
from tui.preferences import Preferences, config_folder
from tui.theme import BUNDLED, REQUIRED

COMPLETE = "\n".join(f'{name}: "#{number:02x}4060"' for number, name in enumerate(REQUIRED))
Story = Callable[[DiffoptApp, Pilot[None]], Awaitable[None]]


@pytest.fixture
def own() -> Path:
    folder = config_folder() / "themes"
    folder.mkdir(parents=True)
    return folder


def told(app: DiffoptApp) -> str:
    return "\n".join(notice.text for notice in app.notices)


def play(options: Options, story: Story) -> None:
    async def on_stage() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await story(app, pilot)

    asyncio.run(on_stage())


def test_an_own_theme_is_worn_and_remembered(options: Options, own: Path) -> None:
    (own / "mine.yaml").write_text(COMPLETE)

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        assert app.theme == "mine"
        assert app.current_theme.primary == "#044060"
        await pilot.press("t")
        assert app.theme == BUNDLED[0], "the first after the last"

    play(options._replace(theme="mine"), story)
    assert Preferences.load().theme == BUNDLED[0]


@pytest.mark.parametrize(
    "damage",
    [
        COMPLETE.replace("primary", "primry"),
        COMPLETE.replace("#044060", "#04406g"),
        COMPLETE + "\nvariables: {border: rouge}",
        "primary: [",
        "",
    ],
)
def test_a_broken_own_theme_is_told_and_the_usual_one_stays(
    options: Options, own: Path, damage: str
) -> None:
    (own / "mine.yaml").write_text(damage)

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        assert app.theme in BUNDLED
        assert "mine.yaml" in told(app)
        assert app.screen.query("Pane"), "it is drawn all the same"

    play(options._replace(theme="mine"), story)


def test_t_passes_over_a_broken_theme(options: Options, own: Path) -> None:
    (own / "aaa.yaml").write_text("primary: [")

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        assert app.theme == BUNDLED[-1]
        await pilot.press("t")
        assert app.theme == BUNDLED[0]
        assert "aaa.yaml" in told(app)

    play(options._replace(theme=BUNDLED[-1]), story)


def test_a_damaged_file_of_choices_is_told_on_the_screen(options: Options) -> None:
    config_folder().mkdir(parents=True)
    (config_folder() / "ui.yaml").write_text("theme: [")

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        assert "ui.damaged.yaml" in told(app)

    play(options, story)
