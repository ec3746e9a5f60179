"""Pictures as characters: half cells, quadrants, shades or ASCII. Pure; no Textual.

Pillow is imported inside, on the first picture. A cell is about twice as high as wide, so a half
cell is a square pixel: ``▀`` shows two of them, one as ink and one as ground. Colours are rounded
to what the terminal has before runs of one colour are joined, so that a picture costs few bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.run.fact import Fact

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = ("cells", "quadrants", "ascii")
Colour = tuple[int, int, int]
Piece = tuple[str, Colour | None, Colour | None]  # text, ink, ground
Row = list[Piece]

_ASCII_RAMP = " .:-=+*#%@"
_SHADES = " ░▒▓█"
# by the bits of a cell's quarters that are ink: 1 upper left, 2 upper right, 4 lower left, 8 right
_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_CUBE = (0, 95, 135, 175, 215, 255)
_SIXTEEN: tuple[Colour, ...] = (
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128),
    (192, 192, 192), (128, 128, 128), (255, 0, 0), (0, 255, 0), (255, 255, 0), (0, 0, 255),
    (255, 0, 255), (0, 255, 255), (255, 255, 255),
)  # fmt: skip


class Palette(Fact):
    """What the terminal can show."""

    colours: int = 1 << 24  # 0: none at all
    is_ascii: bool = False
    is_dark: bool = True  # light text on a dark ground

    def mode(self, wanted: str) -> str:
        """Return the mode that is left of the one wanted: cells need colours and Unicode."""
        if self.is_ascii or wanted == "ascii":
            return "ascii"
        return "shades" if self.colours <= 16 else wanted


def pixels_per_cell(mode: str) -> tuple[int, int]:
    """Return how many pixels (across, down) a character shows."""
    return {"cells": (1, 2), "quadrants": (2, 2)}.get(mode, (1, 1))


def draw(image: Image, columns: int, rows: int, mode: str, palette: Palette) -> list[Row]:
    """Return the picture as `rows` rows of pieces, together `columns` characters wide each.

    `mode` is one of MODES; where the palette cannot show it, the next best is taken.
    """
    mode = palette.mode(mode)
    across, down = pixels_per_cell(mode)
    grid = _pixels(image, columns * across, rows * down)
    if mode in ("ascii", "shades"):
        ramp = _ASCII_RAMP if mode == "ascii" else _SHADES
        return [[("".join(_shaded(row, ramp, palette.is_dark)), None, None)] for row in grid]
    rounded = _rounding(palette.colours)
    cell = _half_cell if mode == "cells" else _quadrant
    out: list[Row] = []
    for top in range(0, len(grid), 2):
        upper, lower = grid[top], grid[top + 1]
        out.append(
            _joined(
                [
                    cell(upper[x : x + across], lower[x : x + across], rounded)
                    for x in range(0, len(upper), across)
                ]
            )
        )
    return out


def beside(blocks: Sequence[Sequence[Row]], gap: int = 1) -> list[Row]:
    """Return drawn pictures of one height side by side."""
    rows: list[Row] = []
    for parts in zip(*blocks, strict=True):
        row: Row = []
        for part in parts:
            if row:
                row.append((" " * gap, None, None))
            row.extend(part)
        rows.append(row)
    return rows


def width_of(row: Row) -> int:
    """Return how many characters wide a row is."""
    return sum(len(text) for text, _, _ in row)


def _pixels(image: Image, width: int, height: int) -> list[list[Colour]]:
    """Return the picture's colours, resized: means where it shrinks, smooth where it grows."""
    from PIL import Image as Pillow

    image = image.convert("RGB")
    if image.size != (width, height):
        is_whole = width % image.width == 0 and height % image.height == 0
        is_smaller = width <= image.width and height <= image.height
        how = Pillow.Resampling
        image = image.resize(
            (width, height), how.NEAREST if is_whole else how.BOX if is_smaller else how.BICUBIC
        )
    flat = image.tobytes()
    cut = [flat[at : at + 3] for at in range(0, len(flat), 3)]
    colours = [(one[0], one[1], one[2]) for one in cut]
    return [colours[at : at + width] for at in range(0, len(colours), width)]


def _half_cell(
    upper: Sequence[Colour], lower: Sequence[Colour], rounded: Callable[[Colour], Colour]
) -> Piece:
    ink, ground = rounded(upper[0]), rounded(lower[0])
    return (" ", None, ground) if ink == ground else ("▀", ink, ground)


def _quadrant(
    upper: Sequence[Colour], lower: Sequence[Colour], rounded: Callable[[Colour], Colour]
) -> Piece:
    """Return the quarters in the two colours that come nearest to them."""
    quarters = (*upper, *lower)
    if len(set(quarters)) == 1:
        return " ", None, rounded(quarters[0])
    best: tuple[float, int, Colour, Colour] | None = None
    for bits in range(8):  # the last quarter is ground: the other half is the same, turned round
        ink = [quarters[at] for at in range(4) if bits >> at & 1]
        ground = [quarters[at] for at in range(4) if not bits >> at & 1]
        mean_ink, mean_ground = _mean(ink or ground), _mean(ground)
        error = sum(_distance(one, mean_ink) for one in ink)
        error += sum(_distance(one, mean_ground) for one in ground)
        if best is None or error < best[0]:
            best = error, bits, mean_ink, mean_ground
    assert best is not None
    _, bits, ink_colour, ground_colour = best
    ink_colour, ground_colour = rounded(ink_colour), rounded(ground_colour)
    if ink_colour == ground_colour:
        return " ", None, ground_colour
    return _QUADRANTS[bits], ink_colour, ground_colour


def _joined(cells: Sequence[Piece]) -> Row:
    """Return neighbours of the same colours as one piece; a blank takes any ink."""
    row: Row = []
    for text, ink, ground in cells:
        if row:
            last_text, last_ink, last_ground = row[-1]
            if ground == last_ground and (ink == last_ink or ink is None):
                row[-1] = last_text + text, last_ink, ground
                continue
            if ground == last_ground and last_ink is None:
                row[-1] = last_text + text, ink, ground
                continue
        row.append((text, ink, ground))
    return row


def _shaded(row: Sequence[Colour], ramp: str, is_dark: bool) -> list[str]:
    out = []
    for r, g, b in row:
        light = (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255
        place = light if is_dark else 1 - light  # ink is dark on paper
        out.append(ramp[min(len(ramp) - 1, int(place * len(ramp)))])
    return out


def _rounding(colours: int) -> Callable[[Colour], Colour]:
    if colours > 256:
        return lambda colour: colour
    return _to_256 if colours > 16 else _to_16


@lru_cache(4096)
def _to_256(colour: Colour) -> Colour:
    """Return the nearest of xterm's 240 fixed colours, as the terminal will show it."""
    cube = tuple(min(_CUBE, key=lambda step: abs(step - part)) for part in colour)
    grey = 8 + 10 * min(23, max(0, round((sum(colour) / 3 - 8) / 10)))
    nearest = min([cube, (grey, grey, grey)], key=lambda one: _distance(one, colour))
    return nearest[0], nearest[1], nearest[2]


@lru_cache(4096)
def _to_16(colour: Colour) -> Colour:
    return min(_SIXTEEN, key=lambda one: _distance(one, colour))


def _mean(colours: Sequence[Colour]) -> Colour:
    count = len(colours)
    red, green, blue = (sum(one[part] for one in colours) // count for part in range(3))
    return red, green, blue


def _distance(one: Sequence[int], other: Sequence[int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
