"""The Config screen, and short words for what a person does there."""

from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from tui.app import DiffoptApp
from tui.screens.config import ConfigScreen
from tui.widgets.form import Form
from tui.widgets.pane import Pane
from tui.widgets.yaml_area import YamlArea

TEXT = (
    "# fox study, second try\n"
    "model_path: bundled:digits  # here\n"
    "target_steps: 4\n"
    "training:\n"
    "  learning_rate: 1e-3  # high\n"
    "  batch_size: 64\n"
)
Story = Callable[["Scene"], Awaitable[None]]


class Scene:
    """The screen under test, and short words for what a person does there."""

    def __init__(self, app: DiffoptApp, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> ConfigScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, ConfigScreen)
        return screen

    @property
    def form(self) -> Form:
        return self.screen.query_one(Form)

    @property
    def yaml(self) -> YamlArea:
        return self.screen.query_one(YamlArea)

    @property
    def text(self) -> str:
        assert self.screen.draft is not None
        return self.screen.draft.text

    async def opened(self) -> None:
        """Wait until what was asked for is open: its text is painted before that."""
        for _ in range(200):
            await self.pilot.pause(0.01)
            if self.screen.draft is not None:
                break
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, words: str) -> None:
        await self.press(*("space" if letter == " " else letter for letter in words))

    async def settle(self) -> None:
        """Let timers of typing run out, without waiting for them."""
        self.screen.flush()
        await self.pilot.pause()

    async def go_to(self, key: str) -> None:
        self.form.focus()
        assert self.form.go_to(key)
        await self.pilot.pause()

    async def fill(self, key: str, words: str) -> None:
        await self.go_to(key)
        await self.press("enter", "ctrl+u")
        await self.type(words)
        await self.press("enter")
        await self.settle()

    def pane(self, name: str) -> str:
        return "\n".join(line.plain for line in self.screen.query_one(f"#{name}", Pane).lines)

    def row(self, key: str) -> str:
        rows = [row.key for row in self.form._rows]
        return self.form.lines[rows.index(key)].plain

    def words(self, name: str) -> str:
        return str(self.screen.query_one(f"#{name}").render())

    @property
    def drawn(self) -> str:
        """What the terminal shows."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def notices(self) -> list[str]:
        return [notice.text for notice in self.app.notices]
