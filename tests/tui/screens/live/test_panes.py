"""Moving among Live's panes: zoom, tabs, the layout that is kept; the charts and the tree."""

from dataclasses import replace

import pytest
from textual.widget import Widget

from engine.run import RunFolder
from engine.run.events import (
    Event,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunPlanned,
    StageStarted,
)
from tests.tui.conftest import SIZES
from tests.tui.fake_worker import TRY, UP_TO_TRAINING, working
from tests.tui.screens.live.scene import Go, Recorded, live
from tui.screens.live_view import Panes
from tui.widgets.chart import Charts
from tui.widgets.log import Log
from tui.widgets.pane import Pane
from tui.widgets.stage_tree import StageTree


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
            for _ in range(6):
                focused = screen.screen.focused
                assert isinstance(focused, Widget)
                assert focused.is_on_screen
                seen.append(focused.id)
                await screen.press("tab")
            expected = 3 if size[0] < 100 else 6
            assert len(set(seen)) == expected
            for wanted in reversed(seen):
                await screen.press("shift+tab")
                focused = screen.screen.focused
                assert isinstance(focused, Widget)
                assert focused.id == wanted

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


def test_lines_of_the_tree_are_drawn_for_the_scrollbar_that_comes(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING[:1]) as worker:
            async with live(run, (80, 24)) as screen:
                tree = screen.screen.query_one(StageTree)
                assert not tree.show_vertical_scrollbar
                worker.emit(*UP_TO_TRAINING[1:])
                await screen.until(lambda: "100/400" in screen.words("stages"))
                await screen.pilot.pause()
                assert tree.show_vertical_scrollbar
                width = tree.scrollable_content_region.width
                assert max(line.cell_length for line in tree.lines) == width

    go(check())


def test_the_log_needs_no_scrollbar(recorded: Recorded, go: Go) -> None:
    async def check() -> None:
        async with live(recorded("ladder")) as screen:
            log = screen.screen.query_one(Log)
            log.focus()
            await screen.press("z")
            await screen.pilot.resize_terminal(100, 30)
            await screen.pilot.pause()
            await screen.press("z")
            width = log.scrollable_content_region.width
            assert log.content_size.width == width
            assert max(line.cell_length for line in log.lines) == width

    go(check())


def test_what_metrics_wait_for_is_whole_in_a_small_terminal(run: RunFolder, go: Go) -> None:
    async def check() -> None:
        with working(run, *UP_TO_TRAINING[:1]):
            async with live(run, (80, 24)) as screen:
                charts = screen.screen.query_one(Charts)
                assert "waiting for step 1" in screen.words("charts")
                assert "after the first stage" in screen.words("charts")
                width = charts.scrollable_content_region.width
                assert max(line.cell_length for line in charts.lines) <= width

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


def test_the_line_at_work_stays_in_sight_until_one_looks_elsewhere(run: RunFolder, go: Go) -> None:
    steps = range(18, 3, -1)
    stages = tuple(
        PlannedStage(stage=number, input_steps=before, output_steps=before - 1)
        for number, before in enumerate(steps, start=1)
    )
    planned = RunPlanned(original_steps=18, target_steps=3, threshold=0.9, stages=stages)

    def train(stage: int) -> list[Event]:
        return [
            StageStarted(stage=stage, input_steps=19 - stage, output_steps=18 - stage),
            replace(TRY, stage=stage),
            PhaseStarted(phase="train", stage=stage, unit="optimiser steps"),
            PhaseProgressed(phase="train", stage=stage, done=100, total=400, eta_seconds=60.0),
        ]

    async def check() -> None:
        with working(run, UP_TO_TRAINING[0], planned, *train(12)) as worker:
            async with live(run, (80, 24)) as screen:
                tree = screen.screen.query_one(StageTree)

                def is_seen(what: str) -> bool:
                    rows = [row for row, line in enumerate(tree.lines) if what in line.plain]
                    top, height = tree.scroll_offset.y, tree.scrollable_content_region.height
                    return bool(rows) and all(top <= row < top + height for row in rows)

                await screen.until(lambda: is_seen("25 %"), "the bar of the stage at work")
                await screen.press("g", "j", "k")
                await screen.press("j")
                assert not is_seen("25 %")
                worker.emit(PhaseProgressed(phase="train", stage=12, done=200, total=400))
                await screen.until(lambda: any("50 %" in line.plain for line in tree.lines))
                assert not is_seen("50 %")
                await screen.press("g")
                worker.emit(PhaseProgressed(phase="train", stage=12, done=300, total=400))
                await screen.until(lambda: is_seen("75 %"), "the bar again")

    go(check())
