"""The log of a run: filter, levels, follow, wrap.

While it follows, a full pane jumps half its height at a time: scrolling line by line would send
every row again with each line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size
from textual import events
from textual.content import Content

from tui import format as words
from tui.logbook import KEPT, LogBook
from tui.telling import LEVELS, Line, clock_time
from tui.widgets.pane import Line as PaneLine
from tui.widgets.pane import Pane

_SHORT = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error"}
_COLOURS = {"DEBUG": "$text-disabled", "INFO": "$text-muted", "WARNING": "$warning",
            "ERROR": "$error"}  # fmt: skip
_HEAD = 15  # "14:04:31 info  "


class _Row(NamedTuple):
    line: Line
    text: str
    is_first: bool


class Log(Pane):
    """The lines of a LogBook that pass filter and level."""

    DEFAULT_CSS = "Log { overflow: hidden; }"  # it shows what fits, so a bar would only flicker

    def __init__(self, *, id: str | None = None) -> None:
        """Make an empty log that follows."""
        super().__init__("Log", id=id)
        self._book = LogBook()
        self._added = 0
        self._rows: list[_Row] = []
        self._top = 0
        self._filter = ""
        self._rank = LEVELS.index("INFO")
        self._is_wrapped = False
        self.is_following = True
        self._missed = 0  # lines that came while it does not follow

    # What a screen says

    def show_book(self, book: LogBook) -> None:
        """Show what is new in a log, or another one."""
        if book is not self._book:
            self._book, self._added = book, 0
            self.is_following = True
            self._build()
            return
        if book.added == self._added:
            return
        fresh = book.since(self._added)
        if fresh is None or len(self._rows) > 2 * KEPT:
            self._build()
            return
        self._added = book.added
        rows = [row for line in fresh if self._passes(line) for row in self._broken(line)]
        self._rows += rows
        if not self.is_following:
            self._missed += len(rows)
        elif len(rows) > self._rows_shown // 2:  # too many for a jump to show
            self._top = self._last_top
        self._draw()

    @property
    def filter(self) -> str:
        """What the lines shown must hold."""
        return self._filter

    @filter.setter
    def filter(self, text: str) -> None:
        if text != self._filter:
            self._filter = text
            self._build()

    @property
    def level(self) -> str:
        """The lowest level shown; one that is none changes nothing."""
        return LEVELS[self._rank]

    @level.setter
    def level(self, level: str) -> None:
        if level in LEVELS and level != self.level:
            self._rank = LEVELS.index(level)
            self._build()

    @property
    def is_wrapped(self) -> bool:
        """Whether long lines are broken."""
        return self._is_wrapped

    # Keys

    def next_level(self) -> str:
        """Show fewer levels, all after the fewest; returns the lowest shown."""
        self._rank = (self._rank + 1) % len(LEVELS)
        self._build()
        return self.level

    def toggle_wrap(self) -> bool:
        """Break long lines, or cut them; returns which."""
        self._is_wrapped = not self._is_wrapped
        self._build()
        return self._is_wrapped

    def toggle_follow(self) -> bool:
        """Follow the newest line, or hold still; returns whether it follows."""
        self.is_following = not self.is_following
        self._missed = 0
        if self.is_following:
            self._top = self._last_top
        self._draw()
        return self.is_following

    def next_hit(self, direction: int) -> bool:
        """Go to the next line that is a hit, or a warning where nothing is searched.

        Returns False where there is none.
        """
        at = self._top + direction
        while 0 <= at < len(self._rows):
            row = self._rows[at]
            if row.is_first and (self._filter or row.line.rank >= LEVELS.index("WARNING")):
                self._go(at)
                return True
            at += direction
        return False

    def action_move_down(self) -> None:
        """Look a line further."""
        self._go(self._top + 1)

    def action_move_up(self) -> None:
        """Look a line back."""
        self._go(self._top - 1)

    def action_page_down(self) -> None:
        """Look a page further."""
        self._go(self._top + self._page)

    def action_page_up(self) -> None:
        """Look a page back."""
        self._go(self._top - self._page)

    def action_move_top(self) -> None:
        """Look at the oldest line."""
        self._go(0)

    def action_move_bottom(self) -> None:
        """Look at the newest line, and follow."""
        self._go(self._last_top)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Look further."""
        event.stop()
        self._go(self._top + 3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Look back."""
        event.stop()
        self._go(self._top - 3)

    def on_resize(self, event: events.Resize) -> None:
        """Fit the lines to the size."""
        self._build()

    # Drawing

    @property
    def _rows_shown(self) -> int:
        return max(1, self.scrollable_content_region.height or self.content_size.height)

    @property
    def _width(self) -> int:
        return max(20, self.scrollable_content_region.width or self.content_size.width)

    @property
    def _last_top(self) -> int:
        return max(0, len(self._rows) - self._rows_shown)

    def _go(self, top: int) -> None:
        self._top = max(0, min(top, self._last_top))
        self.is_following = self._top >= self._last_top
        self._missed = 0
        self._draw()

    def _passes(self, line: Line) -> bool:
        if line.rank < self._rank:
            return False
        return not self._filter or self._filter.casefold() in line.text.casefold()

    def _broken(self, line: Line) -> Iterable[_Row]:
        room = self._width - _HEAD
        if cell_len(line.text) <= room:
            yield _Row(line, line.text, True)
            return
        if not self._is_wrapped:
            yield _Row(line, set_cell_size(line.text, room - 1) + "…", True)
            return
        for number, piece in enumerate(chop_cells(line.text, max(8, room))):
            yield _Row(line, piece, number == 0)

    def _build(self) -> None:
        """Make all rows anew; one who does not follow stays at the line that was on top."""
        on_top = self._rows[self._top].line if self._top < len(self._rows) else None
        self._added = self._book.added
        lines = self._book.matching(self._filter, self._rank)
        self._rows = [row for line in lines for row in self._broken(line)]
        if self.is_following:
            self._top = self._last_top
        else:
            places = (place for place, row in enumerate(self._rows) if row.line is on_top)
            self._top = min(next(places, self._top), self._last_top)
        self._draw()

    def _draw(self) -> None:
        height = self._rows_shown
        if self.is_following and len(self._rows) > self._top + height:
            self._top = min(len(self._rows) - 1, len(self._rows) - height + height // 2)
        self._entitle()
        shown = self._rows[self._top : self._top + height]
        if shown:
            self.set_lines([self._drawn(row) for row in shown])
        else:
            self.set_lines([Content.styled(self._why_empty(), "$text-muted")])

    def _why_empty(self) -> str:
        if self._filter:
            return f"no line holds {self._filter!r}; esc shows all"
        if self._book.lines:
            return f"nothing at {_SHORT[self.level]} or above; l shows more"
        return "nothing was said yet"

    def _entitle(self) -> None:
        parts = []
        if self._filter:
            count = sum(row.is_first for row in self._rows)
            parts.append(f"/ {self._filter} ({count})")
        if self.level != "INFO":
            parts.append("all levels" if self._rank == 0 else f"{_SHORT[self.level]} and above")
        if self._is_wrapped:
            parts.append("wrapped")
        if not self.is_following:
            more = f", {self._missed} new" if self._missed else ""
            parts.append(f"held{more}, f follows")
        self.set_title("Log", words.printable(" · ".join(parts)))

    def _drawn(self, row: _Row) -> PaneLine:
        line = row.line
        colour = _COLOURS.get(line.level, "$error")
        if not row.is_first:
            return Content.assemble(" " * _HEAD, row.text)
        is_loud = line.level in ("WARNING", "ERROR")
        return Content.assemble(
            (f"{clock_time(line.time)} ", "$text-muted"),
            (f"{_SHORT.get(line.level, 'error'):5} ", colour),
            (row.text, colour if is_loud else ""),
        )
