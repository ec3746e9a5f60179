"""RunTable: the runs as a table with a cursor, marks and a line of titles that stays.

Only cells that changed are drawn again. The cursor belongs to a run, not to a row: a run that comes
or goes does not move it to another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from tui.listing import RunRow
from tui.run_columns import SORTS, Layout, fit, head, line
from tui.widgets.pane import Line, Pane


class RunTable(Pane):
    """The table of runs."""

    has_cursor: ClassVar[bool] = True

    class Selected(Message):
        """The cursor went to another run."""

    class Opened(Message):
        """Enter was pressed on a run, or it was clicked twice."""

        def __init__(self, row: RunRow) -> None:
            """Say which."""
            super().__init__()
            self.row = row

    def __init__(self) -> None:
        """Make it, empty."""
        super().__init__("Runs", id="runs")
        self.sort, self.is_falling = SORTS[0].key, SORTS[0].is_falling
        self._rows: list[RunRow] = []
        self._layout_of_columns = Layout((), 1)
        self._head = Content("")
        self._marked: dict[Path, int] = {}
        self._now = 0.0
        self._empty: tuple[Line, ...] = ()
        self._path: Path | None = None

    @property
    def rows(self) -> Sequence[RunRow]:
        """The rows as they stand."""
        return self._rows

    @property
    def row(self) -> RunRow | None:
        """The run that the cursor is on."""
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def show_rows(
        self,
        rows: Sequence[RunRow],
        now: float,
        marked: Mapping[Path, int],
        empty: Sequence[Line] = (),
    ) -> None:
        """Show these runs, `marked` ones by their places; `empty` is said where there is none."""
        self._now, self._empty = now, tuple(empty)
        self._marked = dict(marked)
        column = next(one for one in SORTS if one.key == self.sort)
        order = column.order
        assert order is not None
        self._rows = sorted(rows, key=lambda row: order(row, now), reverse=self.is_falling)
        before = self.row
        self._draw()
        place = next((n for n, row in enumerate(self._rows) if row.path == self._path), None)
        self.cursor = min(self.cursor, len(self._rows) - 1) if place is None else place
        self._note_path(before)

    def next_sort(self) -> None:
        """Sort by the next column."""
        place = next(n for n, one in enumerate(SORTS) if one.key == self.sort)
        self.sort_by(SORTS[(place + 1) % len(SORTS)].key)

    def sort_by(self, key: object) -> None:
        """Sort by the column of that key; one that is not known changes nothing."""
        for column in SORTS:
            if column.key == key:
                self.sort, self.is_falling = column.key, column.is_falling

    def cursor_moved(self) -> None:
        """Tell that another run is selected."""
        self._note_path(None)

    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self.row is not None:
            self.post_message(self.Opened(self.row))

    def on_click(self, event: events.Click) -> None:
        """Select the run under the mouse; the second click opens it."""
        row = event.y - self.gutter.top - 1 + self.scroll_offset.y
        if 0 <= row < len(self._rows):
            self.cursor = row
            if event.chain == 2:
                self.action_open()

    def on_resize(self, event: events.Resize) -> None:
        """Choose the columns for the new width."""
        self._draw()

    def _note_path(self, before: RunRow | None) -> None:
        path = self.row.path if self.row else None
        if path != self._path or (before is not None and before.path != path):
            self._path = path
            self.post_message(self.Selected())

    def _draw(self) -> None:
        width = self.scrollable_content_region.width or self.size.width
        if not self._rows:
            self._head = Content("")
            self.set_lines(self._empty)
            return
        layout = fit(width, [row.name for row in self._rows])
        title = head(layout, self.sort, self.is_falling)
        if not title.is_same(self._head):
            self._head = title
            self.refresh(Region(0, 0, self.size.width, 1))
        self._layout_of_columns = layout
        self.set_lines([line(row, layout, self._now, self._marked) for row in self._rows])

    # The line of titles stays while rows scroll below it

    @property
    def _has_head(self) -> bool:
        return bool(self._head)

    def render_line(self, y: int) -> Strip:
        """Return the titles, or a row below them."""
        if not self._has_head:
            return self._without_cursor(y)
        if y > 0:
            return super().render_line(y - 1)
        width = self.scrollable_content_region.width or self.size.width
        return self.strip_of_content(self._head).crop_extend(0, width, self.visual_style.rich_style)

    def keep_in_view(self, row: int) -> None:
        """Scroll so that `row` is seen below the titles."""
        height = self.scrollable_content_region.height - 1
        top = self.scroll_offset.y
        if row < top:
            self.scroll_to(y=row, animate=False)
        elif height > 0 and row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False)

    def _without_cursor(self, y: int) -> Strip:
        width = self.scrollable_content_region.width or self.size.width
        lines = self.lines
        strip = self.strip_of(y) if y < len(lines) else Strip([])
        return strip.crop_extend(0, width, self.visual_style.rich_style)

    def _fit(self) -> None:
        width = max((one.cell_length for one in self.lines), default=0)
        size = Size(width, len(self.lines) + (1 if self._has_head else 0))
        if size != self.virtual_size:
            self.virtual_size = size

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y + (1 if self._has_head else 0)
        if 0 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))
