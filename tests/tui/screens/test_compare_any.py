"""Compare over runs in whatever state: waiting, damaged, kept as they were, taken away and back."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

from textual.pilot import Pilot

from engine.run import JournalWriter, RunFolder, shelf
from engine.run.events import PlannedStage, RunFinished, RunPlanned, RunStarted
from tests.tui.journals import damage_metrics
from tests.tui.screens.runs.stage import worked_on
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.ends import Ends
from tui.options import Options
from tui.screens.compare import CompareScreen
from tui.widgets.pane import Pane

KEYS = ("m", "X", "y", "s", "i", "v", "D", "escape", "tab", "j", "j", "j", "k", "o", "f5")


def kept(root: Path) -> RunFolder:
    """A run that is done and came to nothing: no samples, no report, no student."""
    run = RunFolder.create(root, "seed: 0\n", name="kept", mounts=[])
    with JournalWriter(run.journal_path) as journal:
        journal.emit(
            RunStarted(pid=1, host="h", device="d"),
            RunPlanned(original_steps=16, target_steps=4, threshold=0.9,
                       stages=(PlannedStage(1, 16, 4),)),
            RunFinished(result="keep it", exit_code=3, optimized_steps=16, score=None,
                        lower_bound=None, seconds=1.0),
        )  # fmt: skip
    return run


def test_no_marked_run_ends_the_dashboard(
    recorded: Callable[[str], RunFolder], options: Options
) -> None:
    done, torn = recorded("smoke"), recorded("ladder")
    root = done.path.parent
    damage_metrics(torn)
    original = kept(root)

    async def story(pilot: Pilot[None], app: DiffoptApp, queued: RunFolder) -> None:
        for run in (queued, done, torn, original):
            app.marked.toggle(run.path)
        await pilot.press("4")

        def compare() -> CompareScreen:
            screen = app.screen_stack[0]
            assert isinstance(screen, CompareScreen)
            return screen

        async def shows(*names: str) -> None:
            def are_there() -> bool:
                return [run.name for run in compare().runs] == list(names)

            async def read() -> None:
                compare()._read()
                await pilot.pause(0.02)

            await until(are_there, read, lambda: str([run.name for run in compare().runs]))

        def table() -> str:
            return "\n".join(line.plain for line in compare().query_one("#table", Pane).lines)

        everything = ("q2", "smoke", "ladder", "kept")
        await shows(*everything)
        assert "kept missed its target of 4 steps; it keeps the original" in " ".join(
            table().split()
        )
        for _ in range(3):
            for key in KEYS:
                await pilot.press(key)
        thrown = shelf.trash(done, client="test")
        await shows("q2", "ladder", "kept")
        shelf.archive(original, client="test")
        shelf.restore(thrown)
        shelf.unarchive(original)
        await shows(*everything)
        for key in KEYS:
            await pilot.press(key)
        assert app.is_running

    async def on_stage() -> None:
        with worked_on(root, "q2") as (queued, _):
            app = DiffoptApp(options)
            async with app.run_test(size=(120, 36)) as pilot:
                await story(pilot, app, queued)

    asyncio.run(on_stage())


def test_a_worker_that_dies_is_told_though_it_writes_nothing(options: Options) -> None:
    root = options.runs_dir

    async def on_stage() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(120, 36)) as pilot:

            async def is_shown_as(state: str) -> None:
                def states() -> list[str]:
                    screen = app.screen_stack[0]
                    return [run.state for run in screen.runs] if is_compare(screen) else []

                def is_compare(screen: object) -> TypeGuard[CompareScreen]:
                    return isinstance(screen, CompareScreen)

                async def read() -> None:
                    screen = app.screen_stack[0]
                    if is_compare(screen):
                        screen._read()
                    await pilot.pause(0.02)

                await until(lambda: states() == [state], read, lambda: str(states()))

            run = RunFolder.create(root, "seed: 0\n", name="a", mounts=[])
            app.marked.toggle(run.path)
            journal = JournalWriter(run.journal_path)
            with run.own():
                journal.begin_engine()
                journal.emit(RunStarted(pid=1, host="h", device="d"))
                await pilot.press("4")
                await is_shown_as("running")
            await is_shown_as("lost")
            journal.close()

    asyncio.run(on_stage())


def test_an_end_is_looked_for_in_runs_that_hold_nonsense(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "seed: 0\n", name="odd", mounts=[])
    ends = Ends()
    ends.has_ended(run.path, "queued")
    with sqlite3.connect(run.journal_path) as journal:
        journal.execute("insert or replace into latest values ('engine', '7')")
        journal.execute("insert or replace into latest values ('progress', '{torn')")
    journal.close()
    assert ends.states_now(ends.at_work(None)) == []
