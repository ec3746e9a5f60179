"""Changes of colour: from any pen to any other, shorter than afresh."""

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.style import Style
from textual.strip import Strip

from tui.display.pens import PLAIN, Pen, blank_pen, change, pen_for_blank, pen_of

COLOURS = ("", "31", "97", "38;5;7", "38;5;200", "38;2;1;2;3")
GROUNDS = ("", "41", "103", "48;5;9", "48;2;9;8;7")
PENS = st.builds(
    Pen,
    st.frozensets(st.sampled_from(("1", "3", "4", "5", "7", "9"))),
    st.sampled_from(COLOURS),
    st.sampled_from(GROUNDS),
)


def drawn(codes: str) -> tuple[object, ...]:
    screen = pyte.Screen(2, 1)
    pyte.Stream(screen).feed(codes + "x")
    return tuple(screen.buffer[0][0])


@given(PENS, PENS)
def test_a_change_ends_where_a_fresh_start_does(held: Pen, wanted: Pen) -> None:
    assert drawn(change(PLAIN, held) + change(held, wanted)) == drawn(f"\x1b[0;{wanted.codes}m")


@given(PENS, PENS)
def test_a_change_is_never_longer_than_a_fresh_start(held: Pen, wanted: Pen) -> None:
    assert len(change(held, wanted)) <= len(f"\x1b[0;{wanted.codes}m")
    assert change(held, held) == ""


@given(PENS)
def test_codes_are_read_back_as_the_pen_that_wrote_them(pen: Pen) -> None:
    assert pen_of(pen.codes) == pen


def test_bold_stays_when_dim_ends() -> None:
    both, bold = pen_of("1;2"), pen_of("1")
    assert drawn(change(PLAIN, both) + change(both, bold)) == drawn("\x1b[1m")


@pytest.mark.parametrize("system", list(ColorSystem)[:3])
def test_every_style_of_rich_is_a_pen(system: ColorSystem) -> None:
    style = Style.parse("bold italic underline reverse strike #ff8800 on color(17)")
    assert pen_of(Strip.render_ansi(style, system)).attributes == {"1", "3", "4", "7", "9"}


@given(PENS, PENS)
def test_a_blank_drawn_with_the_nearest_pen_looks_as_wanted(held: Pen, wanted: Pen) -> None:
    blank = blank_pen(wanted)
    nearest = pen_for_blank(held, blank)
    assert nearest.ground == wanted.ground
    assert (nearest.attributes & {"4", "7", "9"}) == (wanted.attributes & {"4", "7", "9"})
    if blank.attributes:
        assert nearest == wanted


def test_unknown_codes_are_refused_not_guessed() -> None:
    with pytest.raises(ValueError, match="SGR 77"):
        pen_of("77")
