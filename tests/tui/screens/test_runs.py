"""The Runs screen: every key, what is refused, and what is said where there is nothing."""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.run import JournalReader, JournalWriter, RunFolder, list_runs, shelf
from engine.run.events import (
    Event,
    Paused,
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
from tui.options import Options
from tui.screens.runs import RunsScreen
from tui.widgets.pane import Pane

SIZES = ((80, 24), (120, 36), (160, 48))
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
    def told(self) -> str:
        return "\n".join(notice.text for notice in self.app.notices)

    @property
    def banner(self) -> str:
        from textual.widgets import Static

        return str(self.screen.query_one("#banner", Static).content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def play(options: Options) -> Callable[..., None]:
    def go(story: Story, size: tuple[int, int] = (120, 36)) -> None:
        async def on_stage() -> None:
            app = DiffoptApp(options)
            async with app.run_test(size=size) as pilot:
                stage = Stage(app, pilot)
                await stage.settled()
                await story(stage)

        asyncio.run(on_stage())

    return go


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


@pytest.mark.parametrize("size", SIZES)
def test_without_runs_it_says_how_to_get_one(
    play: Callable[..., None], size: tuple[int, int]
) -> None:
    async def story(stage: Stage) -> None:
        told = stage.text("runs")
        assert "No runs yet" in told
        assert "n  starts one" in told
        assert "No run is selected" in stage.text("details")
        for key in ("space", "enter", "d", "e", "A", "x", "p", "P", "r", "c", "C", "s", "u", "f5"):
            await stage.press(key)
        assert stage.app.current_mode == "runs"
        assert "No run is selected" in stage.told

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_runs_are_listed_newest_first_with_what_is_known(
    root: Path,
    recorded: Callable[[str], RunFolder],
    play: Callable[..., None],
    size: tuple[int, int],
) -> None:
    recorded("smoke")
    make(root, "broken", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        assert stage.names == ["broken", "smoke"]
        table = stage.text("runs").splitlines()
        assert "✗ failed" in table[0]
        assert "✓ done" in table[1]
        assert "100 %" in table[1]
        assert "0.97" in table[1]
        assert "the loss is nan" in stage.text("details")
        await stage.press("j")
        assert stage.here == "smoke"
        await stage.pilot.pause(0.3)
        await stage.app.workers.wait_for_complete()
        details = stage.text("details")
        assert "loss" in details
        assert "10→4 steps" in details
        assert stage.screen.query_one("#details", Pane).border_title == "smoke"
        if size[0] >= 100:
            assert "DISK" in stage.text("machine")
            assert "TRAIN nothing" in stage.text("machine")
        else:
            assert "DISK" in str(stage.screen.query_one("#details", Pane).border_subtitle)

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_filter_narrows_while_typing_and_stays_in_sight(
    root: Path,
    recorded: Callable[[str], RunFolder],
    play: Callable[..., None],
    size: tuple[int, int],
) -> None:
    recorded("smoke")
    make(root, "broken", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        await stage.press("slash", *"state:done")
        assert stage.names == ["smoke"]
        await stage.press("space", *"score")
        await stage.press("greater_than_sign", "x")
        assert "x is no figure" in stage.banner
        assert stage.names == ["smoke"], "what is not understood changes nothing"
        await stage.press("backspace", *"0.9", "enter")
        assert stage.names == ["smoke"]
        title = str(stage.screen.table.border_title)
        assert "Runs (1 of 2)" in title
        assert "/ state:done score>0.9" in title
        await stage.press("j", "space")
        assert len(stage.app.marked) == 1, "keys are the table's again"
        await stage.press("escape")
        assert stage.names == ["broken", "smoke"]
        await stage.press("slash", *"nobody", "enter")
        assert "No run matches nobody" in stage.text("runs")
        await stage.press("slash", "escape")
        assert len(stage.names) == 2

    play(story, size)


def test_s_sorts_by_the_next_column_and_the_cursor_stays_with_its_run(
    root: Path, play: Callable[..., None]
) -> None:
    for name in ("b", "c", "a"):
        make(root, name)

    async def story(stage: Stage) -> None:
        assert stage.names == ["a", "c", "b"], "newest first"
        await stage.press("j")
        assert stage.here == "c"
        await stage.press("s")
        assert stage.names == ["a", "b", "c"]
        assert stage.here == "c"
        for _ in range(6):
            await stage.press("s")
        assert stage.screen.table.sort == "eta"
        await stage.press("s")
        assert stage.names == ["a", "c", "b"]
        await stage.press("s")

    async def the_next_time(stage: Stage) -> None:
        assert stage.names == ["a", "b", "c"], "by name, as it was left"

    play(story)
    play(the_next_time)


def test_a_new_run_does_not_move_the_cursor_to_another(
    root: Path, play: Callable[..., None]
) -> None:
    make(root, "old")
    make(root, "older")

    async def story(stage: Stage) -> None:
        await stage.press("j")
        assert stage.here == "old"
        make(root, "newest")
        await stage.settled()
        assert stage.names[0] == "newest"
        assert stage.here == "old"
        shelf.trash(RunFolder.open(root / "old"), client="another")
        await stage.settled()
        assert stage.names == ["newest", "older"]
        assert stage.here == "older"

    play(story)


@pytest.mark.parametrize("size", SIZES)
def test_space_marks_for_compare_and_takes_the_mark_away(
    root: Path, play: Callable[..., None], size: tuple[int, int]
) -> None:
    for name in "ab":
        make(root, name)

    async def story(stage: Stage) -> None:
        await stage.press("space", "space")
        assert [path.name for path in stage.app.marked] == ["b", "a"]
        assert "2 marked" in str(stage.screen.table.border_subtitle)
        assert [line[0] for line in stage.text("runs").splitlines()] == ["◆", "▲"]
        await stage.press("g", "space")
        assert [path.name for path in stage.app.marked] == ["a"]
        shelf.trash(RunFolder.open(root / "a"), client="another")
        await stage.settled()
        assert stage.app.marked == []

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_enter_opens_live_and_e_and_d_open_config(
    root: Path,
    recorded: Callable[[str], RunFolder],
    play: Callable[..., None],
    size: tuple[int, int],
) -> None:
    run = recorded("smoke")

    async def story(stage: Stage) -> None:
        await stage.press("enter")
        assert stage.app.current_mode == "live"
        assert stage.app.current_run == run
        await stage.press("1", "e")
        assert stage.app.current_mode == "config"
        assert stage.app.config_source == run
        assert not stage.app.is_clone
        await stage.press("1", "d")
        assert stage.app.current_mode == "config"
        assert stage.app.is_clone

    play(story, size)


def test_n_offers_the_recipes_and_esc_takes_none(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.press("n")
        (offered,) = stage.app.screen.query(Pane)
        assert {"demo", "smoke"} <= {line.plain.split()[0] for line in offered.lines}
        assert all(len(line.plain.split()) > 3 for line in offered.lines), "each says what it is"
        await stage.press("escape")
        assert stage.app.current_mode == "runs"
        await stage.press("n", "enter")
        assert stage.app.current_mode == "config"
        assert stage.app.config_source == "demo"

    play(story)


@pytest.mark.parametrize("size", SIZES)
def test_a_run_at_work_is_steered_by_keys_and_asked_before_it_ends(
    root: Path, play: Callable[..., None], size: tuple[int, int]
) -> None:
    with worked_on(root, "live", *AT_WORK) as (run, journal):

        async def story(stage: Stage) -> None:
            assert "● running" in stage.text("runs")
            assert "1/2 16→8 train" in stage.text("runs")
            await stage.press("p", "P")
            assert asked_of(run) == ["pause", "pause-and-free"]
            await stage.press("r", "A", "x")
            assert "nothing to resume" in stage.told
            assert "its engine is at work" in stage.told
            await stage.press("c", "enter")
            await stage.press("c", "escape")
            assert asked_of(run)[2:] == [], "the safe button"
            await stage.press("c", "y")
            assert asked_of(run)[2:] == ["cancel-stage"]
            await stage.press("C", *"liv", "enter")
            assert asked_of(run)[3:] == []
            await stage.press("e", "enter")
            assert asked_of(run)[3:] == ["cancel-run"]
            journal.emit(Paused(step=25))
            await stage.settled()
            assert "‖ paused" in stage.text("runs")
            await stage.press("p")
            await stage.press("r")
            assert asked_of(run)[4:] == ["resume", "resume"]

        play(story, size)


def test_what_nobody_could_obey_is_refused_with_the_reason(
    root: Path, recorded: Callable[[str], RunFolder], play: Callable[..., None]
) -> None:
    run = recorded("smoke")
    before = asked_of(run)

    async def story(stage: Stage) -> None:
        for key in "pPrcC":
            await stage.press(key)
        assert "smoke is done; there is nothing left to do" in stage.told
        assert asked_of(run) == before

    play(story)


def test_a_lost_run_is_taken_up_again(
    root: Path, play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr("engine.run.steering.start_worker", lambda run: started.append(run.name))
    make(root, "gone", STARTED)

    async def story(stage: Stage) -> None:
        assert "? lost" in stage.text("runs")
        await stage.press("p")
        assert "r takes it up again" in stage.told
        await stage.press("r")
        assert started == ["gone"]

    play(story)


@pytest.mark.parametrize("size", SIZES)
def test_a_run_is_archived_and_comes_back(
    root: Path, play: Callable[..., None], size: tuple[int, int]
) -> None:
    run = make(root, "a", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        await stage.press("A")
        assert shelf.is_archived(run)
        assert "All 1 runs are archived" in stage.text("runs")
        await stage.press("slash", *"archived:yes", "enter")
        assert stage.names == ["a"]
        await stage.press("A", "escape")
        assert not shelf.is_archived(run)
        assert stage.names == ["a"]

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_trash_asks_takes_back_and_is_emptied_only_when_told(
    root: Path, play: Callable[..., None], size: tuple[int, int]
) -> None:
    make(root, "a", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        await stage.press("u")
        assert "Nothing was thrown away" in stage.told
        await stage.press("x", "enter")
        assert stage.names == ["a"], "the safe button"
        await stage.press("x", "y")
        assert stage.names == []
        assert "u takes it back" in stage.told
        await stage.press("u")
        assert stage.names == ["a"]
        await stage.press("x", "y")
        await stage.press("ctrl+x", "n")
        assert len(shelf.list_trash(root)) == 1
        await stage.press("ctrl+x", "y")
        await stage.app.workers.wait_for_complete()
        assert shelf.list_trash(root) == []
        assert list_runs(root) == []
        await stage.press("ctrl+x")
        await stage.pilot.pause()
        assert "The trash is empty" in stage.told

    play(story, size)


def test_an_unreadable_run_is_listed_and_can_only_be_thrown_away(
    root: Path, play: Callable[..., None]
) -> None:
    run = make(root, "torn")
    for path in run.path.glob("journal.sqlite-*"):
        path.unlink()
    run.journal_path.write_bytes(b"no journal" * 1000)

    async def story(stage: Stage) -> None:
        assert "✗ damaged" in stage.text("runs")
        await stage.press("enter", "e")
        assert stage.app.current_mode == "runs"
        assert "journal.sqlite" in stage.told

    play(story)


def test_a_folder_that_cannot_be_read_is_said_in_the_banner(
    root: Path, play: Callable[..., None]
) -> None:
    root.write_text("a file")

    async def story(stage: Stage) -> None:
        assert "cannot be read" in stage.banner

    play(story)


def test_the_end_of_a_run_is_told(root: Path, play: Callable[..., None]) -> None:
    with worked_on(root, "live", *AT_WORK) as (_, journal):

        async def story(stage: Stage) -> None:
            assert stage.told == ""
            journal.emit(FAILED)
            await stage.settled()
            assert "live is failed" in stage.told

        play(story)


def test_what_other_dashboards_do_is_seen(root: Path, play: Callable[..., None]) -> None:
    make(root, "a")

    async def story(stage: Stage) -> None:
        note = {"time": 1.0, "by": "ann@mac 1 diffopt-tui"}
        (root / "a" / "archived.json").write_text(json.dumps(note))
        await stage.settled()
        assert stage.names == []
        (root / "a" / "archived.json").unlink()
        await stage.settled()
        assert stage.names == ["a"]

    play(story)


def test_the_mouse_selects_and_a_second_click_opens(
    root: Path, recorded: Callable[[str], RunFolder], play: Callable[..., Any]
) -> None:
    recorded("smoke")
    make(root, "newer")

    async def story(stage: Stage) -> None:
        await stage.pilot.click("#runs", offset=(10, 3))
        await stage.settled()
        assert stage.here == "smoke"
        await stage.pilot.click("#runs", offset=(10, 3), times=2)
        await stage.settled()
        assert stage.app.current_mode == "live"

    play(story)
