"""What the keys of Runs alone do."""

from engine.config import recipe_names
from engine.run import RunFolder, shelf
from tests.tui.keys.stage import Stage, does
from tui.screens.runs import RunsScreen
from tui.widgets.run_table import RunTable

THROWN = "other-3"


def select(stage: Stage, name: str) -> RunTable:
    """Put the cursor on a run."""
    table = stage.get(RunTable)
    table.focus()
    table.cursor = [row.name for row in table.rows].index(name)
    return table


@does("view.sort", "runs")
async def sorts_by_the_next_column(stage: Stage, key: str) -> None:
    await stage.turns(key, lambda: stage.get(RunTable).sort)


@does("view.reload", "runs")
async def reads_every_run_again(stage: Stage, key: str) -> None:
    screen = stage.screen
    assert isinstance(screen, RunsScreen)
    await stage.turns(key, lambda: id(screen._listing))


@does("runs.new", "runs")
async def shows_the_chosen_recipe_s_settings(stage: Stage, key: str) -> None:
    await stage.opens(key, "Pick")
    assert stage.app.current_mode == "runs"
    await stage.press(key)
    await stage.until(lambda: stage.over == "Pick", "the list")
    await stage.press("down", "enter")
    await stage.until(lambda: stage.app.current_mode == "config", "Config")
    assert stage.app.config_source == recipe_names()[1]


@does("view.report", "runs")
async def shows_the_report(stage: Stage, key: str) -> None:
    select(stage, "other-1")
    await stage.press(key)
    assert stage.told[-1] == "other-1 has no report yet; it is written when the run is done."
    select(stage, "ladder")
    await stage.pilot.pause()
    await stage.opens(key, "ReportScreen")


@does("runs.mark", "runs")
async def marks_for_compare(stage: Stage, key: str) -> None:
    table = select(stage, "smoke")
    await stage.press(key)
    assert [path.name for path in stage.app.marked] == ["smoke"]
    select(stage, "smoke")
    await stage.press(key)
    assert not stage.app.marked
    assert table.has_focus


@does("runs.archive", "runs")
async def archives_and_takes_back(stage: Stage, key: str) -> None:
    select(stage, "smoke")
    run = RunFolder.open(stage.run.path.parent / "smoke")
    await stage.press(key)
    await stage.until(lambda: shelf.is_archived(run), "the archive")
    await stage.press("slash", *"archived:yes")
    await stage.press("enter")
    table = stage.get(RunTable)
    await stage.until(lambda: table.has_focus and [row.name for row in table.rows] == ["smoke"])
    await stage.press(key)
    await stage.until(lambda: not shelf.is_archived(run), "taking it back")
    await stage.press("escape")


@does("runs.trash", "runs")
async def asks_then_throws_away(stage: Stage, key: str) -> None:
    select(stage, THROWN)
    await stage.opens(key, "Dialog")
    assert (stage.run.path.parent / THROWN).is_dir()
    await stage.confirms(key)
    await stage.until(lambda: not (stage.run.path.parent / THROWN).exists(), "the trash")
    await stage.press("u")


@does("runs.undo", "runs")
async def takes_back_what_was_thrown_away(stage: Stage, key: str) -> None:
    folder = stage.run.path.parent / THROWN
    select(stage, THROWN)
    await stage.confirms("x")
    await stage.until(lambda: not folder.exists(), "the trash")
    await stage.press(key)
    await stage.until(folder.is_dir, "the run")
    await stage.until(lambda: THROWN in [row.name for row in stage.get(RunTable).rows])


@does("runs.empty_trash", "runs")
async def asks_then_deletes_for_good(stage: Stage, key: str) -> None:
    root = stage.run.path.parent
    select(stage, THROWN)
    await stage.confirms("x")
    await stage.until(lambda: len(shelf.list_trash(root)) == 1, "the trash")
    await stage.opens(key, "Dialog")
    assert len(shelf.list_trash(root)) == 1
    await stage.confirms(key)
    await stage.until(lambda: not shelf.list_trash(root), "the emptying")
