"""Where keys are pressed: the app on one screen with all that its keys need, and a registry.

A check presses a key by one of its spellings and asserts what it does; `does` files it under the
key's id in the table and the scopes that bind it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from engine.run import JournalReader, RunFolder
from tests.tui.fake_worker import FakeWorker
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.screens.base import DiffoptScreen
from tui.widgets.pane import Pane

Found = TypeVar("Found", bound=Widget)


class Stage:
    """The app on one of its screens, and short words for what a person does there."""

    def __init__(
        self,
        app: DiffoptApp,
        pilot: Pilot[None],
        worker: FakeWorker,
        folder: Path,
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.app, self.pilot, self.worker, self.folder = app, pilot, worker, folder
        self.patch = patch
        self.mode = app.current_mode

    @property
    def run(self) -> RunFolder:
        """The run at work."""
        return self.worker.run

    @property
    def screen(self) -> DiffoptScreen:
        """The screen, whatever lies over it."""
        screen = self.app._screen_stacks[self.mode][0]
        assert isinstance(screen, DiffoptScreen)
        return screen

    @property
    def told(self) -> list[str]:
        return [notice.text for notice in self.app.notices]

    @property
    def over(self) -> str:
        """What lies over the screen, "" for nothing."""
        return "" if self.app.screen is self.screen else type(self.app.screen).__name__

    def get(self, kind: type[Found]) -> Found:
        return self.screen.query_one(kind)

    def pane(self, name: str) -> Pane:
        return self.screen.query_one(f"#{name}", Pane)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, holds: Callable[[], bool], what: str = "it") -> None:
        async def look_again() -> None:
            follower = getattr(self.screen, "follower", None)
            if follower is not None:
                follower.hurry()
            elif hasattr(self.screen, "_list"):
                self.screen._list()  # pyright: ignore[reportAttributeAccessIssue]
            await self.pilot.pause(0.02)

        await until(holds, look_again, lambda: f"{what} never came; told: {self.told[-3:]}")

    async def turns(self, key: str, value: Callable[[], object], *, is_back: bool = False) -> None:
        """Press a key and find a value changed; press it again and find it back."""
        before = value()
        await self.press(key)
        await self.until(lambda: value() != before, "a change")
        if is_back:
            await self.press(key)
            await self.until(lambda: value() == before, "the way back")

    async def opens(self, key: str, name: str) -> None:
        """Press a key and find a window over the screen; close it."""
        await self.press(key)
        await self.until(lambda: self.over != "", name)
        assert self.over == name
        await self.press("escape")
        await self.until(lambda: self.over == "", "its end")

    async def confirms(self, key: str) -> None:
        """Press a key and answer its question with yes."""
        await self.press(key)
        await self.until(lambda: self.over == "Dialog", "the question")
        await self.press("y")

    async def obeyed(self) -> list[str]:
        """Let the worker obey what it was asked for, once it was; returns the kinds."""
        kinds: list[str] = []

        def has_obeyed() -> bool:
            kinds.extend(self.worker.obey())
            return bool(kinds)

        await until(has_obeyed, told=lambda: f"no command came; told: {self.told[-3:]}")
        return kinds

    def asked(self) -> list[str]:
        """What the run's worker was ever asked for."""
        with JournalReader(self.run.journal_path) as reader:
            return [record.command.kind for record in reader.commands()]


Check = Callable[[Stage, str], Awaitable[None]]
CHECKS: dict[tuple[str, str], Check] = {}


def does(key_id: str, *scopes: str) -> Callable[[Check], Check]:
    """File a check of what a key does under its scopes."""

    def keep(check: Check) -> Check:
        for scope in scopes:
            assert (key_id, scope) not in CHECKS
            CHECKS[key_id, scope] = check
        return check

    return keep


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Leave out what a key does not need: drawing, and Textual's wait for an idle processor.

    Screens are laid out all the same; how they look is for other tests. A walk is three times as
    quick.
    """

    async def a_moment(*_: object) -> None:
        await asyncio.sleep(0.003)
        while asyncio.get_running_loop()._ready:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)

    def undrawn(screen: Screen[Any]) -> None:
        screen._dirty_widgets.clear()
        screen._compositor._dirty_regions.clear()

    for module in ("app", "pilot"):
        patch.setattr(f"textual.{module}.wait_for_idle", a_moment)
    patch.setattr(Screen, "_compositor_refresh", undrawn)
