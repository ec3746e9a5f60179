"""Help: the keys that work here, made from the live bindings; type to search, enter runs one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.format import GLYPHS
from tui.keys import BY_ID, key_words
from tui.live_keys import LiveKey, do
from tui.widgets.pane import Line, Pane

if TYPE_CHECKING:
    from tui.app import DiffoptApp

_NAMES = 11  # cells for a line's keys


class _Keys(Pane):
    has_cursor = True

    def on_resize(self) -> None:
        """Fit the lines to the width."""
        if isinstance(self.screen, HelpScreen):
            self.screen.fill()

    def set_lines(self, lines: Sequence[Line]) -> None:
        """Show these lines, and say how many are below."""
        super().set_lines(lines)
        self._count()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Count again what is below."""
        super().watch_scroll_y(old_value, new_value)
        self._count()

    def _count(self) -> None:
        if not self.is_attached:
            return
        height = self.scrollable_content_region.height
        below = len(self.lines) - self.scroll_offset.y - height if height else 0
        self.set_title(
            "Keys here", f"{below} more below · esc closes" if below > 0 else "esc closes"
        )


class HelpScreen(ModalScreen[None]):
    """The keys of the screen below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1", "close", "Close"),
        Binding("down", "move(1)", "", show=False, priority=True),
        Binding("up", "move(-1)", "", show=False, priority=True),
        Binding("pagedown", "page(1)", "", show=False, priority=True),
        Binding("pageup", "page(-1)", "", show=False, priority=True),
    ]

    def __init__(self, keys: Sequence[LiveKey], is_ascii: bool = False) -> None:
        """Show these bindings."""
        super().__init__()
        self._all = _merged(keys)
        self._is_ascii = is_ascii
        self._rows: list[LiveKey | None] = []
        self._ends: dict[int, int] = {}  # the last row of what begins in a row

    def compose(self) -> ComposeResult:
        """Lay out the search box over the list."""
        with Vertical(id="help"):
            yield Input(placeholder="type to search, enter runs the line", id="help-search")
            yield _Keys(id="help-keys")

    def on_mount(self) -> None:
        """Show all."""
        self._pane.can_focus = False
        self.fill()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits the words."""
        event.stop()
        self.fill()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Run the line of the cursor."""
        event.stop()
        key = self._rows[self._pane.cursor] if self._rows else None
        if key is None:
            return
        self.dismiss()
        do(cast("DiffoptApp", self.app), key.action, key.node)

    def action_close(self) -> None:
        """Close help."""
        self.dismiss()

    def action_move(self, rows: int) -> None:
        """Move to the next line that can be run; past the last, what is left comes into view."""
        at = self._pane.cursor + rows
        while 0 <= at < len(self._rows) and self._rows[at] is None:
            at += rows
        if 0 <= at < len(self._rows):
            self._pane.keep_in_view(self._ends[at])  # what goes on below its first row is seen too
            self._pane.cursor = at
        else:
            self._pane.scroll_relative(y=rows, animate=False)

    def action_page(self, pages: int) -> None:
        """Move a page on, to a line that can be run there."""
        for _ in range(max(1, self._pane.scrollable_content_region.height - 1)):
            self.action_move(pages)

    def on_click(self, event: events.Click) -> None:
        """Close on a click beside the list."""
        if event.widget is self:
            self.dismiss()

    @property
    def _pane(self) -> Pane:
        return self.query_one("#help-keys", Pane)

    def fill(self) -> None:
        """List what fits the words that are typed."""
        wanted = self.query_one(Input).value.lower().split()
        lines: list[Content] = []
        self._rows, self._ends = [], {}
        group = None
        for names, key in self._all:
            known = BY_ID.get(key.id)
            text = known.help if known else key.words
            line = f"{names} {key.words} {text}".lower()
            if not all(word in line for word in wanted):
                continue
            if known and known.group != group:
                group = known.group
                lines.append(Content.styled(group, "bold $accent"))
                self._rows.append(None)
            asks = " (asks)" if known and known.is_asked and "asks" not in text else ""
            style = "" if key.is_enabled else "$text-disabled"
            wrapped = self._wrapped(f"  {names:<{_NAMES}} ", text + asks)
            lines += [Content.styled(line, style) for line in wrapped]
            self._ends[len(self._rows)] = len(lines) - 1
            self._rows += [key, *[None] * (len(wrapped) - 1)]
        if signs := self._signs(wanted):
            lines += [Content(""), Content.styled("Signs", "bold $accent"), *signs]
            self._rows += [None] * (len(lines) - len(self._rows))
        if not lines:
            lines = [Content("No key does that here. The palette (ctrl+p) knows every action.")]
        pane = self._pane
        pane.set_lines(lines)
        first = next((row for row, key in enumerate(self._rows) if key is not None), 0)
        pane.cursor = first

    def _wrapped(self, head: str, text: str) -> list[str]:
        """Return a line's pieces in the pane's width, what goes on below its beginning."""
        room = max(30, self._pane.scrollable_content_region.width or 70)
        indent = " " * (_NAMES + 3)
        return textwrap.wrap(
            text, room, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
        )

    def _signs(self, wanted: Sequence[str]) -> list[Content]:
        signs = [
            f"{mark.ascii if self._is_ascii else mark.glyph} {mark.word}"
            for mark in GLYPHS.values()
            if all(word in f"sign {mark.word}" for word in wanted)
        ]
        return [
            Content("  " + "   ".join(f"{sign:<13}" for sign in signs[at : at + 4]))
            for at in range(0, len(signs), 4)
        ]


def _merged(keys: Sequence[LiveKey]) -> list[tuple[str, LiveKey]]:
    """Return one line an action, with all its keys; what this screen alone can do comes first."""
    lines: dict[str, tuple[list[str], LiveKey]] = {}
    keys = sorted(keys, key=_rank)
    for key in keys:
        names, _ = lines.setdefault(key.id or key.action, ([], key))
        names.append(key_words(key.key))
    return [(" ".join(names), key) for names, key in lines.values()]


def _rank(key: LiveKey) -> int:
    known = BY_ID.get(key.id)
    return {"View": 1, "Move": 2, "All screens": 3}.get(known.group, 0) if known else 0
