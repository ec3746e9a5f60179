"""What the keys of the app, of lists, and of more than one screen do."""

from tests.tui.fake_worker import UP_TO_TRAINING
from tests.tui.keys.stage import Stage, does
from tui.screens.compare import TABS
from tui.screens.runs import FilterBox
from tui.widgets.pane import Pane
from tui.widgets.run_table import RunTable

SCREENS = {"app.runs": "runs", "app.config": "config", "app.live": "live", "app.compare": "compare"}


@does("app.help", "app")
async def shows_help(stage: Stage, key: str) -> None:
    await stage.opens(key, "HelpScreen")


@does("app.palette", "app")
async def shows_the_palette(stage: Stage, key: str) -> None:
    await stage.opens(key, "CommandPalette")


@does("app.help", "over")
@does("app.palette", "over")
async def opens_over_what_is_read(stage: Stage, key: str) -> None:
    read, wanted = stage.app.screen, "CommandPalette" if key == "ctrl+p" else "HelpScreen"
    await stage.press(key)
    await stage.until(lambda: stage.over == wanted, wanted)
    await stage.press("escape")
    await stage.until(lambda: stage.app.screen is read, "its end")


@does("app.runs", "app")
@does("app.config", "app")
@does("app.live", "app")
@does("app.compare", "app")
async def goes_to_a_screen(stage: Stage, key: str) -> None:
    wanted = ("runs", "config", "live", "compare")[int(key) - 1]
    await stage.press(key)
    await stage.until(lambda: stage.app.current_mode == wanted, wanted)


@does("app.theme", "app")
async def takes_the_next_theme(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.app.theme)


@does("app.themes", "app")
async def lists_the_themes(stage: Stage, key: str) -> None:
    await stage.opens(key, "ThemesScreen")


@does("app.notices", "app")
async def lists_the_notices(stage: Stage, key: str) -> None:
    await stage.opens(key, "NoticesScreen")


@does("app.back", "app")
async def closes_what_is_open(stage: Stage, key: str) -> None:
    await stage.press("question_mark")
    await stage.until(lambda: bool(stage.over), "help")
    await stage.press(key)
    await stage.until(lambda: not stage.over, "its end")
    await stage.press(key, key)
    assert stage.app.is_running
    assert stage.app.current_mode == stage.mode


@does("app.copy", "app", "over")
async def says_how_to_leave(stage: Stage, key: str) -> None:
    count = len(stage.told)
    await stage.press(key)
    assert [one[:10] for one in stage.told[count:]] == ["q detaches"]
    assert stage.app.is_running


@does("app.redraw", "app", "over")
async def forgets_what_the_terminal_shows(stage: Stage, key: str) -> None:
    assert stage.app._cells is not None
    stage.app._cells._size = (1, 1)
    await stage.press(key)
    assert stage.app._cells._size == (0, 0)


@does("app.suspend", "app", "over")
async def gives_the_shell_its_terminal(stage: Stage, key: str) -> None:
    done: list[str] = []
    stage.patch.setattr(stage.app, "action_suspend_process", lambda: done.append("suspended"))
    await stage.press(key)
    if stage.mode != "config":  # there it is undo
        await stage.until(lambda: done == ["suspended"], "the shell")
    assert len(done) == (stage.mode != "config")


@does("app.detach", "app")
async def leaves_and_training_goes_on(stage: Stage, key: str) -> None:
    left: list[str] = []
    stage.patch.setattr(stage.app, "exit", lambda: left.append("left"))
    stage.app.current_run = stage.run
    before = stage.asked()
    await stage.press(key)
    await stage.until(lambda: left == ["left"], "leaving")
    assert stage.app.last_words == [f"{stage.run.name} works on. `diffopt-tui` shows it again."]
    assert stage.asked() == before


@does("app.stop", "app")
async def asks_then_stops_the_run_and_leaves(stage: Stage, key: str) -> None:
    left: list[str] = []
    stage.patch.setattr(stage.app, "exit", lambda: left.append("left"))
    stage.app.current_run = stage.run
    before = stage.asked()
    await stage.opens(key, "Dialog")
    assert (left, stage.asked()) == ([], before)
    await stage.confirms(key)
    await stage.until(lambda: bool(left), "leaving")
    assert stage.asked() == [*before, "stop"]


# Lists: on the table of runs


def at_row(stage: Stage, row: int) -> RunTable:
    table = stage.get(RunTable)
    table.focus()
    table.cursor = row
    return table


@does("pane.down", "pane")
async def goes_down(stage: Stage, key: str) -> None:
    table = at_row(stage, 3)
    await stage.press(key)
    assert table.cursor == 4


@does("pane.up", "pane")
async def goes_up(stage: Stage, key: str) -> None:
    table = at_row(stage, 3)
    await stage.press(key)
    assert table.cursor == 2


@does("pane.page_down", "pane")
async def goes_a_page_down(stage: Stage, key: str) -> None:
    table = at_row(stage, 0)
    await stage.press(key)
    assert table.cursor == min(table._page, len(table.rows) - 1)


@does("pane.page_up", "pane")
async def goes_a_page_up(stage: Stage, key: str) -> None:
    table = at_row(stage, 99)
    last = table.cursor
    await stage.press(key)
    assert table.cursor == max(0, last - table._page)


@does("pane.top", "pane")
async def goes_to_the_top(stage: Stage, key: str) -> None:
    table = at_row(stage, 99)
    await stage.press(key)
    assert table.cursor == 0


@does("pane.bottom", "pane")
async def goes_to_the_bottom(stage: Stage, key: str) -> None:
    table = at_row(stage, 0)
    await stage.press(key)
    assert table.cursor == len(table.rows) - 1 > 5


@does("pane.open", "pane")
async def opens_the_run(stage: Stage, key: str) -> None:
    table = at_row(stage, 0)
    await stage.press(key)
    await stage.until(lambda: stage.app.current_mode == "live", "Live")
    assert table.row is not None
    assert stage.app.current_run is not None
    assert stage.app.current_run.path == table.row.path


def widened(stage: Stage) -> Pane:
    """Return a pane that is wider than its place, with the focus."""
    pane = stage.pane("details")
    stage.patch.setattr(stage.screen, "_show_details", lambda: None)
    pane.set_lines(["wide " * 80])
    pane.focus()
    return pane


@does("pane.left", "pane")
async def looks_left(stage: Stage, key: str) -> None:
    pane = widened(stage)
    await stage.pilot.pause()
    pane.scroll_to(x=16, animate=False)
    await stage.press(key)
    assert pane.scroll_offset.x == 8


@does("pane.right", "pane")
@does("list.right", "runs")
async def looks_right(stage: Stage, key: str) -> None:
    pane = widened(stage)
    await stage.pilot.pause()
    pane.scroll_to(x=0, animate=False)
    await stage.press(key)
    assert pane.scroll_offset.x == 8


# Keys of several screens


@does("pane.next", "runs", "config", "live", "compare")
async def focuses_the_next_pane(stage: Stage, key: str) -> None:
    await moves_the_focus(stage, key, 1)


@does("pane.previous", "runs", "config", "live", "compare")
async def focuses_the_pane_before(stage: Stage, key: str) -> None:
    await moves_the_focus(stage, key, -1)


async def moves_the_focus(stage: Stage, key: str, by: int) -> None:
    screen = stage.screen
    chain: list[str | None] = [widget.id for widget in screen.focus_chain]
    if stage.mode == "compare" and screen.is_narrow:  # panes share one place
        chain = list(TABS)
    assert screen.focused is not None
    wanted = chain[(chain.index(screen.focused.id) + by) % len(chain)]
    await stage.press(key)
    assert screen.focused.id == wanted
    assert screen.focused.region.area


@does("view.zoom", "runs", "config", "compare")
async def shows_the_pane_alone(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.screen.maximized, is_back=True)


@does("view.find", "runs")
async def filters_the_runs(stage: Stage, key: str) -> None:
    await stage.press(key)
    box = stage.get(FilterBox)
    assert box.display
    assert stage.screen.focused is box
    await stage.press("escape")
    assert not box.display


@does("runs.duplicate", "runs", "live")
async def opens_a_copy_of_the_settings(stage: Stage, key: str) -> None:
    await stage.press(key)
    await stage.until(lambda: stage.app.current_mode == "config", "Config")
    assert stage.app.is_clone
    assert stage.app.config_source == stage.run


@does("runs.edit", "runs", "live")
async def opens_the_settings(stage: Stage, key: str) -> None:
    await stage.press(key)
    await stage.until(lambda: stage.app.current_mode == "config", "Config")
    assert not stage.app.is_clone
    assert stage.app.config_source == stage.run


# Steering, on Runs and Live alike


@does("run.pause", "runs", "live")
@does("run.pause_space", "live")
async def pauses_and_goes_on(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert await stage.obeyed() == ["pause"]
    await stage.until(lambda: state_of(stage) == "paused", "the pause")
    await stage.press(key)
    assert await stage.obeyed() == ["resume"]
    await stage.until(lambda: state_of(stage) == "running", "going on")


@does("run.pause_free", "runs", "live")
async def pauses_and_frees(stage: Stage, key: str) -> None:
    await stage.press(key)
    assert await stage.obeyed() == ["pause-and-free"]
    await stage.until(lambda: state_of(stage) == "paused", "the pause")
    await stage.press("r")
    assert await stage.obeyed() == ["resume"]
    stage.worker.emit(*UP_TO_TRAINING[3:])  # what was freed is begun again
    await stage.until(lambda: state_of(stage) == "running", "going on")


@does("run.resume", "runs", "live")
async def goes_on(stage: Stage, key: str) -> None:
    await stage.press("p")
    await stage.obeyed()
    await stage.until(lambda: state_of(stage) == "paused", "the pause")
    await stage.press(key)
    assert await stage.obeyed() == ["resume"]
    await stage.until(lambda: state_of(stage) == "running", "going on")


@does("run.cancel_stage", "runs", "live")
async def asks_then_cancels_the_stage(stage: Stage, key: str) -> None:
    before = stage.asked()
    await stage.opens(key, "Dialog")
    assert stage.asked() == before
    await stage.confirms(key)
    await stage.until(lambda: stage.asked() == [*before, "cancel-stage"], "the command")


@does("run.cancel_run", "runs", "live")
async def asks_for_the_name_then_cancels_the_run(stage: Stage, key: str) -> None:
    before = stage.asked()
    await stage.opens(key, "Dialog")
    await stage.press(key)
    await stage.until(lambda: stage.over == "Dialog", "the question")
    await stage.press(*"digit", "enter")
    assert stage.over == "Dialog"
    assert stage.asked() == before
    await stage.press("s", "enter")
    await stage.until(lambda: stage.asked() == [*before, "cancel-run"], "the command")


def state_of(stage: Stage) -> str:
    """Return the state of the run at work as the screen knows it."""
    if stage.mode == "live":
        return stage.screen.snapshot.state  # pyright: ignore[reportAttributeAccessIssue]
    rows = stage.get(RunTable).rows
    return next(row.state for row in rows if row.path == stage.run.path)
