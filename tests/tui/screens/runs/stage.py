"""The Runs screen being looked at, and runs for it to list."""

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from textual.pilot import Pilot

from engine.run import JournalReader, JournalWriter, RunFolder
from engine.run.events import (
    Event,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunFailed,
    RunPlanned,
    RunStarted,
    StageStarted,
    TryStarted,
)
from tui.app import DiffoptApp
from tui.screens.runs import RunsScreen
from tui.widgets.pane import Pane

STARTED = RunStarted(pid=os.getpid(), host="here", device="a machine")
FAILED = RunFailed(error="TrainingError", message="the loss is nan")
AT_WORK: tuple[Event, ...] = (
    STARTED,
    RunPlanned(original_steps=16, target_steps=4, threshold=0.9,
               stages=(PlannedStage(1, 16, 8), PlannedStage(2, 8, 4))),
    StageStarted(stage=1, input_steps=16, output_steps=8),
    TryStarted(stage=1, attempt=1, remedy="as planned", iterations=100, learning_rate=1e-3,
               grid_name="uniform"),
    PhaseStarted(phase="train", stage=1, total=100, unit="steps"),
    PhaseProgressed(phase="train", done=25, total=100, stage=1, eta_seconds=75.0),
)  # fmt: skip
Story = Callable[["Stage"], Awaitable[None]]


class Stage:
    """A screen being looked at."""

    def __init__(self, app: DiffoptApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> RunsScreen:
        stack = self.app._screen_stacks["runs"]
        assert isinstance(stack[0], RunsScreen)
        return stack[0]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settled()

    async def settled(self) -> None:
        await self.pilot.pause()
        if self.app.screen is self.screen:
            while True:
                self.screen._list()
                if not self.screen._is_pending:
                    break
            await self.pilot.pause()

    @property
    def names(self) -> list[str]:
        return [row.name for row in self.screen.table.rows]

    @property
    def here(self) -> str:
        assert self.screen.row is not None
        return self.screen.row.name

    def text(self, pane: str) -> str:
        return "\n".join(line.plain for line in self.screen.query_one(f"#{pane}", Pane).lines)

    @property
    def drawn(self) -> str:
        """What the terminal shows."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def told(self) -> str:
        return "\n".join(notice.text for notice in self.app.notices)

    @property
    def banner(self) -> str:
        from textual.widgets import Static

        return str(self.screen.query_one("#banner", Static).content)


@contextlib.contextmanager
def worked_on(root: Path, name: str, *events: Event) -> Iterator[tuple[RunFolder, JournalWriter]]:
    """Be a run's worker."""
    run = RunFolder.create(root, "seed: 0\n", label="recipe", name=name, mounts=[])
    with run.own(), JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        for event in events:
            journal.emit(event)
        yield run, journal


def make(root: Path, name: str, *events: Event) -> RunFolder:
    run = RunFolder.create(root, "seed: 0\n", label="recipe", name=name, mounts=[])
    with JournalWriter(run.journal_path) as journal:
        for event in events:
            journal.emit(event)
    return run


def asked_of(run: RunFolder) -> list[str]:
    with JournalReader(run.journal_path) as reader:
        return [record.command.kind for record in reader.commands()]
