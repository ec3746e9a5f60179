"""What is done to a listed run: steering, taking up, archive and trash; and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import RunFolder, TrainingQueue, list_runs, shelf
from engine.run.events import Paused
from tests.tui.conftest import SIZES
from tests.tui.screens.runs.stage import AT_WORK, FAILED, STARTED, Stage, asked_of, make, worked_on
from tests.tui.waiting import until
from tui.dialogs import Dialog
from tui.widgets.machine_pane import queue_of


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


def test_a_queued_run_is_not_said_to_work(root: Path, play: Callable[..., None]) -> None:
    with worked_on(root, "q2"):

        async def story(stage: Stage) -> None:
            assert "○ queued" in stage.text("runs")
            await stage.press("x", "A")
            assert stage.told.count("q2 is queued: its engine waits for its turn. C cancels it.")
            assert "at work" not in stage.told
            await stage.press("C")
            assert "Keep it waiting" in stage.drawn
            assert "being trained" not in stage.drawn

        play(story)


def test_a_run_paused_in_the_queue_is_not_counted_as_waiting(root: Path) -> None:
    with worked_on(root, "q1"), worked_on(root, "q2") as (paused, journal):
        turns = [TrainingQueue().join(str(root / name)) for name in ("q0", "q1", "q2")]
        try:
            assert turns[0].try_take()
            assert queue_of() == ("q0", 2)
            journal.emit(Paused(step=0))
            assert paused.status().state == "paused"
            assert queue_of() == ("q0", 1)
        finally:
            for turn in turns:
                turn.release()


def test_training_that_has_just_begun_is_cancelled(root: Path, play: Callable[..., None]) -> None:
    with worked_on(root, "new", *AT_WORK[:2]) as (run, journal):

        async def story(stage: Stage) -> None:
            journal.emit(*AT_WORK[2:])
            await stage.pilot.press("c")
            await until(lambda: isinstance(stage.app.screen, Dialog), stage.pilot.pause)
            await stage.press("y")
            assert asked_of(run) == ["cancel-stage"]

        play(story)


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


def test_an_undo_that_is_refused_can_be_done_later(root: Path, play: Callable[..., None]) -> None:
    make(root, "a", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        await stage.press("x", "y")
        other = make(root, "a", STARTED, FAILED)
        await stage.press("u")
        assert "exists by now" in stage.told
        other.path.rename(root / "b")
        await stage.press("u")
        assert "a is back" in stage.told
        assert sorted(run.name for run in list_runs(root)) == ["a", "b"]

    play(story)


def test_a_trash_that_cannot_be_read_is_told(root: Path, play: Callable[..., None]) -> None:
    make(root, "a", STARTED, FAILED)
    (root / ".trash").symlink_to(".trash")

    async def story(stage: Stage) -> None:
        await stage.press("ctrl+x")
        assert "cannot be read" in stage.told
        assert stage.names == ["a"]

    play(story)


def test_the_dashboard_deletes_only_what_it_asked_about(
    root: Path, play: Callable[..., None]
) -> None:
    make(root, "a", STARTED, FAILED)
    later = make(root, "b", STARTED, FAILED)
    shelf.trash(RunFolder.open(root / "a"), client="a test")

    async def story(stage: Stage) -> None:
        await stage.pilot.press("ctrl+x")
        await until(lambda: isinstance(stage.app.screen, Dialog), stage.pilot.pause)
        shelf.trash(later, client="another")
        await stage.press("y")
        await stage.app.workers.wait_for_complete()
        assert [one.name for one in shelf.list_trash(root)] == ["b"]

    play(story)


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
