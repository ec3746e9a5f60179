"""The palette: every action of the screen by name, and of a grey one the reason."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.command import Command, CommandList

from engine.run import RunFolder
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.keys import BY_ID, KEYS
from tui.live_keys import live_keys
from tui.options import Options
from tui.palette import offered
from tui.targets import Target

Go = Callable[..., Any]
Recorded = Callable[[str], RunFolder]
WITHOUT_A_NAME_OF_ITS_OWN = {"run.pause_space"}  # the same as p


def first_of(offered: CommandList) -> str | None:
    """Return the title of the command that Enter would take."""
    chosen = offered.highlighted_option
    return chosen.hit.text if isinstance(chosen, Command) else None


def test_only_what_another_key_does_too_has_no_name() -> None:
    assert {key.id for key in KEYS if not key.words} == WITHOUT_A_NAME_OF_ITS_OWN


@pytest.mark.parametrize("screen", ["runs", "config", "live", "compare"])
def test_every_action_of_a_screen_is_offered_grey_ones_too(
    options: Options, screen: str, go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(120, 36)) as pilot:
            app.switch_mode(screen)
            await pilot.pause()
            names = [name for name, _, _ in offered(app.screen)]
            assert len(names) == len(set(names))
            here = {key.words for key in KEYS if screen in key.screens or "app" in key.screens}
            undone = {"Suspend"} if screen == "config" else set[str]()  # there ^z is undo
            assert here - {""} - undone <= set(names)
            grey = {BY_ID[key.id].words for key in live_keys(app.screen) if not key.is_enabled}
            assert grey - {""} <= set(names)

    go(story())


@pytest.mark.parametrize(
    ("typed", "found", "told"),
    [
        ("notices", "Notices", None),
        (
            "pause",
            "Pause",
            "ladder is done; there is nothing left to do. d starts another like it.",
        ),
        ("zoom in", "Zoom in", None),
        ("hold the log still", "Follow", None),
    ],
)
def test_an_action_is_found_and_done_or_tells_why_not(
    options: Options, recorded: Recorded, typed: str, found: str, told: str | None, go: Go
) -> None:
    async def story() -> None:
        app = DiffoptApp(options, Target(run=recorded("ladder")))
        async with app.run_test(size=(120, 36)) as pilot:
            await until(lambda: getattr(app.screen, "snapshot", None), pilot.pause)
            below = app.screen
            await pilot.press("ctrl+p")
            await pilot.pause()
            await pilot.press(*(letter if letter != " " else "space" for letter in typed))
            commands = app.screen.query_one(CommandList)
            await until(lambda: first_of(commands) == found, pilot.pause)
            chosen = commands.highlighted_option
            assert isinstance(chosen, Command)
            assert (told in str(chosen.prompt)) if told else "done" not in str(chosen.prompt)
            await pilot.press("enter")
            await until(lambda: not app.screen.query(CommandList), pilot.pause)
            await pilot.pause()
            assert [notice.text for notice in app.notices] == ([told] if told else [])
            assert (app.screen is not below) == (found == "Notices")

    go(story())
