"""The Live screen, and short words for what a person sees and does there."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from engine.run import RunFolder
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.options import Options
from tui.screens.live import LiveScreen
from tui.targets import Target
from tui.widgets.banner import Banner
from tui.widgets.pane import Pane

Recorded = Callable[[str], RunFolder]
Go = Callable[..., Any]


class Live:
    """The app on Live, with the words of what is on it."""

    def __init__(self, app: DiffoptApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> LiveScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, LiveScreen)
        return screen

    @property
    def text(self) -> str:
        """All that is drawn."""
        compositor = self.app.screen._compositor
        return "\n".join(strip.text for strip in compositor.render_strips())

    @property
    def header(self) -> str:
        return self.text.splitlines()[0]

    @property
    def banner(self) -> str:
        banner = self.screen.query_one(Banner)
        return str(banner.content) if banner.display else ""

    @property
    def told(self) -> list[str]:
        return [notice.text for notice in self.app.notices]

    def pane(self, name: str) -> Pane:
        return self.screen.query_one(f"#{name}", Pane)

    def words(self, name: str) -> str:
        return "\n".join(line.plain for line in self.pane(name).lines)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, holds: Callable[[], bool], what: str = "") -> None:
        follower = self.screen.follower

        async def look_again() -> None:
            if follower is not None:
                follower.hurry()
            await self.pilot.pause(0.02)

        await until(holds, look_again, lambda: f"it did not come: {what}\n{self.text}")


@asynccontextmanager
async def live(
    run: RunFolder | None, size: tuple[int, int] = (120, 36), **options: Any
) -> AsyncIterator[Live]:
    runs_dir = run.path.parent if run is not None else Path("nowhere")
    app = DiffoptApp(Options(runs_dir=runs_dir, **options), Target(run=run))
    async with app.run_test(size=size) as pilot:
        screen = Live(app, pilot)
        if run is None:
            await screen.press("3")
        else:
            await screen.until(
                lambda: (
                    screen.screen.snapshot is not None
                    and (screen.screen.snapshot.is_loaded or bool(screen.screen.snapshot.problem))
                ),
                "the first look",
            )
        await pilot.pause()
        yield screen
