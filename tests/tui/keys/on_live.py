"""What the keys of Live alone do."""

from tests.tui.keys.stage import Stage, does
from tui.screens.live_view import FindBox, Panes
from tui.widgets.chart import Charts
from tui.widgets.log import Log
from tui.widgets.samples import SamplesPane


@does("view.zoom", "live")
async def shows_the_pane_alone(stage: Stage, key: str) -> None:
    places = stage.get(Panes).places
    await stage.turns(key, lambda: places.zoomed, is_back=True)


@does("view.tab_left", "live")
async def shows_the_tab_to_the_left(stage: Stage, key: str) -> None:
    places = stage.get(Panes).places
    assert places.tab == "log"
    await stage.press(key)
    assert places.tab == "timesteps"
    assert stage.pane("timesteps").is_on_screen


@does("view.tab_right", "live")
async def shows_the_tab_to_the_right(stage: Stage, key: str) -> None:
    places = stage.get(Panes).places
    assert places.tab == "log"
    await stage.press(key)
    assert places.tab == "samples"
    assert stage.pane("samples").is_on_screen


@does("view.find", "live")
async def filters_the_log(stage: Stage, key: str) -> None:
    await stage.press(key, *"line 7")
    assert stage.get(FindBox).display
    assert stage.get(Log).filter == "line 7"
    await stage.press("escape")
    assert not stage.get(FindBox).display
    assert stage.get(Log).filter == ""


def top(stage: Stage) -> str:
    return stage.get(Log).lines[0].plain


@does("view.next_hit", "live")
async def goes_to_the_next_warning(stage: Stage, key: str) -> None:
    stage.get(Log).action_move_top()
    await stage.press(key)
    assert "warn  line 5" in top(stage)


@does("view.previous_hit", "live")
async def goes_to_the_warning_before(stage: Stage, key: str) -> None:
    stage.get(Log).action_move_bottom()
    await stage.press(key)
    assert "warn  line " in top(stage)


@does("view.log_y", "live")
async def turns_the_height_logarithmic(stage: Stage, key: str) -> None:
    charts = stage.get(Charts)
    await stage.turns(key, lambda: charts._metrics[charts.chosen].is_log, is_back=True)


@does("view.x_axis", "live")
async def shows_this_stage_alone(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.pane("charts").border_subtitle, is_back=True)


@does("view.metric", "live")
async def chooses_the_next_metric(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(Charts).chosen)


@does("view.zoom_in", "live")
async def shows_fewer_steps(stage: Stage, key: str) -> None:
    charts = stage.get(Charts)
    charts.zoom(None)
    await stage.press(key)
    assert charts._steps == 100
    assert "steps 101 to 200" in str(charts.border_subtitle)


@does("view.zoom_out", "live")
async def shows_more_steps(stage: Stage, key: str) -> None:
    charts = stage.get(Charts)
    charts.zoom(None)
    charts.zoom(0.25)
    await stage.press(key)
    assert charts._steps == 100


@does("view.zoom_all", "live")
async def shows_all_steps(stage: Stage, key: str) -> None:
    charts = stage.get(Charts)
    charts.zoom(0.25)
    await stage.press(key)
    assert charts._steps is None


@does("view.follow", "live")
async def holds_the_log_and_lets_it_follow(stage: Stage, key: str) -> None:
    stage.get(Log).action_move_bottom()
    await stage.turns(key, lambda: stage.get(Log).is_following, is_back=True)
    stage.get(Charts).focus()
    await stage.turns(key, lambda: stage.get(Charts).is_frozen, is_back=True)


@does("view.levels", "live")
async def shows_other_levels(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(Log).level)
    stage.get(Log).level = "INFO"


@does("view.wrap", "live")
async def wraps_the_log(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(Log).is_wrapped, is_back=True)


@does("view.images", "live")
async def draws_pictures_another_way(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(SamplesPane).mode)
    assert stage.get(SamplesPane).is_on_screen


@does("view.open_file", "live")
async def tells_the_picture_s_path(stage: Stage, key: str) -> None:
    await stage.press(key)
    await stage.until(lambda: "comparison.png copied" in stage.told[-1], "the path")


@does("view.report", "live")
async def shows_the_report(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert stage.told[-1] == "digits has no report yet; it is written when the run is done."
    stage.run.report_path.write_text("# digits: 16 steps to 4\n")
    stage.screen.refresh_bindings()
    await stage.opens(key, "ReportScreen")


@does("view.blink", "live")
async def shows_before_and_after_in_turn(stage: Stage, key: str) -> None:
    samples = stage.get(SamplesPane)
    seen = []
    for _ in range(3):
        await stage.press(key)
        seen.append(samples.row)
    assert seen == [1, 2, None]


@does("run.checkpoint", "live")
async def writes_a_checkpoint(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert await stage.obeyed() == ["checkpoint"]
    await stage.until(lambda: any("heckpoint" in one for one in stage.told), "the answer")


@does("run.retry", "live")
async def asks_then_begins_the_try_again(stage: Stage, key: str) -> None:
    before = stage.asked()
    await stage.opens(key, "Dialog")
    assert stage.asked() == before
    await stage.confirms(key)
    await stage.until(lambda: stage.asked() == [*before, "retry-stage"], "the command")
