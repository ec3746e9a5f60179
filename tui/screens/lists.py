"""Two lists over the screen: the notices of this session, and the themes with a live preview."""

from __future__ import annotations

import textwrap
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from tui.keys import bindings_for
from tui.notices import Notice, Notices
from tui.widgets.pane import Line, Pane

if TYPE_CHECKING:
    from tui.app import DiffoptApp

_SIGNS = {"information": "i", "warning": "!", "error": "x"}
_COLOURS = {"information": "$foreground", "warning": "$warning", "error": "$error"}


class ListScreen(ModalScreen[None]):
    """A pane over the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Close"),
        *bindings_for("pane"),
    ]

    def compose(self) -> ComposeResult:
        """Lay the pane out."""
        with Vertical(id="list"):
            yield self.make_pane()

    @abstractmethod
    def make_pane(self) -> Pane:
        """Return the pane."""

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


class ThemePane(Pane):
    """The themes; the one under the cursor is worn at once."""

    has_cursor = True

    def __init__(self, names: Sequence[str], lines: Sequence[Line], at: int) -> None:
        """List the themes with the cursor on the one in use."""
        super().__init__("Themes", lines, subtitle="enter keeps it, esc goes back")
        self._names = names
        self._cursor = at

    def cursor_moved(self) -> None:
        """Wear the theme of the row."""
        cast("DiffoptApp", self.app).wear_theme(self._names[self.cursor], is_remembered=False)


class ThemesScreen(ListScreen):
    """All themes; moving previews, enter keeps, esc goes back to the one before."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "keep", "Keep", priority=True)]

    def __init__(self, names: Sequence[str], abouts: Sequence[str], worn: str) -> None:
        """Offer these themes."""
        super().__init__()
        self._names, self._abouts, self._before = names, abouts, worn

    def make_pane(self) -> Pane:
        """Return the themes, a line each."""
        width = max(map(len, self._names), default=0)
        lines = [
            Content.assemble((f" {name:<{width}}  ", "bold"), about)
            for name, about in zip(self._names, self._abouts, strict=True)
        ]
        at = self._names.index(self._before) if self._before in self._names else 0
        return ThemePane(self._names, lines, at)

    def action_keep(self) -> None:
        """Keep the theme that is worn, for the next time too."""
        app = cast("DiffoptApp", self.app)
        self.dismiss()
        app.wear_theme(app.theme)

    def action_close(self) -> None:
        """Go back to the theme before."""
        app = cast("DiffoptApp", self.app)
        self.dismiss()
        if app.theme != self._before:
            app.wear_theme(self._before, is_remembered=False)
