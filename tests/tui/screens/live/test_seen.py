"""What Live shows: a run at work, over, not begun, lost from disk, in a terminal of any size."""

import pytest

from engine.run import JournalWriter, RunFolder
from engine.run.events import (
    GridChosen,
    LogLine,
    PhaseStarted,
    RunFinished,
    SamplesSaved,
    StageAccepted,
)
from tests.tui.conftest import SIZES
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.screens.live.scene import Go, Recorded, live
from tui.widgets.pane import Pane


@pytest.mark.parametrize("size", SIZES)
def test_a_running_run_shows_stage_step_and_time_left(
    run: RunFolder, go: Go, size: tuple[int, int]
) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            worker.train(100)
            async with live(run, size) as screen:
                await screen.until(lambda: "100/400" in screen.words("stages"))
                assert "digits" in screen.header
                assert "RUNNING" in screen.text
                assert "left" in screen.header
                assert "25 %" in screen.words("stages")
                assert "distil 16 → 8" in screen.words("stages")
                assert "try 1 as planned" in screen.words("stages")
                await screen.until(lambda: "0.0100" in screen.words("charts"))
                assert "gate" in screen.words("stages")

    go(check())


@pytest.mark.parametrize(
    ("name", "size"), [("smoke", SIZES[0]), ("ladder", SIZES[1]), ("smoke", SIZES[2])]
)
def test_a_finished_run_is_replayed(
    recorded: Recorded, go: Go, name: str, size: tuple[int, int]
) -> None:
    async def check() -> None:
        async with live(recorded(name), size) as screen:
            assert ("DONE" if name == "smoke" else "MISSED") in screen.header
            result = "10 steps became 4" if name == "smoke" else "missed the threshold"
            assert result in screen.banner
            assert screen.banner.split()[-1] in screen.text  # in two lines where one is too short
            assert "✓" in screen.words("stages")
            assert "quality" in screen.words("charts")
            assert "999" in screen.words("timesteps")
            assert "finished in" in screen.words("log")

    go(check())


def test_before_the_first_step_every_pane_says_what_it_waits_for(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, UP_TO_TRAINING[0]):
            async with live(run) as screen:
                assert "waiting for step 1" in screen.words("charts")
                assert "Chosen once" in screen.words("timesteps")
                assert "No samples yet" in screen.words("samples")
                assert "load the model" in screen.words("stages")
                for pane in screen.screen.query(Pane):
                    assert any(line.plain.strip() for line in pane.lines), pane.id

    go(check())


def test_grids_that_are_being_chosen_are_not_waited_for(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING[:2]) as worker:
            async with live(run) as screen:
                assert "Chosen once" in screen.words("timesteps")
                worker.emit(PhaseStarted(phase="plan"))
                await screen.until(lambda: "being chosen" in screen.words("timesteps"))

    go(check())


def test_a_run_that_is_over_shows_the_grid_of_its_student(run: RunFolder, go: Go) -> None:
    chosen = GridChosen(steps=2, source="chosen", timesteps=(999.0, 1.0))
    finished = RunFinished(
        result="done", exit_code=0, optimized_steps=4, score=0.99, lower_bound=0.98, seconds=70.0
    )
    passed = StageAccepted(stage=1, attempt=1, score=0.99, lower_bound=0.98, threshold=0.9)
    with working(run, *UP_TO_TRAINING[:3], chosen, *UP_TO_TRAINING[3:], passed, finished):
        pass

    async def check() -> None:
        async with live(run) as screen:
            assert "Timesteps · 4" in screen.text

    go(check())


def test_without_a_run_it_says_how_to_get_one(go: Go) -> None:
    async def check() -> None:
        async with live(None) as screen:
            assert "No run is shown yet." in screen.text
            await screen.press("p", "b", "C")
            assert any("No run is shown" in one for one in screen.told)
            await screen.press("slash", "1")
            assert screen.app.current_mode == "runs", "no box that is not seen takes the key"

    go(check())


def test_e_and_d_lead_to_the_settings(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        run = recorded("smoke")
        for key, is_clone in (("e", False), ("d", True)):
            async with live(run) as screen:
                await screen.press(key)
                assert screen.app.current_mode == "config"
                assert screen.app.config_source == run
                assert screen.app.is_clone is is_clone

    go(check())


def test_samples_that_come_are_shown(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        run = recorded("smoke")
        async with live(run) as screen:
            with JournalWriter(run.journal_path) as journal:
                journal.emit(
                    SamplesSaved(
                        path="samples/comparison.png", what="comparison", stage=2, step=99, steps=4
                    )
                )
            await screen.until(lambda: "step 99" in screen.text)

    go(check())


def test_a_storm_of_sizes_leaves_a_whole_screen(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("ladder")) as screen:
            for size in ((80, 24), (200, 60), (99, 30), (100, 29), (140, 30), (40, 10), (139, 50),
                         (80, 60), (120, 36)):  # fmt: skip
                await screen.pilot.resize_terminal(*size)
                await screen.pilot.pause()
                lines = screen.text.splitlines()
                assert len(lines) == size[1]
                assert {len(line) for line in lines} == {size[0]}
            assert "distil 10 → 6" in screen.text

    go(check())


def test_while_hidden_nothing_is_read(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                await screen.press("1")
                follower = screen.app._screen_stacks["live"][0].follower  # type: ignore[attr-defined]
                assert not follower.is_started
                worker.emit(LogLine(level="INFO", text="while away"))
                await screen.press("3")
                await screen.until(lambda: "while away" in screen.words("log"))

    go(check())


def test_another_run_takes_its_place(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        smoke, ladder = recorded("smoke"), recorded("ladder")
        async with live(smoke) as screen:
            screen.app.open_run(ladder)
            await screen.until(lambda: "missed the threshold" in screen.banner)
            assert "ladder" in screen.header
            assert "smoke" not in screen.words("stages")

    go(check())


def test_a_deleted_run_stays_to_be_seen_with_the_reason(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        run = recorded("smoke")
        async with live(run) as screen:
            run.path.rename(run.path.with_name("gone"))
            await screen.until(lambda: "old" in screen.banner or "exist" in screen.banner)
            assert "distil 10 → 6" in screen.words("stages")

    go(check())


def test_low_leaves_the_bars_out(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("smoke"), (80, 24), is_low=True, is_ascii=True) as screen:
            assert "▄" not in screen.words("charts")
            assert "loss" in screen.words("charts")

    go(check())
