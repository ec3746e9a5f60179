"""The whole dashboard through the cell diff: on every screen what Textual's own would show."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from textual._compositor import CompositorUpdate
from textual.pilot import Pilot
from textual.screen import Screen

from engine.run import RunFolder
from tests.terminals import OnTerminal, dashboard
from tests.tui.display.conftest import Terminal
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.journals import RECORDED
from tui.app import DiffoptApp
from tui.dialogs import confirm
from tui.display.cells import CellDiff
from tui.options import Options
from tui.targets import Target

CONSOLE = Console(color_system="truecolor", force_terminal=True)
COVERED = ("2", "D", "4", "1", "slash", "escape", "j", "z", "z", "n", "escape", "3", "tab", "z",
           "escape", "tab", "tab", "l", "w", "y", "question_mark", "down", "t", "h", "e", "escape",
           "ctrl+p", "h", "e", "escape", "ctrl+c", "exclamation_mark", "escape", "T", "down",
           "enter", "t", "v", "i")  # fmt: skip


class Doubled(DiffoptApp):
    """Draws every frame on two terminals, by the cell diff and as Textual does."""

    def __init__(self, options: Options, target: Target) -> None:
        super().__init__(options, target)
        self.diff = CellDiff()
        self.lean = self.whole = Terminal(1, 1)
        self.compared = 0
        self.sent = {"lean": 0, "whole": 0}

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        if isinstance(renderable, CompositorUpdate) and not self._batch_count:
            width, height = self.size
            is_new = (self.lean.screen.columns, self.lean.screen.lines) != (width, height)
            if is_new:
                self.lean, self.whole = Terminal(width, height), Terminal(width, height)
                self.diff.forget()
            frame = self.diff.frame(renderable, CONSOLE, (width, height))
            assert frame is not None
            stock = renderable.render_segments(CONSOLE)
            self.lean.feed(frame)
            self.whole.feed(stock)
            self.sent["lean"] += len(frame.encode())
            self.sent["whole"] += len(stock.encode())
        super()._display(screen, renderable)

    async def hold_together(self, pilot: Pilot[None], seconds: float = 0.02) -> None:
        """Let the screen settle and compare both terminals.

        Not after each frame: the diff draws the whole of a strip that Textual cuts at the dirty
        region's end, and so is a frame ahead at a pane's edge.
        """
        await pilot.pause(seconds)
        await pilot.pause()
        lean, whole = self.lean.cells(), self.whole.cells()
        wrong = [
            (x, y, lean[y][x], whole[y][x])
            for y in range(len(lean))
            for x in range(len(lean[0]))
            if lean[y][x] != whole[y][x]
        ]
        assert not wrong, wrong[:5]
        self.compared += 1


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run among two others that have ended, one of them with pictures."""
    shutil.copytree(RECORDED, tmp_path / "runs")
    text = "model_path: bundled:digits\n"
    return RunFolder.create(tmp_path / "runs", text, name="digits", mounts=[])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(100, 30)])
def test_every_screen_and_what_lies_over_it_is_as_textual_draws_it(
    run: RunFolder, size: tuple[int, int], go: Callable[..., Any]
) -> None:
    async def story() -> Doubled:
        app = Doubled(Options(runs_dir=run.path.parent), Target(run=run))
        with working(run, *UP_TO_TRAINING) as worker:
            async with app.run_test(size=size) as pilot:
                await app.hold_together(pilot, 0.3)
                for key in COVERED:
                    worker.train(3)
                    await pilot.press(key)
                    await app.hold_together(pilot)
                await asked(app, pilot)
                ladder = RunFolder.open(run.path.parent / "ladder")
                app.open_run(ladder)
                await app.hold_together(pilot, 0.4)
                for width, height in ((97, 31), (60, 15), (160, 48), size):
                    await pilot.resize_terminal(width, height)
                    await app.hold_together(pilot, 0.1)
        return app

    app = go(story())
    assert app.compared > 40
    assert app.sent["lean"] < app.sent["whole"] / 3


async def asked(app: Doubled, pilot: Pilot[None]) -> None:
    async def ask() -> None:
        await app.ask(confirm("漢字 and 🎉", "wide letters: 漢字\nlie over the screen", "Yes"))

    app.run_worker(ask())
    await app.hold_together(pilot, 0.1)
    await pilot.press("tab", "escape")
    await app.hold_together(pilot, 0.1)


@pytest.mark.slow
def test_a_storm_of_resizes_and_a_foreign_line_leave_no_wrong_cell(tmp_path: Path) -> None:
    with OnTerminal(dashboard(tmp_path / "runs"), 120, 36) as terminal:
        terminal.until("Palette", 60)
        terminal.settle()
        for round_ in range(3):
            for size in ((80, 24), (160, 48), (97, 31), (120, 36), (60, 15), (120, 36)):
                terminal.resize(*size)
                terminal.pump(0.02 * round_)
        terminal.until("Palette")
        terminal.settle(quiet=2)  # beside other tests the last size may be long in coming
        stormed = terminal.cells()
        terminal.screen.cursor_position(5, 5)
        terminal.screen.draw("another program's line")
        terminal.press("\x0c")  # ctrl+l
        terminal.until(lambda: terminal.cells() == stormed)


@pytest.mark.slow
def test_a_terminal_that_is_too_small_says_what_it_needs(tmp_path: Path) -> None:
    # what a program with readline leaves to those it starts must not be believed
    old = {"COLUMNS": "80", "LINES": "24"}
    with OnTerminal(dashboard(tmp_path / "runs"), 60, 15, environment=old) as terminal:
        terminal.until("need 80x24, have 60x15", 60)
        terminal.resize(79, 24)
        terminal.until("have 79x24")
        terminal.resize(80, 24)
        terminal.until("Palette")
        assert "need" not in terminal.text
