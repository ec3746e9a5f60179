"""A person's own themes in the dashboard: worn, previewed, and harmless where they are broken."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.color import Color
from textual.pilot import Pilot

from tui.app import DiffoptApp
from tui.options import Options
from tui.preferences import Preferences, config_folder
from tui.screens.lists import ThemePane, ThemesScreen
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
        COMPLETE + "\nvariables: {background: initial}",
        COMPLETE + "\nvariables: {border-blurred: auto}",
        COMPLETE + "\nvariables: {link-style: 'not'}",
        COMPLETE + "\nvariables: {link-style: none bold}",
        COMPLETE + "\nvariables: {border: auto 500%}",
        COMPLETE + "\nvariables: {primary: initial}",
        "primary: [",
        "[" * 5_000,
        "",
        b"\xff\xfe",
        b"# large\n" * 3_000_000,
    ],
    ids=lambda damage: str(damage[-30:]),
)
def test_a_broken_own_theme_is_told_and_the_usual_one_stays(
    options: Options, own: Path, damage: str | bytes
) -> None:
    (own / "mine.yaml").write_bytes(damage.encode() if isinstance(damage, str) else damage)

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        assert app.theme in BUNDLED
        assert "mine.yaml" in told(app)
        assert app.screen.query("Pane"), "it is drawn all the same"
        worn = app.theme
        await to_the_row_of_mine(app, pilot)
        assert app.theme == worn
        assert shown(app)[-1].startswith(" mine      ✗ mine.yaml"), "its reason can be read"
        assert shown(app)[-1].rstrip().endswith(("…", "."))
        before = len(list(app.notices))
        await pilot.press("enter")
        assert [isinstance(app.screen, ThemesScreen), app.theme] == [True, worn]
        assert len(list(app.notices)) == before + 1, "enter tells why"
        await pilot.press("escape", "2")
        await pilot.pause()
        assert app.theme == worn

    play(options._replace(theme="mine"), story)
    assert Preferences.load().theme is None


async def to_the_row_of_mine(app: DiffoptApp, pilot: Pilot[None]) -> None:
    await pilot.press("T")
    await pilot.pause()
    pane = app.screen.query_one(ThemePane)
    while pane.row.name != "mine":
        await pilot.press("down")
        await pilot.pause()


def shown(app: DiffoptApp) -> list[str]:
    return [line.plain for line in app.screen.query_one(ThemePane).lines]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "two words"])
def test_what_is_no_theme_file_is_a_row_with_a_reason_and_never_blocks(
    options: Options, own: Path, kind: str
) -> None:
    path = own / ("my own.yaml" if kind == "two words" else "mine.yaml")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "two words":
        path.write_text(COMPLETE)
    else:
        path.symlink_to(own / "nowhere")

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        await pilot.press("T")
        await pilot.pause()
        assert "✗ " + path.name in shown(app)[-1]

    play(options, story)


def test_a_broken_row_is_not_kept_and_the_theme_before_stays(options: Options, own: Path) -> None:
    (own / "mine.yaml").write_text("primary: [")

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        await to_the_row_of_mine(app, pilot)  # over all the others
        assert app.theme == "ember", "no other one is left on"
        await pilot.press("enter", "escape")
        await pilot.pause()
        assert app.theme == "ember"

    play(options._replace(theme="ember"), story)
    assert not (config_folder() / "ui.yaml").exists()


def test_enter_keeps_the_theme_of_the_row(options: Options, own: Path) -> None:
    (own / "mine.yaml").write_text(COMPLETE)

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        await to_the_row_of_mine(app, pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert not isinstance(app.screen, ThemesScreen)
        assert app.theme == "mine"

    play(options, story)

    async def next_time(app: DiffoptApp, pilot: Pilot[None]) -> None:
        assert app.theme == "mine"
        assert app.screen.styles.background == Color.parse("#004060")

    play(options, next_time)


def test_a_theme_that_textual_refuses_after_all_is_taken_off_and_not_kept(
    options: Options, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the checks to miss something: nothing ends, and the next start is not spoiled."""
    (own / "mine.yaml").write_text(COMPLETE + "\nvariables: {border-blurred: auto 500%}")
    monkeypatch.setattr("tui.theme.checked_variable", lambda _, value: value)
    monkeypatch.setattr("tui.theme.unusable", lambda *_: None)

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        await to_the_row_of_mine(app, pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert app.theme == "fjord"
        assert "mine.yaml cannot be worn" in told(app)

    play(options._replace(theme="fjord"), story)
    assert Preferences.load().theme in (None, "fjord")


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


def test_choices_that_cannot_be_kept_are_told_when_they_are_made(options: Options) -> None:
    config_folder().parent.mkdir(parents=True)
    config_folder().write_text("a file where the folder should be")

    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        assert "choices are lost" not in told(app)
        await pilot.press("t", "t")
        await pilot.pause()
        assert told(app).count("choices are lost") == 1
        assert app.theme == BUNDLED[2]

    play(options._replace(theme=BUNDLED[0]), story)


def test_a_mistake_in_the_choices_is_told_when_one_is_made(options: Options) -> None:
    async def story(app: DiffoptApp, pilot: Pilot[None]) -> None:
        config_folder().mkdir(parents=True)
        (config_folder() / "ui.yaml").write_text("bell: off\nlayout: [\n")
        await pilot.press("t")
        await pilot.pause()
        assert "ui.yaml cannot be read (line 3: " in told(app)

    play(options, story)
    assert (config_folder() / "ui.yaml").read_text() == "bell: off\nlayout: [\n"
