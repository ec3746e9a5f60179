"""What the keys of Compare alone do."""

from tests.tui.keys.stage import Stage, does
from tui.screens.compare import CompareScreen
from tui.widgets.compare_table import CompareTable
from tui.widgets.pane import Pane
from tui.widgets.samples import SamplesPane


def compare(stage: Stage) -> CompareScreen:
    assert isinstance(stage.screen, CompareScreen)
    return stage.screen


@does("list.right", "compare")
async def shows_the_next_sheet(stage: Stage, key: str) -> None:
    for _ in range(2 if stage.screen.is_narrow else 0):
        await stage.press("right_square_bracket")
    samples = stage.get(SamplesPane)
    samples.choose(0)
    samples.focus()
    await stage.press(key)
    assert samples.shown == samples.samples[1]


@does("view.tab_left", "compare")
async def shows_the_tab_to_the_left(stage: Stage, key: str) -> None:
    await turns_the_tab_or_the_focus(stage, key, "samples")


@does("view.tab_right", "compare")
async def shows_the_tab_to_the_right(stage: Stage, key: str) -> None:
    await turns_the_tab_or_the_focus(stage, key, "table")


async def turns_the_tab_or_the_focus(stage: Stage, key: str, wanted: str) -> None:
    screen = compare(stage)
    assert screen.focused is stage.pane("chart")
    await stage.press(key)
    assert screen.focused is stage.pane(wanted)
    tab: str = screen._tab
    assert tab == (wanted if screen.is_narrow else "chart")


@does("view.log_y", "compare")
async def shows_the_distance_from_one(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: compare(stage).is_distance, is_back=True)


@does("view.x_axis", "compare")
async def counts_something_else_across(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: compare(stage).axis)


@does("view.metric", "compare")
async def charts_the_next_metric(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: compare(stage).metric)


@does("view.images", "compare")
async def draws_pictures_another_way(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(SamplesPane).mode)


@does("view.open_file", "compare")
async def tells_of_the_report(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert "report" in stage.told[-1]


@does("view.blink", "compare")
async def shows_before_and_after_in_turn(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(SamplesPane).row)


@does("view.sort", "compare")
async def sorts_the_table(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(CompareTable).sort)


@does("view.reload", "compare")
async def reads_the_runs_again(stage: Stage, key: str) -> None:
    screen = compare(stage)
    screen._marks[stage.folder] = ()
    await stage.press(key)
    await stage.until(lambda: stage.folder not in screen._marks, "the reading")


@does("compare.export", "compare")
async def writes_csv_and_png(stage: Stage, key: str) -> None:
    await stage.press(key)
    folder = stage.app.runs_dir / "compare"
    await stage.until(lambda: "are written" in stage.told[-1], "the export")
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".png"}


@does("compare.diff", "compare")
async def lists_the_settings_that_differ(stage: Stage, key: str) -> None:
    await stage.press(key)
    await stage.until(lambda: stage.over == "Pick", "the list")
    lines = [line.plain for line in stage.app.screen.query_one("#pick", Pane).lines]
    assert any(line.startswith("quality_threshold") for line in lines)
    assert not any("model_path" in line for line in lines), "which is the same in both"
    await stage.press("escape")
    await stage.until(lambda: stage.over == "", "its end")
