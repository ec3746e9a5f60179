"""Two lists over the screen: the notices of this session, and the themes with a live preview."""

from __future__ import annotations

import re
import textwrap
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from tui.keys import bindings_for
from tui.notices import Notice, Notices
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from tui.app import DiffoptApp

_SIGNS = {"information": "i", "warning": "!", "error": "x"}
_FOLDERS = re.compile(r"^/(?:.*/)?(?=[^/]*\.ya?ml)")  # before a theme's file
_COLOURS = {"information": "$foreground", "warning": "$warning", "error": "$error"}


class ListScreen(ModalScreen[None], inherit_bindings=False):
    """A pane over the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Close"),
        *bindings_for("pane"),
        *bindings_for("over"),
    ]

    def compose(self) -> ComposeResult:
        """Lay the pane out."""
        with Vertical(id="list"):
            yield self.make_pane()

    @abstractmethod
    def make_pane(self) -> Pane:
        """Return the pane."""

    def why_not_open(self, pane: Pane) -> str | None:
        """Return why enter does nothing: all that there is to read is seen."""
        return "There is nothing to open here."

    def action_close(self) -> None:
        """Close the list."""
        self.dismiss()

    def on_click(self, event: events.Click) -> None:
        """Close on a click beside the list."""
        if event.widget is self:
            self.action_close()


class NoticesScreen(ListScreen):
    """What was told during this session, newest first."""

    def __init__(self, notices: Notices) -> None:
        """Show these notices."""
        super().__init__()
        self._notices = notices

    def make_pane(self) -> Pane:
        """Return the notices."""
        return _NoticesPane(list(reversed(list(self._notices))))


class _NoticesPane(Pane):
    """The notices, long ones over several lines."""

    DEFAULT_CSS = "_NoticesPane { scrollbar-gutter: stable; }"

    def __init__(self, notices: Sequence[Notice]) -> None:
        empty = "Nothing was told yet. What pops up in this session is kept here."
        super().__init__(f"Notices · {len(notices)}", [empty], subtitle="esc closes")
        self._notices = notices

    def on_resize(self) -> None:
        """Fit the lines to the width."""
        width = self.scrollable_content_region.width
        if self._notices and width:
            self.set_lines([line for one in self._notices for line in _notice_lines(one, width)])


def _notice_lines(notice: Notice, width: int) -> list[Content]:
    at = time.strftime("%H:%M:%S ", time.localtime(notice.time))
    first, *more = textwrap.wrap(notice.text, max(20, width - len(at) - 2)) or [""]
    sign = (f"{_SIGNS.get(notice.severity, '?')} ", f"bold {_COLOURS[notice.severity]}")
    head = Content.assemble((at, "$text-muted"), sign, first)
    return [head, *(Content(" " * (len(at) + 2) + line) for line in more)]


class ThemeRow(NamedTuple):
    """A theme to choose, or one that cannot be."""

    name: str
    about: str = ""
    fault: str = ""  # why it cannot be worn


class ThemePane(Pane):
    """The themes; the one under the cursor is worn at once."""

    has_cursor = True

    def __init__(self, rows: Sequence[ThemeRow], worn: str) -> None:
        """List the themes with the cursor on the one in use."""
        names = [row.name for row in rows]
        lines = [_theme_line(row, rows, 0) for row in rows]
        super().__init__("Themes", lines, subtitle="enter keeps it, esc goes back")
        self._rows, self._worn = rows, worn
        self._cursor = names.index(worn) if worn in names else 0

    @property
    def row(self) -> ThemeRow:
        """The theme under the cursor."""
        return self._rows[self.cursor]

    def on_resize(self) -> None:
        """Fit the lines to the width."""
        if width := self.scrollable_content_region.width:
            self.set_lines([_theme_line(row, self._rows, width) for row in self._rows])

    def cursor_moved(self) -> None:
        """Wear the theme of the row; on one that is broken, the one in use before."""
        app = cast("DiffoptApp", self.app)
        name = self._worn if self.row.fault else self.row.name
        if name != app.theme:
            app.wear_theme(name, is_remembered=False)


def _theme_line(row: ThemeRow, rows: Sequence[ThemeRow], width: int) -> Content:
    """Return a row; what is wrong with a theme begins with its file's name, not with its folder."""
    name = f" {row.name:<{max(len(one.name) for one in rows)}}  "
    text, style = row.about, ""
    if row.fault:
        text, style = _FOLDERS.sub("✗ ", row.fault, count=1), "$text-warning"
    room = max(0, width - len(name))
    text = text if not width or cell_len(text) <= room else set_cell_size(text, room - 1) + "…"
    return Content.assemble((name, "bold"), (text, style))


class ThemesScreen(ListScreen):
    """All themes; moving previews, enter keeps, esc goes back to the one before."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "keep", "Keep", priority=True)]

    def __init__(self, rows: Sequence[ThemeRow], worn: str) -> None:
        """Offer these themes."""
        super().__init__()
        self._rows, self._before = rows, worn

    def make_pane(self) -> Pane:
        """Return the themes, a line each."""
        return ThemePane(self._rows, self._before)

    def action_keep(self) -> None:
        """Keep the theme of the row, for the next time too; tell why where it is broken."""
        app = cast("DiffoptApp", self.app)
        row = self.query_one(ThemePane).row
        if row.fault:
            app.tell(row.fault, "warning", kind=row.fault)
            return
        self.dismiss()
        if not app.wear_theme(row.name):  # its file became another one meanwhile
            app.wear_theme(self._before, is_remembered=False)

    def action_close(self) -> None:
        """Go back to the theme before."""
        app = cast("DiffoptApp", self.app)
        self.dismiss()
        if app.theme != self._before:
            app.wear_theme(self._before, is_remembered=False)
