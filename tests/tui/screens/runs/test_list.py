"""The list of runs: what it shows, filters, sorts and marks, and where its keys lead."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.run import RunFolder, shelf
from tests.tui.conftest import SIZES
from tests.tui.screens.runs.stage import AT_WORK, FAILED, STARTED, Stage, make, worked_on
from tests.tui.waiting import until
from tui.widgets.pane import Pane


@pytest.mark.parametrize("size", SIZES)
def test_without_runs_it_says_how_to_get_one(
    play: Callable[..., None], size: tuple[int, int]
) -> None:
    async def story(stage: Stage) -> None:
        told = stage.text("runs")
        assert "No runs yet" in told
        assert "n  starts one" in told
        assert "No run is selected" in stage.text("details")
        for key in ("space", "enter", "d", "e", "A", "x", "p", "P", "r", "c", "C", "s", "u", "f5"):
            await stage.press(key)
        assert stage.app.current_mode == "runs"
        assert "No run is selected" in stage.told

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_runs_are_listed_newest_first_with_what_is_known(
    root: Path,
    recorded: Callable[[str], RunFolder],
    play: Callable[..., None],
    size: tuple[int, int],
) -> None:
    recorded("smoke")
    make(root, "broken", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        assert stage.names == ["broken", "smoke"]
        table = stage.text("runs").splitlines()
        assert "✗ failed" in table[0]
        assert "✓ done" in table[1]
        assert "100 %" in table[1]
        assert "0.97" in table[1]
        assert "the loss is nan" in stage.text("details")
        await stage.press("j")
        assert stage.here == "smoke"
        await until(lambda: "loss" in stage.text("details"), stage.pilot.pause)
        assert "10→4 steps" in stage.text("details")
        assert stage.screen.query_one("#details", Pane).border_title == "smoke"
        if size[0] >= 100:
            assert "DISK" in stage.text("machine")
            assert "TRAIN nothing" in stage.text("machine")
        else:
            assert "DISK" in str(stage.screen.query_one("#details", Pane).border_subtitle)

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_filter_narrows_while_typing_and_stays_in_sight(
    root: Path,
    recorded: Callable[[str], RunFolder],
    play: Callable[..., None],
    size: tuple[int, int],
) -> None:
    recorded("smoke")
    make(root, "broken", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        await stage.press("slash", *"state:done")
        assert stage.names == ["smoke"]
        await stage.press("space", *"score")
        await stage.press("greater_than_sign", "x")
        assert "x is no figure" in stage.banner
        assert stage.names == ["smoke"], "what is not understood changes nothing"
        await stage.press("backspace", *"0.9", "enter")
        assert stage.names == ["smoke"]
        title = str(stage.screen.table.border_title)
        assert "Runs (1 of 2)" in title
        assert "/ state:done score>0.9" in title
        await stage.press("j", "space")
        assert len(stage.app.marked) == 1, "keys are the table's again"
        await stage.press("escape")
        assert stage.names == ["broken", "smoke"]
        await stage.press("slash", *"nobody", "enter")
        assert "No run matches nobody" in stage.text("runs")
        await stage.press("slash", "escape")
        assert len(stage.names) == 2

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_typed_into_the_filter_is_drawn_and_what_is_wrong_with_it_stays(
    root: Path, play: Callable[..., None], size: tuple[int, int]
) -> None:
    make(root, "broken", STARTED, FAILED)

    async def story(stage: Stage) -> None:
        await stage.press("slash", *"foo", "colon", *"bar")
        assert "foo:bar" in [line.strip() for line in stage.drawn.splitlines()]
        stage.screen._list()  # as every second
        await stage.settled()
        problem = stage.banner
        assert "foo" in problem
        assert problem[:40] in stage.drawn
        await stage.press("escape")
        assert problem[:40] not in stage.drawn
        await stage.press("slash", *"foo", "colon", *"bar", "enter")
        assert problem[:40] in stage.drawn
        await stage.press("escape")
        assert problem[:40] not in stage.drawn

    play(story, size)


def test_s_sorts_by_the_next_column_and_the_cursor_stays_with_its_run(
    root: Path, play: Callable[..., None]
) -> None:
    for name in ("b", "c", "a"):
        make(root, name)

    async def story(stage: Stage) -> None:
        assert stage.names == ["a", "c", "b"], "newest first"
        await stage.press("j")
        assert stage.here == "c"
        await stage.press("s")
        assert stage.names == ["a", "b", "c"]
        assert stage.here == "c"
        for _ in range(6):
            await stage.press("s")
        assert stage.screen.table.sort == "eta"
        await stage.press("s")
        assert stage.names == ["a", "c", "b"]
        await stage.press("s")

    async def the_next_time(stage: Stage) -> None:
        assert stage.names == ["a", "b", "c"], "by name, as it was left"

    play(story)
    play(the_next_time)


def test_a_new_run_does_not_move_the_cursor_to_another(
    root: Path, play: Callable[..., None]
) -> None:
    make(root, "old")
    make(root, "older")

    async def story(stage: Stage) -> None:
        await stage.press("j")
        assert stage.here == "old"
        make(root, "newest")
        await stage.settled()
        assert stage.names[0] == "newest"
        assert stage.here == "old"
        shelf.trash(RunFolder.open(root / "old"), client="another")
        await stage.settled()
        assert stage.names == ["newest", "older"]
        assert stage.here == "older"

    play(story)


@pytest.mark.parametrize("size", SIZES)
def test_space_marks_for_compare_and_takes_the_mark_away(
    root: Path, play: Callable[..., None], size: tuple[int, int]
) -> None:
    for name in "ab":
        make(root, name)

    async def story(stage: Stage) -> None:
        await stage.press("space", "space")
        assert [path.name for path in stage.app.marked] == ["b", "a"]
        assert "2 marked" in str(stage.screen.table.border_subtitle)
        assert [line[0] for line in stage.text("runs").splitlines()] == ["◆", "▲"]
        await stage.press("g", "space")
        assert [path.name for path in stage.app.marked] == ["a"]
        assert [line[0] for line in stage.text("runs").splitlines()] == [" ", "▲"], "as it was"
        shelf.trash(RunFolder.open(root / "a"), client="another")
        await stage.settled()
        assert list(stage.app.marked) == []

    play(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_enter_opens_live_and_e_and_d_open_config(
    root: Path,
    recorded: Callable[[str], RunFolder],
    play: Callable[..., None],
    size: tuple[int, int],
) -> None:
    run = recorded("smoke")

    async def story(stage: Stage) -> None:
        await stage.press("enter")
        assert stage.app.current_mode == "live"
        assert stage.app.current_run == run
        await stage.press("1", "e")
        assert stage.app.current_mode == "config"
        assert stage.app.config_source == run
        assert not stage.app.is_clone
        await stage.press("1", "d")
        assert stage.app.current_mode == "config"
        assert stage.app.is_clone

    play(story, size)


def test_n_offers_the_recipes_and_esc_takes_none(play: Callable[..., None]) -> None:
    async def story(stage: Stage) -> None:
        await stage.press("n")
        (offered,) = stage.app.screen.query(Pane)
        assert {"demo", "smoke"} <= {line.plain.split()[0] for line in offered.lines}
        assert all(len(line.plain.split()) > 3 for line in offered.lines), "each says what it is"
        await stage.press("escape")
        assert stage.app.current_mode == "runs"
        await stage.press("n", "enter")
        assert stage.app.current_mode == "config"
        assert stage.app.config_source == "demo"

    play(story)


def test_a_folder_that_cannot_be_read_is_said_in_the_banner(
    root: Path, play: Callable[..., None]
) -> None:
    root.write_text("a file")

    async def story(stage: Stage) -> None:
        assert "cannot be read" in stage.banner

    play(story)


def test_the_end_of_a_run_is_told(root: Path, play: Callable[..., None]) -> None:
    with worked_on(root, "live", *AT_WORK) as (_, journal):

        async def story(stage: Stage) -> None:
            assert stage.told == ""
            journal.emit(FAILED)
            await stage.settled()
            assert "live is failed" in stage.told

        play(story)


def test_what_other_dashboards_do_is_seen(root: Path, play: Callable[..., None]) -> None:
    make(root, "a")

    async def story(stage: Stage) -> None:
        note = {"time": 1.0, "by": "ann@mac 1 diffopt-tui"}
        (root / "a" / "archived.json").write_text(json.dumps(note))
        await stage.settled()
        assert stage.names == []
        (root / "a" / "archived.json").unlink()
        await stage.settled()
        assert stage.names == ["a"]

    play(story)


def test_the_mouse_selects_and_a_second_click_opens(
    root: Path, recorded: Callable[[str], RunFolder], play: Callable[..., Any]
) -> None:
    recorded("smoke")
    make(root, "newer")

    async def story(stage: Stage) -> None:
        await stage.pilot.click("#runs", offset=(10, 3))
        await stage.settled()
        assert stage.here == "smoke"
        await stage.pilot.click("#runs", offset=(10, 3), times=2)
        await stage.settled()
        assert stage.app.current_mode == "live"

    play(story)
