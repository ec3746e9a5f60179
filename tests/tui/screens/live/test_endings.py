"""What Live says of a run that is lost, stopped, failed, starved or steered by another."""

import pytest

from engine.errors import RunError
from engine.run import JournalWriter, RunFolder
from engine.run.events import (
    CheckpointSaved,
    DiskLow,
    Paused,
    RunFailed,
    RunResumed,
    RunStopped,
    StageAccepted,
)
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.journals import damage_metrics
from tests.tui.screens.live.scene import Go, Recorded, live
from tui.follow import AWAY_SECONDS
from tui.screens.live import SEEN_SECONDS


def test_a_lost_run_is_taken_up_by_r(
    run: RunFolder, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[RunFolder] = []
    monkeypatch.setattr("engine.run.steering.start_worker", started.append)
    with run.own(), JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        journal.emit(*UP_TO_TRAINING)
        journal.record_metrics(120, {"loss": 0.1})
        journal.emit(CheckpointSaved(path="checkpoints/x", step=100, size_bytes=5))
        journal._is_engine = False  # it ends without signing off, as a killed one does

    async def check() -> None:
        async with live(run) as screen:
            assert "LOST" in screen.header
            assert screen.banner == "Engine gone at step 120. r resumes from step 100."
            await screen.press("b")
            assert any("no engine works on it" in one for one in screen.told)
            await screen.press("r", "r", "1")
            await screen.press("r", "3")
            assert started == [run], "once, from whatever screen"
            assert sum("is being taken up;" in one for one in screen.told) == 2
            assert any("taken up again" in one for one in screen.told)
            assert screen.screen.follower is not None
            screen.screen.follower.poll_once()
            await screen.pilot.pause()
            assert "taking it up…" in screen.header, "until the new worker's first event"
            with working(run, *UP_TO_TRAINING[:1]):
                await screen.until(lambda: "RUNNING" in screen.header)
                assert "taking" not in screen.header

    go(check())


def test_a_take_up_is_told_of_the_run_that_was_taken_up_alone(
    run: RunFolder, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: RunFolder) -> None:
        raise RunError("No process can be started.")

    other = RunFolder.create(run.path.parent, "seed: 0\n", name="other", mounts=[])
    monkeypatch.setattr("engine.run.steering.start_worker", fail)
    for one in (run, other):
        with working(one, *UP_TO_TRAINING) as worker:
            worker.emit(Paused(step=7))

    async def check() -> None:
        async with live(run) as screen:
            await screen.press("r")
            assert screen.told[-1] == "No process can be started."
            assert "taking it up…" not in screen.header, "it was not"
            monkeypatch.setattr("engine.run.steering.start_worker", lambda run: None)
            await screen.press("r")
            assert "taking it up…" in screen.header
            screen.app.open_run(other)
            await screen.until(lambda: other.name in screen.header)
            await screen.pilot.pause()
            assert "taking it up…" not in screen.header

    go(check())


def test_a_stopped_run_says_so_and_p_takes_it_up(
    run: RunFolder, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[RunFolder] = []
    monkeypatch.setattr("engine.run.steering.start_worker", started.append)
    with working(run, *UP_TO_TRAINING) as worker:
        worker.emit(Paused(step=7))

    async def check() -> None:
        async with live(run) as screen:
            assert "Stopped" in screen.banner
            await screen.press("p")
            assert started == [run]

    go(check())


def test_a_failed_run_shows_its_cause_and_the_key(run: RunFolder, go: Go) -> None:
    with working(run, *UP_TO_TRAINING) as worker:
        worker.emit(RunFailed(error="DataError", message="no images in /data."))

    async def check() -> None:
        async with live(run) as screen:
            assert screen.banner == "Failed: no images in /data. r takes it up again."
            assert "FAILED" in screen.header
            assert "DataError" in screen.words("log")

    go(check())


def test_a_full_disk_is_told(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            worker.emit(
                DiskLow(path="/runs", free_bytes=1000, needed_bytes=2000),
                Paused(step=3, reason="the disk is full"),
            )
            async with live(run) as screen:
                assert "The disk is full (1.00 kB free)" in screen.banner

    go(check())


def test_what_another_dashboard_asked_is_told_with_its_name(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as one, live(run) as other:
                await one.press("p")
                await other.until(lambda: "pausing…" in other.header, "seen before it is obeyed")
                worker.obey()
                await other.until(lambda: "PAUSED" in other.header)
                await one.until(lambda: "PAUSED" in one.header)
                (told,) = [text for text in other.told if text.startswith("Paused")]
                assert told.startswith("Paused by ")
                assert "diffopt-tui" in told
                assert "Paused" in one.told

    go(check())


def test_one_who_comes_back_is_told_how_long_and_what(
    run: RunFolder, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                assert screen.banner == ""
            worker.emit(
                StageAccepted(stage=1, attempt=1, score=0.991, lower_bound=0.98, threshold=0.9)
            )
            now = __import__("time").time()
            monkeypatch.setattr("tui.follow.time.time", lambda: now + 14 * 60)
            async with live(run) as screen:
                assert "Away 14 min: stage 1 accepted at 0.9910." in screen.banner
                await screen.press("escape")
                assert screen.banner == ""

    go(check())


def test_what_was_missed_hides_no_result(
    recorded: Recorded, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        async with live(recorded("smoke")) as screen:
            screen.screen._away = "Away 14 min: the run finished."
            screen.screen._show_frame()
            await screen.pilot.pause()
            assert "Away 14 min: the run finished." in screen.banner
            assert "10 steps became 4" in screen.banner

    go(check())


def test_what_another_dashboard_shows_was_seen() -> None:
    assert SEEN_SECONDS < AWAY_SECONDS


def test_a_run_that_pauses_again_is_taken_up_no_longer(
    run: RunFolder, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.run.steering.start_worker", lambda _: None)
    with working(run, *UP_TO_TRAINING) as worker:
        worker.emit(RunStopped(step=7, reason="command"))

    async def check() -> None:
        async with live(run) as screen:
            await screen.press("r")
            assert "taking it up…" in screen.header
            resumed = RunResumed(pid=1, host="studio", device="cpu", step=7, checkpoint=None)
            with working(run, resumed, Paused(step=7)):
                await screen.until(lambda: "p goes on" in screen.banner)
                assert "taking" not in screen.header

    go(check())


def test_keys_of_a_run_whose_folder_is_gone_stay_here_and_say_so(
    recorded: Recorded, go: Go
) -> None:
    run = recorded("smoke")

    async def check() -> None:
        async with live(run) as screen:
            run.path.rename(run.path.with_name("elsewhere"))
            await screen.until(lambda: "✗ GONE" in screen.header)
            gone = f"The folder of smoke is gone: {run.path}. 1 shows the other runs."
            assert screen.banner == gone
            for key in ("e", "d", "O", "p", "C"):
                count = screen.told.count(gone)
                await screen.press(key)
                assert screen.app.current_mode == "live", key
                assert screen.app.screen is screen.screen, key
                assert screen.told.count(gone) == count + 1, key

    go(check())


def test_damaged_metrics_are_not_said_to_be_none(recorded: Recorded, go: Go) -> None:
    run = recorded("smoke")
    damage_metrics(run)

    async def check() -> None:
        async with live(run) as screen:
            assert "✗ DAMAGED" in screen.header
            assert "damaged" in screen.banner
            assert "damaged: it cannot be read" in screen.words("charts")
            assert "no steps were trained" not in screen.words("charts")

    go(check())
