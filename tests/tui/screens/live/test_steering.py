"""What Live's keys ask of a run, what is asked first, and what must be refused."""

import pytest

from engine.run import RunFolder
from engine.run.events import CheckpointSaved, RunStopped
from tests.tui.conftest import SIZES
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.screens.live.scene import Go, Recorded, live
from tui.dialogs import Dialog


@pytest.mark.parametrize("size", SIZES)
def test_p_pauses_and_p_goes_on(run: RunFolder, go: Go, size: tuple[int, int]) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run, size) as screen:
                await screen.press("p")
                assert "pausing…" in screen.header, "said at once"
                assert worker.obey() == ["pause"]
                await screen.until(lambda: "PAUSED" in screen.header, "the worker's answer")
                assert "pausing" not in screen.header
                assert "p goes on" in screen.banner
                assert "Paused" in screen.told
                await screen.press("space")
                assert "resuming…" in screen.header
                assert worker.obey() == ["resume"]
                await screen.until(lambda: "RUNNING" in screen.header)
                assert screen.banner == ""

    go(check())


def test_a_key_asks_the_worker_and_its_answer_is_told(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                for key, kind, said in (
                    ("b", "checkpoint", "Checkpoint written"),
                    ("P", "pause-and-free", "Paused, memory freed"),
                ):
                    await screen.press(key)
                    assert "…" in screen.header
                    assert worker.obey() == [kind]
                    await screen.until(lambda said=said: said in screen.told, said)

    go(check())


@pytest.mark.parametrize("size", SIZES)
def test_what_destroys_is_asked_first(run: RunFolder, go: Go, size: tuple[int, int]) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run, size) as screen:
                for key, answer, kinds in (
                    ("c", "n", []),
                    ("c", "escape", []),
                    ("c", "enter", []),  # the safe button has the focus
                    ("C", "escape", []),
                    ("R", "n", []),
                    ("R", "y", ["retry-stage"]),
                    ("c", "y", ["cancel-stage"]),
                ):
                    await screen.press(key)
                    await screen.until(lambda: isinstance(screen.app.screen, Dialog), key)
                    await screen.press(answer)
                    await screen.until(lambda: not isinstance(screen.app.screen, Dialog), answer)
                    await screen.pilot.pause()
                    assert worker.obey() == kinds, (key, answer)

    go(check())


def test_a_stage_can_be_cancelled_after_a_checkpoint(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            worker.train(120)
            worker.emit(CheckpointSaved(path="checkpoints/x", step=100, size_bytes=5))
            async with live(run) as screen:
                await screen.press("c")
                await screen.until(lambda: isinstance(screen.app.screen, Dialog))
                assert "last checkpoint is of step 100" in screen.text
                await screen.press("right", "enter")
                await screen.until(lambda: not isinstance(screen.app.screen, Dialog))
                await screen.pilot.pause()
                assert worker.obey() == ["checkpoint", "cancel-stage"]
                await screen.until(lambda: "rolled back" in screen.words("stages"))

    go(check())


def test_cancelling_the_run_wants_its_name(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                await screen.press("C")
                await screen.until(lambda: isinstance(screen.app.screen, Dialog))
                await screen.press(*"digit", "enter")
                assert isinstance(screen.app.screen, Dialog), "the name is not whole"
                assert worker.obey() == []
                await screen.press("s", "enter")
                await screen.until(lambda: not isinstance(screen.app.screen, Dialog))
                await screen.pilot.pause()
                assert worker.obey() == ["cancel-run"]
                await screen.until(lambda: "CANCELLED" in screen.header)
                assert "Cancelled by ada@studio" in screen.banner

    go(check())


@pytest.mark.parametrize("size", SIZES)
def test_a_run_that_is_over_refuses_every_order_and_says_why(
    recorded: Recorded, go: Go, size: tuple[int, int]
) -> None:
    async def check() -> None:
        async with live(recorded("smoke"), size) as screen:
            why = "smoke is done; there is nothing left to do. d starts another like it."
            for key in ("p", "space", "P", "r", "b", "c", "C", "R"):
                told = screen.told.count(why)
                await screen.press(key)
                assert screen.app.screen is screen.screen, "no dialog opens"
                assert screen.told.count(why) == told + 1, key

    go(check())


def test_what_has_no_meaning_now_is_refused_with_its_reason(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING[:2]) as worker:
            async with live(run) as screen:
                for key, why in (
                    ("r", "there is nothing to resume"),
                    ("b", "No stage is being trained now"),
                    ("c", "No stage is being trained now"),
                    ("R", "No stage is being trained now"),
                ):
                    count = len(screen.told)
                    await screen.press(key)
                    assert why in " ".join(screen.told[count:]), key
                assert worker.obey() == []

    go(check())


def test_a_stopped_run_is_cancelled_without_a_worker(run: RunFolder, go: Go) -> None:
    with working(run, *UP_TO_TRAINING) as worker:
        worker.emit(RunStopped(step=7, reason="command"))

    async def check() -> None:
        async with live(run) as screen:
            assert "PAUSED" in screen.header
            await screen.press("C")
            await screen.until(lambda: isinstance(screen.app.screen, Dialog))
            await screen.press(*"digits", "enter")
            await screen.until(lambda: "CANCELLED" in screen.header)

    go(check())


@pytest.mark.parametrize(("key", "kind"), [("c", "cancel-stage"), ("R", "retry-stage")])
def test_a_key_at_the_beginning_of_training_is_not_refused_by_an_old_look(
    run: RunFolder, go: Go, key: str, kind: str
) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING[:2]) as worker:
            async with live(run) as screen:
                assert screen.screen.follower is not None
                screen.screen.follower.stop()  # no poll comes in between
                worker.emit(*UP_TO_TRAINING[2:])
                await screen.press(key)
                await screen.until(lambda: isinstance(screen.app.screen, Dialog))
                await screen.press("y")
                await screen.pilot.pause()
                assert worker.obey() == [kind]

    go(check())


def test_a_refused_key_is_grey_in_the_footer(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("smoke")) as screen:
            enabled = {
                active.binding.action: active.enabled
                for active in screen.screen.active_bindings.values()
            }
            assert not enabled["pause"]
            assert not enabled["cancel_run"]
            assert enabled["edit_config"]
            assert enabled["zoom"]

    go(check())
