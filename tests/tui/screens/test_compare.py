"""The Compare screen: every key, what is said without marks, and what is written out."""

import asyncio
import csv
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.run import RunFolder
from tests.tui.conftest import SIZES
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.comparison import AXES, METRICS
from tui.options import Options
from tui.screens.compare import CompareScreen
from tui.widgets.compare_table import CompareTable
from tui.widgets.pane import Pane
from tui.widgets.samples import SamplesPane


class Stage:
    """Compare being looked at."""

    def __init__(self, app: DiffoptApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> CompareScreen:
        stack = self.app._screen_stacks["compare"]
        assert isinstance(stack[0], CompareScreen)
        return stack[0]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settled()

    async def settled(self) -> None:
        await self.pilot.pause()
        if self.app.screen is self.app._screen_stacks["compare"][0]:
            await self.app.workers.wait_for_complete()
        await self.pilot.pause()

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
    def seen(self) -> set[str]:
        return {pane.id or "" for pane in self.screen.query(Pane) if pane.region.area}


Story = Callable[[Stage], Awaitable[None]]


@pytest.fixture
def marked(recorded: Callable[[str], RunFolder]) -> list[Path]:
    return [recorded("ladder").path, recorded("smoke").path]


@pytest.fixture
def play(options: Options, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setenv("SSH_CONNECTION", "far away")  # nothing is opened on a desktop

    def go(story: Story, marks: list[Path], size: tuple[int, int] = (120, 36)) -> None:
        async def on_stage() -> None:
            app = DiffoptApp(options)
            async with app.run_test(size=size) as pilot:
                for path in marks:
                    app.marked.toggle(path)
                await pilot.press("4")
                stage = Stage(app, pilot)
                await stage.settled()
                await story(stage)

        asyncio.run(on_stage())

    return go


@pytest.mark.parametrize("size", SIZES)
def test_without_marks_it_says_how_to_mark(
    play: Callable[..., None], size: tuple[int, int]
) -> None:
    async def story(stage: Stage) -> None:
        assert "space marks one" in stage.text("empty")
        assert stage.seen == {"empty"}
        for key in ("m", "X", "y", "E", "D", "s", "o", "v", "i", "tab", "z", "enter", "f5"):
            await stage.press(key)
        assert stage.app.current_mode == "compare"
        assert not (stage.app.runs_dir / "compare").exists()

    play(story, [], size)


@pytest.mark.parametrize("size", SIZES)
def test_marked_runs_stand_side_by_side(
    play: Callable[..., None], marked: list[Path], size: tuple[int, int]
) -> None:
    async def story(stage: Stage) -> None:
        await until(lambda: "◆ ladder" in stage.text("chart"), stage.pilot.pause)
        chart = stage.text("chart")
        assert "▲ smoke" in chart
        assert "uniform grid, no training" in chart
        assert "threshold 0.975" in chart
        for sign in "◆▲◇△○✶✗":
            assert sign in chart.split("original")[-1], sign
        table = stage.text("table").splitlines()
        assert table[1].startswith("◆ ladder")
        assert table[2].startswith("▲ smoke")
        assert "0.9876" in table[1]
        assert any("fewest steps that hold: 4, smoke" in line for line in table)
        assert any("thresholds differ" in line for line in table)
        shown = stage.screen.query_one(SamplesPane).shown
        assert shown is not None
        assert shown.title == "ladder"
        if size[0] < 100:
            assert stage.seen == {"chart"}
        else:
            assert stage.seen == {"chart", "table", "samples"}

    play(story, marked, size)


def test_tabs_go_round_in_the_narrow_layout(play: Callable[..., None], marked: list[Path]) -> None:
    async def story(stage: Stage) -> None:
        for key, pane in (
            ("right_square_bracket", "table"),
            ("right_square_bracket", "samples"),
            ("right_square_bracket", "chart"),
            ("left_square_bracket", "samples"),
            ("tab", "chart"),
            ("shift+tab", "samples"),
        ):
            await stage.press(key)
            assert stage.seen == {pane}
            assert stage.screen.focused is stage.screen.query_one(f"#{pane}")
        await stage.pilot.resize_terminal(120, 36)
        await stage.settled()
        assert stage.seen == {"chart", "table", "samples"}

    play(story, marked, (80, 24))


@pytest.mark.parametrize("size", SIZES)
def test_m_and_x_change_what_is_charted(
    play: Callable[..., None], marked: list[Path], size: tuple[int, int]
) -> None:
    async def story(stage: Stage) -> None:
        drawn = {stage.text("chart")}
        for metric in (*METRICS[1:], METRICS[0]):
            await stage.press("m")
            assert stage.screen.metric == metric
            drawn.add(stage.text("chart"))
        assert len(drawn) >= 4
        for axis in (*AXES[1:], AXES[0]):
            await stage.press("X")
            assert stage.screen.axis == axis
            chart = stage.text("chart")
            assert "┬" in chart
            drawn.add(chart)
        before = stage.text("chart")
        await stage.press("y")
        assert stage.text("chart") != before
        await stage.press("y")
        assert stage.text("chart") == before
        await stage.press("m", "X", "X")

    async def the_next_time(stage: Stage) -> None:
        assert (stage.screen.metric, stage.screen.axis) == (METRICS[1], AXES[2])

    play(story, marked, size)
    play(the_next_time, marked, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_export_holds_what_is_shown(
    play: Callable[..., None], marked: list[Path], size: tuple[int, int]
) -> None:
    async def story(stage: Stage) -> None:
        await stage.press("E")
        await stage.settled()
        (table,) = (stage.app.runs_dir / "compare").glob("*.csv")
        (picture,) = (stage.app.runs_dir / "compare").glob("*.png")
        assert {row["run"] for row in csv.DictReader(table.read_text().splitlines())} == {
            "ladder", "smoke",
        }  # fmt: skip
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert stage.app.clipboard == str(table)
        assert str(table) in stage.told
        await stage.press("1")
        await stage.pilot.pause()
        assert stage.app.current_mode == "runs"

    play(story, marked, size)


def test_an_export_that_cannot_be_written_is_told(
    play: Callable[..., None], marked: list[Path]
) -> None:
    async def story(stage: Stage) -> None:
        (stage.app.runs_dir / "compare").write_text("a file in the way")
        await stage.press("E")
        await stage.settled()
        assert "Nothing was exported" in stage.told

    play(story, marked)


def test_the_table_sorts_and_its_run_is_opened(
    play: Callable[..., None], marked: list[Path]
) -> None:
    async def story(stage: Stage) -> None:
        table = stage.screen.query_one(CompareTable)
        table.focus()
        await stage.press("s")
        assert "STEPS▼" in table.lines[0].plain
        assert table.lines[1].plain.startswith("▲ smoke"), "the fewest first"
        await stage.press("s")
        assert table.lines[1].plain.startswith("◆ ladder"), "the highest score first"
        await stage.press("up", "up")
        assert table.run is not None
        assert table.run.name == "ladder"
        await stage.press("G")
        assert table.run is not None
        assert table.run.name == "smoke", "the cursor keeps to the runs"
        assert "smoke" in str(stage.screen.query_one(SamplesPane).border_title)
        await stage.press("o")
        assert stage.app.clipboard == str(marked[1] / "report.md")
        await stage.press("enter")
        await stage.pilot.pause()
        assert stage.app.current_mode == "live"
        assert stage.app.current_run == RunFolder(marked[1])

    play(story, marked)


def test_samples_step_through_the_runs_and_blink(
    play: Callable[..., None], marked: list[Path]
) -> None:
    async def story(stage: Stage) -> None:
        samples = stage.screen.query_one(SamplesPane)
        samples.focus()
        await stage.press("g")
        assert "1 of 2" in stage.drawn
        assert "newer" not in stage.drawn, "they are other runs"
        await stage.press("right")
        assert "smoke" in str(samples.border_title)
        await stage.press("v")
        assert samples.row == 1
        await stage.press("left")
        assert "ladder" in str(samples.border_title)
        assert samples.row == 1, "the same place, so that runs can be told apart"
        await stage.press("i", "o")
        assert samples.mode == "quadrants"
        assert stage.app.clipboard.endswith("ladder/samples/comparison.png")

    play(story, marked)


@pytest.mark.parametrize("is_distance", [False, True])
def test_every_metric_of_one_run_is_charted(
    play: Callable[..., None], marked: list[Path], is_distance: bool
) -> None:
    async def story(stage: Stage) -> None:
        if is_distance:
            await stage.press("y")
        for metric in (*METRICS[1:], METRICS[0]):
            await stage.press("m")
            assert metric in stage.drawn
            assert "smoke" in stage.drawn

    play(story, marked[1:])


@pytest.mark.parametrize("size", SIZES)
def test_d_shows_what_differs(
    play: Callable[..., None], marked: list[Path], size: tuple[int, int]
) -> None:
    async def story(stage: Stage) -> None:
        await stage.pilot.press("D")
        await until(lambda: stage.app.screen is not stage.screen, stage.pilot.pause)
        await stage.pilot.pause()
        (pane,) = stage.app.screen.query(Pane)
        line = next(line.plain for line in pane.lines if "quality_threshold" in line.plain)
        assert "◆ 0.975" in line
        assert "▲ 0.5" in line
        await stage.pilot.press("escape")
        await stage.pilot.pause()
        assert stage.app.screen is stage.screen

    play(story, marked, size)


@pytest.fixture
def alike(tmp_path: Path) -> Callable[[int], list[Path]]:
    """Make runs whose settings differ in three places, one a long path."""

    def make(count: int) -> list[Path]:
        paths: list[Path] = []
        for n in range(count):
            text = (
                f"model_path: a/folder/that/lies/far/below/others/of/its/kind/model-{n}\n"
                f"training:\n  seed: {n + 1}00\n  learning_rate: 0.00{n + 1}\n"
            )
            run = RunFolder.create(
                tmp_path / "runs", text, label="mine", name=f"mine-{n}", mounts=[]
            )
            paths.append(run.path)
        return paths

    return make


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [2, 3, 8])
def test_what_differs_is_shown_for_every_run_and_what_is_cut_says_so(
    play: Callable[..., None],
    alike: Callable[[int], list[Path]],
    size: tuple[int, int],
    count: int,
) -> None:
    async def story(stage: Stage) -> None:
        await stage.pilot.press("D")
        await until(lambda: stage.app.screen is not stage.screen, stage.pilot.pause)
        await stage.pilot.pause()
        (pane,) = stage.app.screen.query(Pane)
        room = pane.scrollable_content_region.width
        assert max(line.cell_length for line in pane.lines) <= room
        text = "\n".join(line.plain for line in pane.lines)
        for n in range(count):
            assert f" {n + 1}00" in text
        assert text.count("…") + text.count("/model-") == count, "whole, or said to be cut"
        if count < 4:
            assert all(line.plain.rstrip() in stage.drawn for line in pane.lines)

    play(story, alike(count), size)


def test_one_run_differs_from_nothing(play: Callable[..., None], marked: list[Path]) -> None:
    async def story(stage: Stage) -> None:
        await stage.press("D")
        assert "one differs from nothing" in stage.told
        assert "▲" not in stage.text("chart")

    play(story, marked[:1])


def test_a_run_that_cannot_be_read_keeps_its_line(
    play: Callable[..., None], marked: list[Path]
) -> None:
    (marked[0] / "journal.sqlite").write_bytes(b"no journal" * 1000)

    async def story(stage: Stage) -> None:
        table = stage.screen.query_one(CompareTable)
        assert "cannot be read" in table.lines[1].plain
        assert "journal.sqlite" in "".join(line.plain for line in table.lines[3:])
        assert "0.9717" in table.lines[2].plain
        table.focus()
        await stage.press("g", "enter")
        assert table.run is not None
        assert table.run.name == "ladder"
        assert stage.app.current_mode == "compare"

    play(story, marked)


def test_z_enlarges_the_focused_pane(play: Callable[..., None], marked: list[Path]) -> None:
    async def story(stage: Stage) -> None:
        before = stage.screen.query_one("#chart").size
        await stage.press("z")
        assert stage.screen.query_one("#chart").size.width > before.width
        await stage.press("escape")
        assert stage.screen.query_one("#chart").size == before

    play(story, marked)
