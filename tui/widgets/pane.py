"""Pane: a box of lines that redraws only the rows that changed.

Screens hand it their lines; it keeps the old ones, compares, and refreshes row by row. Focus shows
as a heavy border, not as a colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.binding import BindingType
from textual.content import Content, Span
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from tui.keys import bindings_for

Line = str | Content


class Pane(ScrollView, can_focus=True, inherit_bindings=False):
    """A titled box of lines.

    `set_lines` replaces them all; `cursor` marks one where the pane has a cursor (`has_cursor`).
    Styles in a line's spans may name the theme's colours: ``Content.styled("done", "$success")``.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("pane")]

    COMPONENT_CLASSES: ClassVar[set[str]] = {"pane--cursor", "pane--cursor-away"}
    has_cursor: ClassVar[bool] = False

    def __init__(
        self,
        title: str = "",
        lines: Sequence[Line] = (),
        *,
        subtitle: str = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """Make a pane with its first lines."""
        super().__init__(id=id, classes=classes)
        self._titles: tuple[Line, Line] = ("", "")
        self._heading: Line | None = None
        self.set_title(title, subtitle)
        self._lines: list[Content] = []
        self._keys: list[tuple[str, tuple[Span, ...]]] = []
        self._cursor = 0
        self.set_lines(lines)

    @property
    def lines(self) -> Sequence[Content]:
        """The lines as they are."""
        return self._lines

    def set_lines(self, lines: Sequence[Line]) -> None:
        """Show these lines; only rows that differ from what is shown are drawn again."""
        fresh = [Content(line) if isinstance(line, str) else line for line in lines]
        keys = [(line.plain, tuple(line.spans)) for line in fresh]
        old, self._keys, self._lines = self._keys, keys, fresh
        self._cursor = max(0, min(self._cursor, len(fresh) - 1))
        if not self.is_attached:
            return
        self._fit()
        for row in range(max(len(old), len(keys))):
            before = old[row] if row < len(old) else None
            after = keys[row] if row < len(keys) else None
            if before != after:
                self._refresh_row(row)

    def set_line(self, row: int, line: Line) -> None:
        """Show another line in one row."""
        lines: list[Line] = list(self._lines)
        lines[row] = line
        self.set_lines(lines)

    def set_title(self, title: Line, subtitle: Line | None = None) -> None:
        """Change the title, where it differs. Brackets in a string are no markup."""
        wanted = (title, self._titles[1] if subtitle is None else subtitle)
        if wanted[0] != self._titles[0] and self._heading is None:
            self.border_title = _content(wanted[0])
        if wanted[1] != self._titles[1]:
            self.border_subtitle = _content(wanted[1])
        self._titles = wanted

    @property
    def heading(self) -> Line | None:
        """What stands in the title's place: the tabs, where panes share one place."""
        return self._heading

    @heading.setter
    def heading(self, heading: Line | None) -> None:
        if heading != self._heading:
            self._heading = heading
            self.border_title = _content(self._titles[0] if heading is None else heading)

    @property
    def cursor(self) -> int:
        """The row of the cursor."""
        return self._cursor

    @cursor.setter
    def cursor(self, row: int) -> None:
        row = max(0, min(row, len(self._lines) - 1))
        if row == self._cursor:
            return
        old, self._cursor = self._cursor, row
        self._refresh_row(old)
        self._refresh_row(row)
        self.keep_in_view(row)
        self.cursor_moved()

    def cursor_moved(self) -> None:
        """Take note that the cursor stands on another row; for children."""

    def keep_in_view(self, row: int) -> None:
        """Scroll so that `row` is seen."""
        height = self.scrollable_content_region.height
        top = self.scroll_offset.y
        if row < top:
            self.scroll_to(y=row, animate=False)
        elif height and row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False)

    def why_not(self, action: str) -> str | None:
        """Return why a key does nothing here now: there may be nothing to open, says the screen."""
        tell = getattr(self.screen, "why_not_open", None) if action == "open" else None
        return tell(self) if tell is not None else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what cannot be done now."""
        return None if self.why_not(action) else True

    # Moving: a pane without a cursor scrolls

    def action_move_down(self) -> None:
        """Go a row down."""
        self._move(1)

    def action_move_up(self) -> None:
        """Go a row up."""
        self._move(-1)

    def action_page_down(self) -> None:
        """Go a page down."""
        self._move(self._page)

    def action_page_up(self) -> None:
        """Go a page up."""
        self._move(-self._page)

    def action_move_top(self) -> None:
        """Go to the first row."""
        self._move(-len(self._lines))

    def action_move_bottom(self) -> None:
        """Go to the last row."""
        self._move(len(self._lines))

    def action_open(self) -> None:
        """Enlarge the pane; a pane of things to open does that instead."""
        if hasattr(self.screen, "action_zoom"):
            self.call_later(self.run_action, "screen.zoom")

    def action_move_left(self) -> None:
        """Look further left."""
        self.scroll_to(x=self.scroll_offset.x - 8, animate=False)

    def action_move_right(self) -> None:
        """Look further right."""
        self.scroll_to(x=self.scroll_offset.x + 8, animate=False)

    @property
    def _page(self) -> int:
        return max(1, self.scrollable_content_region.height - 1)

    def _move(self, rows: int) -> None:
        if self.has_cursor:
            self.cursor += rows
        else:
            self.scroll_to(y=self.scroll_offset.y + rows, animate=False)

    # Drawing

    def on_mount(self) -> None:
        """Take the size of the lines."""
        self._fit()

    def render_line(self, y: int) -> Strip:
        """Return a row of the visible part."""
        left, top = self.scroll_offset
        row = top + y
        width = self.scrollable_content_region.width or self.size.width
        if row < len(self._lines):
            strip = self.strip_of(row)
            if self.has_cursor and row == self._cursor:
                style = self.get_component_rich_style(
                    "pane--cursor" if self.has_focus else "pane--cursor-away"
                )
                # over the row's own background, under its own colours
                bar = RichStyle(bgcolor=style.bgcolor, bold=style.bold, reverse=style.reverse)
                strip = strip.extend_cell_length(left + width, self.rich_style)
                strip = Strip(Segment.apply_style(strip, post_style=bar), strip.cell_length)
        else:
            strip = Strip([])
        return strip.crop_extend(left, left + width, self.visual_style.rich_style)

    def strip_of(self, row: int) -> Strip:
        """Return a line as a strip, however long it is."""
        return self.strip_of_content(self._lines[row])

    def strip_of_content(self, line: Content) -> Strip:
        """Return any line as a strip in the pane's style."""
        base = self.visual_style
        segments = [
            Segment(text, (base + style).rich_style)
            for text, style in line.render(base, end="", parse_style=_parsed)
        ]
        return Strip(segments, line.cell_length)

    def _fit(self) -> None:
        width = max((line.cell_length for line in self._lines), default=0)
        size = Size(width, len(self._lines))
        if size != self.virtual_size:
            self.virtual_size = size

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y
        if 0 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))


def _content(line: Line) -> Content:
    return Content(line) if isinstance(line, str) else line


def _parsed(style: str | Style) -> Style:
    return Style.parse(style) if isinstance(style, str) else style
