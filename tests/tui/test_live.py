"""The Live screen: every key of it, at three sizes, and what must be refused."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from engine.run import JournalWriter, RunFolder
from engine.run.events import (
    CheckpointSaved,
    DiskLow,
    LogLine,
    Paused,
    PhaseProgressed,
    RunFailed,
    SamplesSaved,
    StageAccepted,
)
from tests.tui.conftest import SIZES
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tui.app import DiffoptApp
from tui.dialogs import Dialog
from tui.options import Options
from tui.screens.live import LiveScreen
from tui.screens.live_view import FindBox, Panes
from tui.targets import Target
from tui.widgets.chart import Charts
from tui.widgets.log import Log
from tui.widgets.pane import Pane
from tui.widgets.stage_tree import StageTree

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
        banner = self.screen.query_one("#banner")
        return str(banner.render()) if banner.display else ""

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
        for _ in range(300):
            if holds():
                return
            if follower is not None:
                follower.hurry()
            await self.pilot.pause(0.02)
        raise AssertionError(f"it did not come: {what}\n{self.text}")


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


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "seed: 0\n", name="digits", mounts=[])


# What is seen


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
            assert "DONE" in screen.header
            result = "10 steps became 4" if name == "smoke" else "missed the threshold"
            assert result in screen.banner
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
                assert "chosen after" in screen.words("timesteps")
                assert "No samples yet" in screen.words("samples")
                assert "load the model" in screen.words("stages")
                for pane in screen.screen.query(Pane):
                    assert any(line.plain.strip() for line in pane.lines), pane.id

    go(check())


def test_without_a_run_it_says_how_to_get_one(go: Go) -> None:
    async def check() -> None:
        async with live(None) as screen:
            assert "No run is shown yet." in screen.text
            await screen.press("p", "b", "C")
            assert any("No run is shown" in one for one in screen.told)

    go(check())


# Steering


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
            await screen.press("r")
            assert started == [run]
            assert any("taken up again" in one for one in screen.told)
            assert screen.screen.follower is not None
            screen.screen.follower.poll_once()
            await screen.pilot.pause()
            assert "taking it up…" in screen.header, "until the new worker's first event"
            with working(run, *UP_TO_TRAINING[:1]):
                await screen.until(lambda: "RUNNING" in screen.header)
                assert "taking" not in screen.header

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


def test_a_run_that_ends_rings_once(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                worker.emit(RunFailed(error="DataError", message="gone"))
                await screen.until(lambda: "FAILED" in screen.header)
                assert screen.told.count("digits is failed") == 1

    go(check())


# Looking


@pytest.mark.parametrize("size", SIZES)
def test_any_pane_is_zoomed_and_back(recorded: Recorded, go: Go, size: tuple[int, int]) -> None:
    async def check() -> None:
        async with live(recorded("smoke"), size) as screen:
            places = screen.screen.query_one(Panes).places
            for pane, key in (
                ("stages", "z"), ("charts", "z"), ("log", "enter"), ("samples", "z"),
                ("timesteps", "enter"), ("hardware", "z"),
            ):  # fmt: skip
                screen.screen._show_pane(pane)
                await screen.pilot.pause()
                screen.pane(pane).focus()
                await screen.press(key)
                assert screen.pane(pane).size.width == size[0] - 4, pane
                others = {one.id for one in screen.screen.query(Pane) if one.is_on_screen}
                assert others <= {pane}
                await screen.press("escape" if key == "enter" else "z")
                assert places.zoomed is None
                assert screen.pane("stages").is_on_screen

    go(check())


@pytest.mark.parametrize("size", SIZES)
def test_tab_walks_the_panes_that_are_seen(
    recorded: Recorded, go: Go, size: tuple[int, int]
) -> None:
    async def check() -> None:
        async with live(recorded("smoke"), size) as screen:
            seen: list[str | None] = []
            for _ in range(7):
                focused = screen.screen.focused
                assert isinstance(focused, Widget)
                assert focused.is_on_screen
                seen.append(focused.id)
                await screen.press("tab")
            expected = 3 if size[0] < 100 else 6
            assert len(set(seen)) == expected
            await screen.press("shift+tab")

    go(check())


def test_brackets_turn_the_tabs_of_the_narrow_layout(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("smoke"), (80, 24)) as screen:
            shown = []
            for _ in range(5):
                (one,) = [
                    name
                    for name in ("log", "samples", "hardware", "timesteps")
                    if screen.pane(name).is_on_screen
                ]
                shown.append(one)
                await screen.press("right_square_bracket")
            assert shown == ["log", "samples", "hardware", "timesteps", "log"]
            await screen.press("left_square_bracket", "left_square_bracket")
            assert screen.pane("timesteps").is_on_screen
            assert "Log · Samples · Hardware · Timesteps" in screen.text

    go(check())


def test_the_layout_is_as_it_was_left(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        run = recorded("smoke")
        async with live(run, (80, 24)) as screen:
            await screen.press("right_square_bracket", "l", "left_square_bracket", "l", "w")
            await screen.press("left_square_bracket")
        async with live(run, (80, 24)) as screen:
            assert screen.pane("timesteps").is_on_screen
            log = screen.screen.query_one(Log)
            assert (log.level, log.is_wrapped) == ("ERROR", True)
            screen.app.preferences.set(layout={"live": {"tab": 3, "level": [], "wrap": "x"}})
        async with live(run, (80, 24)) as screen:
            assert screen.pane("log").is_on_screen, "nonsense is left out"

    go(check())


def test_in_a_low_terminal_the_hardware_is_folded_into_the_metrics(
    recorded: Recorded, go: Go
) -> None:
    async def check() -> None:
        async with live(recorded("smoke"), (80, 24)) as screen:
            await screen.until(lambda: "MLX" in screen.words("charts"))
            await screen.pilot.resize_terminal(120, 36)
            await screen.until(lambda: "MLX" not in screen.words("charts"))
            assert screen.pane("hardware").is_on_screen

    go(check())


@pytest.mark.parametrize("size", SIZES[:2])
def test_the_log_is_filtered_while_typing(
    recorded: Recorded, go: Go, size: tuple[int, int]
) -> None:
    async def check() -> None:
        async with live(recorded("ladder"), size) as screen:
            log = screen.screen.query_one(Log)
            await screen.press("slash", *"rejec")
            assert log.filter == "rejec"
            assert all("reject" in line.plain for line in log.lines)
            assert "/ rejec (7)" in screen.text, "the filter stays to be seen"
            await screen.press("enter")
            assert not screen.screen.query_one(FindBox).display
            assert screen.screen.focused is log
            assert log.filter == "rejec"
            await screen.press("g", "n")
            await screen.press("N")
            hit = log.lines[0].plain
            await screen.press("escape")
            assert log.filter == ""
            if size == SIZES[0]:  # elsewhere all hits fit, and it follows
                assert log.lines[0].plain == hit, "it stays to be seen among its neighbours"
            await screen.press("G")
            await screen.press("slash", *"no such line")
            assert "no line holds" in screen.words("log")
            await screen.press("escape")
            assert "finished in" in screen.words("log")

    go(check())


def test_a_filter_with_brackets_is_no_markup(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("smoke")) as screen:
            await screen.press("slash", "left_square_bracket", "slash", "b")
            assert screen.screen.query_one(Log).filter == "[/b"
            assert "/ [/b (0)" in screen.text

    go(check())


def test_l_changes_the_levels_of_the_log(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("ladder")) as screen:
            log = screen.screen.query_one(Log)
            await screen.press("l")
            assert log.level == "WARNING"
            assert all(" warn " in line.plain for line in log.lines)
            await screen.press("l")
            assert "nothing at error or above" in screen.words("log")
            await screen.press("l")
            assert log.level == "DEBUG"
            await screen.press("l")
            assert log.level == "INFO"

    go(check())


def test_f_holds_the_log_and_lets_it_follow(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                log = screen.screen.query_one(Log)
                log.focus()
                await screen.press("f")
                assert not log.is_following
                worker.emit(*(LogLine(level="INFO", text=f"line {n}") for n in range(40)))
                await screen.until(lambda: "40 new" in screen.text)
                assert "line 39" not in screen.words("log")
                await screen.press("f")
                assert "line 39" in screen.words("log")
                await screen.press("k")
                assert not log.is_following, "looking back holds it"
                await screen.press("G")
                assert log.is_following

    go(check())


def test_a_full_log_jumps_half_its_height(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            async with live(run) as screen:
                log = screen.screen.query_one(Log)
                height = log.scrollable_content_region.height
                tops = set()
                for number in range(3 * height):
                    worker.emit(LogLine(level="INFO", text=f"line {number}"))
                    wanted = f"line {number}"
                    await screen.until(lambda wanted=wanted: wanted in screen.words("log"))
                    tops.add(log.lines[0].plain)
                assert len(tops) <= 8

    go(check())


def test_w_wraps_long_lines(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            worker.emit(LogLine(level="INFO", text="word " * 60 + "end"))
            async with live(run) as screen:
                screen.screen.query_one(Log).focus()
                assert "end" not in screen.words("log")
                await screen.press("w")
                assert "end" in screen.words("log")
                await screen.press("w")
                assert "end" not in screen.words("log")

    go(check())


def test_keys_of_the_charts(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("ladder"), (160, 48)) as screen:
            charts = screen.screen.query_one(Charts)
            charts.focus()
            assert "loss, logarithmic" in screen.words("charts")
            await screen.press("y")
            assert "loss, linear" in screen.words("charts")
            await screen.press("m")
            assert charts.chosen == "gradient_norm"
            await screen.press("G")
            assert charts.chosen == "quality"
            assert "threshold 0.975" in screen.words("charts")
            await screen.press("g", "j", "k")
            assert charts.chosen == "loss"
            await screen.press("plus")
            first = screen.text
            assert " to 390" in first
            await screen.press("left")
            assert screen.text != first
            await screen.press("minus", "minus")
            await screen.press("0")
            assert " to 390" not in screen.text
            await screen.press("X")
            assert "this stage" in screen.text
            await screen.press("X", "f")
            assert "frozen" in screen.text
            await screen.press("f")
            assert "frozen" not in screen.text

    go(check())


def test_frozen_charts_stand_still_while_data_go_on(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING) as worker:
            worker.train(10)
            async with live(run) as screen:
                charts = screen.screen.query_one(Charts)
                charts.focus()
                screen.screen._show_charts()
                await screen.press("f")
                before = screen.words("charts")
                worker.train(50)
                worker.emit(PhaseProgressed(phase="train", stage=1, done=60, total=400))
                await screen.until(lambda: "60/400" in screen.words("stages"))
                screen.screen._show_charts()
                assert screen.words("charts") == before
                await screen.press("f")
                assert screen.words("charts") != before

    go(check())


def test_branches_of_the_tree_open_and_close(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("ladder"), (160, 48)) as screen:
            tree = screen.screen.query_one(StageTree)
            rows = len(tree.lines)
            for _ in range(5):
                await screen.press("j")
            assert tree.selected is not None
            assert tree.selected.key == "stage 1"
            await screen.press("enter")
            assert len(tree.lines) > rows
            await screen.press("h")
            assert len(tree.lines) == rows
            await screen.press("right")
            assert len(tree.lines) > rows

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


# Holding together


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
