"""A sheet of samples laid out in characters: how large, how many, in which order. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.run.events import SamplesSaved
from engine.run.fact import Fact
from tui.format import clipped
from tui.halfcell import Palette, Row, beside, draw, pixels_per_cell, width_of
from tui.sheet import Sheet

_LEAST_ROWS = 2  # of a picture
_GAP = 1
_GLUED = 0.8  # what samplers are worth that run into each other
_BLANK: Row = [("", None, None)]


class SampleFile(Fact):
    """A sheet that a run has saved."""

    path: str  # relative to the run folder
    time: float = 0.0
    stage: int | None = None
    step: int | None = None
    steps: int | None = None  # sampling steps of the student
    title: str = ""  # in place of where it was made
    original_steps: int | None = None  # of this sheet's own run, where runs are mixed

    @classmethod
    def of(cls, time: float, event: SamplesSaved) -> SampleFile:
        """Return the sheet that an event tells of."""
        return cls(event.path, time, event.stage, event.step, event.steps)

    @property
    def words(self) -> str:
        """Where in the run it was made: "stage 2 · step 450", or the end."""
        if self.title:
            return self.title
        if self.stage is None:
            return "finished student"
        step = "" if self.step is None else f" · step {self.step}"
        return f"stage {self.stage}{step}"


class Arrangement(Fact):
    """How pictures are laid out.

    `is_stacked`: samplers one below the other, names at the left; else side by side, names above.
    """

    is_stacked: bool
    picture_rows: int
    picture_columns: int
    across: int  # pictures beside one another, of one sampler
    down: int  # rows of pictures, of one sampler

    @property
    def count(self) -> int:
        """How many pictures of each sampler are shown."""
        return self.across * self.down


def arrange(
    width: int,
    height: int,
    native: tuple[int, int],
    count: int,
    names: Sequence[str],
    mode: str,
) -> Arrangement | None:
    """Return the layout in `width` x `height` characters that shows most; None where none fits.

    `native` is a picture's (width, height) in pixels, `count` how many there are of each sampler.
    Worth most is that every pixel shows, then number and size.
    """
    best: tuple[float, Arrangement] | None = None
    label = max(map(len, names), default=0) + _GAP
    for rows in range(_LEAST_ROWS, height + 1):
        columns = max(1, round(2 * rows * native[0] / native[1]))
        for is_stacked in (True, False):
            if is_stacked:
                room, lines = width - label, height // max(1, len(names))
            else:
                room, lines = (width - 2 * (len(names) - 1)) // max(1, len(names)), height - 1
            across, down = (room + _GAP) // (columns + _GAP), (lines + _GAP) // (rows + _GAP)
            if is_stacked:
                down = min(1, lines // rows)
            across = min(across, count)
            down = min(down, -(-count // across)) if across > 0 else 0
            if across < 1 or down < 1:
                continue
            one = Arrangement(is_stacked, rows, columns, across, down)
            worth = _worth(one, native, count, mode)
            if is_stacked and not _is_airy(one, len(names), height):
                worth *= _GLUED
            if best is None or worth > best[0]:
                best = worth, one
    return best[1] if best else None


def gallery(
    sheet: Sheet,
    rows: Sequence[int],
    names: Sequence[str],
    size: tuple[int, int],
    mode: str,
    palette: Palette,
) -> list[Row]:
    """Return the sheet's `rows`, called `names`, in at most `size` (width, height) characters."""
    mode = palette.mode(mode)
    chosen = [sheet.pictures[row] for row in rows if row < len(sheet.pictures)]
    names = names[: len(chosen)]
    layout = sheet.layout
    plan = arrange(*size, (layout.width, layout.height), layout.columns, names, mode)
    if plan is None or not chosen:
        return []
    blocks = []
    for pictures in chosen:
        block: list[Row] = []
        for first in range(0, min(plan.count, len(pictures)), plan.across):
            shown = pictures[first : first + plan.across]
            drawn = [
                draw(one, plan.picture_columns, plan.picture_rows, mode, palette) for one in shown
            ]
            block += [_BLANK] * _GAP if block else []
            block += beside(drawn, _GAP)
        blocks.append(block)
    if plan.is_stacked:
        return _stacked(blocks, names, _GAP if _is_airy(plan, len(blocks), size[1]) else 0)
    return _side_by_side(blocks, names, plan, size[0])


def _is_airy(plan: Arrangement, samplers: int, height: int) -> bool:
    """Return whether stacked samplers have a blank row between them."""
    return samplers * (plan.picture_rows + _GAP) - _GAP <= height


def _stacked(blocks: Sequence[list[Row]], names: Sequence[str], gap: int) -> list[Row]:
    label = max(map(len, names)) + _GAP
    out: list[Row] = []
    for block, name in zip(blocks, names, strict=True):
        out += [_BLANK] * gap if out else []
        for number, row in enumerate(block):
            out.append([((name if number == 0 else "").ljust(label), None, None), *row])
    return out


def _side_by_side(
    blocks: Sequence[list[Row]], names: Sequence[str], plan: Arrangement, room: int
) -> list[Row]:
    most = (room - 2 * (len(names) - 1)) // len(names)
    width = plan.across * (plan.picture_columns + _GAP) - _GAP
    width = min(most, max(width, *map(len, names)))
    words = [clipped(name, width).ljust(width) for name in names]
    title: Row = [("  ".join(words).rstrip(), None, None)]
    out = [title]
    for number in range(max(map(len, blocks))):
        row: Row = []
        for block in blocks:
            part = block[number] if number < len(block) else []
            row += [("  ", None, None)] if row else []
            row += [*part, (" " * (width - width_of(part)), None, None)]
        out.append(row)
    return out


def _worth(one: Arrangement, native: tuple[int, int], count: int, mode: str) -> float:
    across, down = pixels_per_cell(mode)
    shown = min(one.picture_columns * across / native[0], one.picture_rows * down / native[1])
    size = 2 * one.picture_rows / native[1]
    is_whole = size >= 1 and size == int(size)
    evenness = 1.15 if is_whole else 1.0
    return min(1.0, shown) ** 2 * math.sqrt(min(one.count, count) * size) * evenness
