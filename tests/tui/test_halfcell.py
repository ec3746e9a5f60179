"""Pictures as characters: what is drawn is what was there, as far as the terminal can show it."""

import pytest
from PIL import Image

from tui.halfcell import MODES, Palette, beside, draw, pixels_per_cell, width_of

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3


def picture(*rows: list[tuple[int, ...]]) -> Image.Image:
    image = Image.new("RGB", (len(rows[0]), len(rows)))
    image.putdata([colour for row in rows for colour in row])
    return image


def test_a_half_cell_shows_two_pixels_exactly() -> None:
    (row,) = draw(picture([RED, WHITE], [GREEN, WHITE]), 2, 1, "cells", Palette())
    assert row == [("▀", RED, GREEN), (" ", None, WHITE)]


def test_runs_of_one_colour_are_one_piece() -> None:
    (row,) = draw(picture([RED] * 6, [RED] * 6), 6, 1, "cells", Palette())
    assert row == [("      ", None, RED)]
    (row,) = draw(picture([RED, RED, GREEN, RED], [RED, RED, RED, RED]), 4, 1, "cells", Palette())
    assert row == [("  ▀ ", GREEN, RED)], "a blank takes the ink of its neighbour"


@pytest.mark.parametrize(
    ("quarters", "glyph"),
    [
        ([[RED, BLUE], [RED, BLUE]], "▌"),
        ([[RED, RED], [BLUE, BLUE]], "▀"),
        ([[BLUE, RED], [RED, RED]], "▛"),
        ([[RED, BLUE], [BLUE, RED]], "▞"),
        ([[RED, RED], [RED, RED]], " "),
    ],
)
def test_a_quadrant_shows_any_two_colours_exactly(
    quarters: list[list[tuple[int, ...]]], glyph: str
) -> None:
    ((text, ink, ground),) = draw(picture(*quarters), 1, 1, "quadrants", Palette())[0]
    shapes = {"▌": "▐", "▀": "▄", "▛": "▗", "▞": "▚", " ": " "}
    if text == glyph or glyph == " ":
        assert text == glyph
    else:  # the same picture with ink and ground exchanged
        assert text in (shapes[glyph], {v: k for k, v in shapes.items()}.get(glyph), "▘")
    assert {ink, ground} - {None} == {one for row in quarters for one in row}


def test_three_colours_in_a_quadrant_become_the_nearest_two() -> None:
    near = (250, 5, 0)
    ((_, ink, ground),) = draw(picture([RED, near], [BLUE, BLUE]), 1, 1, "quadrants", Palette())[0]
    assert {ink, ground} == {(252, 2, 0), BLUE}


def test_ascii_goes_from_blank_to_the_densest_sign_and_turns_round_on_paper() -> None:
    image = picture([BLACK, (128,) * 3, WHITE])
    ((text, ink, ground),) = draw(image, 3, 1, "ascii", Palette())[0]
    assert (text, ink, ground) == (" +@", None, None)
    assert draw(image, 3, 1, "ascii", Palette(is_dark=False))[0][0][0] == "@=" + " "


@pytest.mark.parametrize(
    ("palette", "mode", "left"),
    [
        (Palette(), "cells", "cells"),
        (Palette(256), "quadrants", "quadrants"),
        (Palette(16), "cells", "shades"),
        (Palette(0), "quadrants", "shades"),
        (Palette(is_ascii=True), "cells", "ascii"),
        (Palette(0), "ascii", "ascii"),
    ],
)
def test_what_the_terminal_cannot_show_becomes_the_next_best(
    palette: Palette, mode: str, left: str
) -> None:
    assert palette.mode(mode) == left


def test_without_colours_nothing_is_coloured_and_shades_are_plain_blocks() -> None:
    image = picture([BLACK, (70,) * 3, (120,) * 3, (190,) * 3, WHITE])
    assert draw(image, 5, 1, "cells", Palette(0)) == [[(" ░▒▓█", None, None)]]


@pytest.mark.parametrize("colour", [(1, 2, 3), (94, 95, 96), (200, 30, 90), (8, 8, 8), WHITE])
def test_256_colours_are_those_the_terminal_has(colour: tuple[int, int, int]) -> None:
    ((_, _, ground),) = draw(picture([colour], [colour]), 1, 1, "cells", Palette(256))[0]
    assert ground is not None
    in_cube = all(part in (0, 95, 135, 175, 215, 255) for part in ground)
    assert in_cube or (len(set(ground)) == 1 and (ground[0] - 8) % 10 == 0)
    assert max(abs(a - b) for a, b in zip(ground, colour, strict=True)) <= 48


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (16, 8), (40, 20)])
def test_a_picture_has_the_size_that_was_asked_for(mode: str, size: tuple[int, int]) -> None:
    image = Image.effect_noise((12, 9), 80).convert("RGB")
    rows = draw(image, *size, mode, Palette())
    assert len(rows) == size[1]
    assert {width_of(row) for row in rows} == {size[0]}
    assert pixels_per_cell(mode) in ((1, 1), (1, 2), (2, 2))


def test_enlarging_by_a_whole_number_keeps_pixels_sharp() -> None:
    (row,) = draw(picture([RED, BLUE]), 4, 1, "cells", Palette())
    assert row == [("  ", None, RED), ("  ", None, BLUE)]


def test_pictures_stand_beside_one_another() -> None:
    one = draw(picture([RED], [RED]), 1, 1, "cells", Palette())
    assert beside([one, one]) == [[(" ", None, RED), (" ", None, None), (" ", None, RED)]]
