"""The cell diff, cell by cell against what Textual's own frames leave on a terminal."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, InlineUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tests.tui.display.conftest import Terminal
from tui.display.cells import CellDiff

WIDTH, HEIGHT = 24, 4
CONSOLE = Console(color_system="truecolor", force_terminal=True, width=WIDTH)
STYLES = [
    None,
    Style.parse("red"),
    Style.parse("bold #102030 on #405060"),
    Style.parse("on #405060"),
    Style.parse("underline"),
    Style.parse("reverse blue"),
    Style.parse("strike italic"),
]
LETTERS = [*"ab x=─█●é", "한", "字", "🎉", "e\u0301"]


def strip(rng: Random, width: int) -> Strip:
    """A strip of just so many cells, in a few styles, blanks and wide characters among them."""
    segments: list[Segment] = []
    left = width
    while left:
        text = "".join(rng.choices(LETTERS, k=rng.randint(1, 8)))
        while cell_len(text) > left:
            text = text[:-1]
        text = text or " "
        segments.append(Segment(text, rng.choice(STYLES)))
        left -= cell_len(text)
    return Strip(segments, width)


def update(rng: Random) -> Any:
    """A whole frame, or a change of some cuts of some rows."""
    if rng.random() < 0.4:
        rows = [[strip(rng, WIDTH)] for _ in range(HEIGHT)]
        return LayoutUpdate(rows, Region(0, 0, WIDTH, HEIGHT))  # pyright: ignore[reportArgumentType]
    cuts = sorted({0, WIDTH} | {rng.randint(1, WIDTH - 1) for _ in range(3)})
    chops, spans = [], []
    for y in range(HEIGHT):
        # between two cuts the strip is wholly new or absent, as the compositor makes them
        pairs = [(x, end, rng.random() < 0.5) for x, end in pairwise(cuts)]
        chops.append({x: strip(rng, end - x) if new else None for x, end, new in pairs})
        spans += [(y, x, end) for x, end, new in pairs if new]
    return ChopsUpdate(chops, spans or [(0, 0, 0)], [cuts[1:]] * HEIGHT)


def stock(frame: Any) -> str:
    return frame.render_segments(CONSOLE)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 1 << 32))
def test_after_every_frame_the_terminal_shows_what_the_stock_frame_shows(seed: int) -> None:
    rng = Random(seed)
    diff, lean, whole = CellDiff(), Terminal(WIDTH, HEIGHT), Terminal(WIDTH, HEIGHT)
    blank = LayoutUpdate([[Strip.blank(WIDTH)]] * HEIGHT, Region(0, 0, WIDTH, HEIGHT))  # pyright: ignore[reportArgumentType]
    for frame in [blank, *(update(rng) for _ in range(5))]:
        output = diff.frame(frame, CONSOLE, (WIDTH, HEIGHT))
        assert output is not None
        lean.feed(output)
        whole.feed(stock(frame))
        for row, other in zip(lean.cells(), halves_marked(whole.cells()), strict=True):
            for cell, wanted in zip(row, other, strict=True):
                assert cell == wanted if wanted != "half" else cell[0] == " "


def halves_marked(rows: list[list[Any]]) -> list[list[Any]]:
    """A half of a wide character whose other half was overwritten is a blank; terminals differ on
    its colours."""
    for row in rows:
        is_wide = [cell_len(cell[0]) == 2 for cell in row]
        is_second = [cell[0] == "" for cell in row]
        for x in range(len(row)):
            is_torn = is_wide[x] and (x + 1 == len(row) or not is_second[x + 1])
            if is_torn or (is_second[x] and not (x and is_wide[x - 1])):
                row[x] = "half"
    return rows


@pytest.fixture
def page() -> Callable[..., LayoutUpdate]:
    def make(*rows: str, style: Style | None = None) -> LayoutUpdate:
        lines = [
            [Strip([Segment(row.ljust(WIDTH), style)], WIDTH)]
            for row in (*rows, *[""] * HEIGHT)[:HEIGHT]
        ]
        return LayoutUpdate(lines, Region(0, 0, WIDTH, HEIGHT))  # pyright: ignore[reportArgumentType]

    return make


def test_an_equal_frame_costs_nothing(page: Callable[..., LayoutUpdate]) -> None:
    diff = CellDiff()
    diff.frame(page("hello", style=STYLES[2]), CONSOLE, (WIDTH, HEIGHT))
    assert diff.frame(page("hello", style=STYLES[2]), CONSOLE, (WIDTH, HEIGHT)) == ""


def test_one_changed_letter_costs_a_move_and_a_letter(page: Callable[..., LayoutUpdate]) -> None:
    diff = CellDiff()
    diff.frame(page("step 41", "z"), CONSOLE, (WIDTH, HEIGHT))
    assert diff.frame(page("step 42", "z"), CONSOLE, (WIDTH, HEIGHT)) == "\x1b[1;7H2"


def test_small_gaps_are_written_and_large_ones_jumped(page: Callable[..., LayoutUpdate]) -> None:
    diff = CellDiff()
    diff.frame(page("a bcd e fghijk l"), CONSOLE, (WIDTH, HEIGHT))
    assert (
        diff.frame(page("A bcd E fghijk L"), CONSOLE, (WIDTH, HEIGHT)) == "\x1b[1HA\x1b[5CE\x1b[8CL"
    )
    output = diff.frame(page("X bcY E"), CONSOLE, (WIDTH, HEIGHT))
    assert output is not None
    assert output.startswith("\x1b[1HX bcY")


def test_what_terminals_draw_in_different_widths_is_followed_by_an_absolute_move(
    page: Callable[..., LayoutUpdate],
) -> None:
    diff = CellDiff()
    diff.frame(page(), CONSOLE, (WIDTH, HEIGHT))
    family = "👩\u200d💻"
    rows = [[Strip([Segment(f"a{family}b".ljust(WIDTH - 1))], WIDTH)], *[[Strip.blank(WIDTH)]] * 3]
    frame = LayoutUpdate(rows, Region(0, 0, WIDTH, HEIGHT))  # pyright: ignore[reportArgumentType]
    assert diff.frame(frame, CONSOLE, (WIDTH, HEIGHT)) == f"\x1b[1Ha{family}\x1b[1;4Hb"


def test_a_picture_s_escapes_go_out_as_they_are_and_are_painted_over_whole(
    page: Callable[..., LayoutUpdate],
) -> None:
    diff = CellDiff()
    diff.frame(page("picture"), CONSOLE, (WIDTH, HEIGHT))
    sixel = "\x1bPq#0;2;0;0;0~\x1b\\"
    picture = ChopsUpdate([{0: Strip([Segment(sixel)], 7)}], [(0, 0, WIDTH)], [[WIDTH]])
    output = diff.frame(picture, CONSOLE, (WIDTH, HEIGHT))
    assert output is not None
    assert sixel in output
    again = diff.frame(page("picture"), CONSOLE, (WIDTH, HEIGHT))
    assert again is not None
    assert "picture" in again


def test_forgetting_writes_every_cell_again(page: Callable[..., LayoutUpdate]) -> None:
    diff = CellDiff()
    first = diff.frame(page("hello"), CONSOLE, (WIDTH, HEIGHT))
    diff.forget()
    assert diff.frame(page("hello"), CONSOLE, (WIDTH, HEIGHT)) == first


def test_an_update_of_another_kind_is_left_to_textual() -> None:
    assert CellDiff().frame(InlineUpdate([]), CONSOLE, (WIDTH, HEIGHT)) is None


def test_colours_are_those_of_the_terminal(page: Callable[..., LayoutUpdate]) -> None:
    few = Console(color_system="standard", force_terminal=True, width=WIDTH)
    output = CellDiff().frame(page("x", style=Style.parse("#ff0000")), few, (WIDTH, HEIGHT))
    assert output is not None
    assert "38;2" not in output
    assert "\x1b[31m" in output
