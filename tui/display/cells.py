"""CellDiff: of each frame only the cells that changed are written to the terminal.

Textual sends every dirty region again from its left edge, with all colours. Here a shadow of the
terminal's cells is kept, the frame's strips are turned into cells, and what differs goes out with
the shortest moves and colour changes. A cell that is not known is None and always differs.

It leans on what Textual keeps to itself (LayoutUpdate, ChopsUpdate, Strip), which is why its minor
version is pinned; `App._display` falls back to the stock frame on any exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, split_graphemes
from rich.color import ColorSystem
from rich.console import Console
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

from tui.display.pens import PLAIN, Pen, blank_pen, change, pen_for_blank, pen_of

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

Cell = tuple[str, Pen]  # the second half of a wide character is ("", pen)
Row = list[Cell | None]


class CellDiff:
    """The terminal as it stands, and how to make another frame of it."""

    def __init__(self) -> None:
        """Know nothing of the terminal."""
        self._rows: list[Row] = []
        self._size = (0, 0)
        self._pen: Pen | None = None
        self._system = ColorSystem.TRUECOLOR

    def forget(self) -> None:
        """Know nothing of the terminal any more: it was resized, or others wrote on it."""
        self._rows, self._size, self._pen = [], (0, 0), None

    def frame(
        self, update: CompositorUpdate, console: Console, size: tuple[int, int]
    ) -> str | None:
        """Return what makes the terminal show `update`, "" where it does already.

        `size` is the terminal's (width, height). None for an update of a kind not known here.
        """
        if isinstance(update, LayoutUpdate):
            placed = _placed_layout(update)
        elif isinstance(update, ChopsUpdate):
            placed = _placed_chops(update)
        else:
            return None
        self._system = console._color_system or ColorSystem.TRUECOLOR
        if size != self._size:
            width, height = self._size = size
            self._rows = [[None] * width for _ in range(height)]
        out = _Out(self._pen, size[0])
        for y, strips in placed:
            if 0 <= y < size[1]:
                self._draw_row(out, y, strips, console)
        self._pen = out.pen
        return "".join(out.parts)

    def _draw_row(
        self, out: _Out, y: int, strips: Iterable[tuple[int, Strip]], console: Console
    ) -> None:
        row = self._rows[y]
        wanted = row.copy()
        raw: list[tuple[int, Strip]] = []
        for x, strip in strips:
            cells = self._cells_of(strip)
            if cells is None:
                raw.append((x, strip))
            elif 0 <= x < len(row):
                wanted[x : x + len(cells)] = cells[: len(row) - x]
        if wanted != row:
            _mend_halves(wanted)
            for first, last in _runs(row, wanted, out):
                out.write(first, y, wanted[first:last])
            self._rows[y] = wanted
        for x, strip in raw:  # a picture's own escapes: as they are, and unknown from then on
            out.write_raw(x, y, strip.render(console))
            end = min(len(row), x + strip.cell_length)
            self._rows[y][x:end] = [None] * (end - x)

    def _cells_of(self, strip: Strip) -> list[Cell] | None:
        """Return the strip's cells; None for one that holds escapes of its own."""
        cells: list[Cell] = []
        for text, style, control in strip:
            if control or (style is not None and style._link) or _CONTROL.search(text):
                return None
            if style is None:
                pen = PLAIN
            else:
                codes = style._ansi
                pen = pen_of(Strip.render_ansi(style, self._system) if codes is None else codes)
            blank = (" ", blank_pen(pen))
            if text.isascii():
                cells += [blank if letter == " " else (letter, pen) for letter in text]
                continue
            for letter, width in _letters(text):
                if letter == " ":
                    cells.append(blank)
                elif width:
                    cells.append((letter, pen))
                    cells += [("", pen)] * (width - 1)
                elif cells:
                    cells[-1] = (cells[-1][0] + letter, cells[-1][1])
        return cells


class _Out:
    """What is written so far, where the cursor stands (None: unknown) and with which pen."""

    def __init__(self, pen: Pen | None, width: int) -> None:
        self.parts: list[str] = []
        self.pen = pen
        self._width = width
        self._x: int | None = None
        self._y = -1

    def write(self, x: int, y: int, cells: Sequence[Cell | None]) -> None:
        """Write cells from (x, y) on."""
        for cell in cells:
            assert cell is not None
            text, pen = cell
            if text:
                self._move(x, y)
                self._take(pen, is_blank=text == " ")
                self.parts.append(text)
                self._x = x + 1
                if not text.isascii() and not is_usual(text):
                    self._x = None
            elif self._x is not None:
                self._x = x + 1
            x += 1
        if x >= self._width:  # past the last column terminals differ on where they stand
            self._x = None

    def write_raw(self, x: int, y: int, text: str) -> None:
        """Write a strip as Textual draws it."""
        self._x = None
        self._move(x, y)
        self._take(PLAIN, is_blank=False)
        self.parts.append(text)
        self._x = None

    def would_join(self, cells: Sequence[Cell | None]) -> bool:
        """Return whether writing these cells again is no longer than jumping over them."""
        pen, length = self.pen, 0
        for cell in cells:
            if cell is None or pen is None:
                return False
            text, wanted = cell
            if wanted != pen and not (text == " " and pen_for_blank(pen, wanted) == pen):
                return False
            if not text.isascii() and not is_usual(text):
                return False
            length += len(text.encode())
        return length <= (3 if len(cells) == 1 else 4)

    def _move(self, x: int, y: int) -> None:
        if self._x == x and self._y == y:
            return
        if self._x is not None and self._y == y and x > self._x:
            steps = x - self._x
            self.parts.append("\x1b[C" if steps == 1 else f"\x1b[{steps}C")
        else:
            self.parts.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")
        self._x, self._y = x, y

    def _take(self, pen: Pen, *, is_blank: bool) -> None:
        if self.pen is None:
            self.parts.append("\x1b[m")
            self.pen = PLAIN
        if is_blank:
            pen = pen_for_blank(self.pen, pen)
        if pen != self.pen:
            self.parts.append(change(self.pen, pen))
            self.pen = pen


def is_usual(text: str) -> bool:
    """Return whether terminals agree on the width of a character that is not ASCII.

    One code point below the emoji: after any other the cursor is placed anew.
    """
    return len(text) == 1 and ord(text) < 0x1F000 and not 0xFE00 <= ord(text) <= 0xFE0F


def _runs(row: Row, wanted: Row, out: _Out) -> Iterator[tuple[int, int]]:
    """Yield the spans to be written, left to right: whole wide characters, small gaps closed.

    A span is settled before the next is looked at, for whether a gap is closed depends on the pen
    that the writer then holds.
    """
    width = len(row)
    changed = [old != new for old, new in zip(row, wanted, strict=True)]
    for cells in (row, wanted, row):  # half a wide character cannot be written nor kept
        for x in _second_halves(cells):
            if changed[x] != changed[x - 1]:
                changed[x] = changed[x - 1] = True
    x = 0
    while x < width:
        if not changed[x]:
            x += 1
            continue
        end = x
        while end < width and changed[end] and wanted[end] is not None:
            end += 1
        if end == x:  # nothing is known that could be written there
            x += 1
            continue
        yield x, end
        x = end
        gap = next((n for n in range(1, 5) if x + n < width and changed[x + n]), 0)
        if gap and not any(changed[x : x + gap]) and out.would_join(wanted[x : x + gap]):
            yield x, x + gap
            x += gap


def _second_halves(cells: Row) -> list[int]:
    return [x for x, cell in enumerate(cells) if x and cell is not None and not cell[0]]


def _mend_halves(cells: Row) -> None:
    """Blank the halves of wide characters that lost their other half."""
    halves = set(_second_halves(cells))
    for x, cell in enumerate(cells):
        if cell is None:
            continue
        text, pen = cell
        if not text:
            before = cells[x - 1] if x else None
            is_whole = before is not None and cell_len(before[0]) > 1
        else:
            is_whole = text.isascii() or x + 1 in halves or cell_len(text) < 2
        if not is_whole:
            cells[x] = (" ", blank_pen(pen))


def _letters(text: str) -> Iterator[tuple[str, int]]:
    """Yield the characters of a text with their widths, clusters whole."""
    widths = [cell_len(letter) for letter in text]
    if sum(widths) == cell_len(text):
        yield from zip(text, widths, strict=True)
        return
    spans, _ = split_graphemes(text)
    for start, end, width in spans:
        yield text[start:end], width


def _placed_layout(update: LayoutUpdate) -> Iterator[tuple[int, list[tuple[int, Strip]]]]:
    for y, line in enumerate(update.strips, update.region.y):
        placed, x = [], update.region.x
        for strip in line:
            placed.append((x, strip))
            x += strip.cell_length
        yield y, placed


def _placed_chops(update: ChopsUpdate) -> Iterator[tuple[int, list[tuple[int, Strip]]]]:
    # The strips of a row are those whose span is touched; what lies beside them may be covered by
    # a widget that this update does not hold.
    for y, first, last in update.spans:
        yield (
            y,
            [
                (x, strip)
                for end, (x, strip) in zip(
                    update.chop_ends[y], update.chops[y].items(), strict=False
                )
                if strip is not None and x < last and end > first
            ],
        )
