"""YamlArea: the text of a draft, to be typed in, with colours and marks beside the lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widgets import TextArea

from tui.yaml_highlight import parts


class YamlArea(TextArea):
    """The YAML. Undo and redo are the screen's, for there is one stack behind form and text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+d", "screen.default", show=False, id="config.default")
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "yaml--key", "yaml--comment", "yaml--number", "yaml--string", "yaml--word", "yaml--wrong",
        "yaml--changed",
    }  # fmt: skip
    DEFAULT_CSS = """
    YamlArea { border: round $border-blurred; border-title-color: $foreground; padding: 0;
               border-subtitle-color: $text-muted; background: $background; height: 1fr;
               scrollbar-size: 0 1; }
    YamlArea:focus { border: heavy $accent; border-title-style: bold; }
    YamlArea > .yaml--key { color: $primary; }
    YamlArea > .text-area--gutter { color: $text-muted; }
    YamlArea > .text-area--cursor-gutter { color: $foreground; }
    YamlArea > .yaml--comment { color: $text-muted; text-style: italic; }
    YamlArea > .yaml--number { color: $secondary; }
    YamlArea > .yaml--string { color: $success; }
    YamlArea > .yaml--word { color: $warning; }
    YamlArea > .yaml--wrong { color: $text-error; text-style: bold; }
    YamlArea > .yaml--changed { color: $accent; }
    """

    class Refused(Message):
        """Something was typed that a locked text does not take."""

    def __init__(self) -> None:
        """Make it, empty."""
        super().__init__(
            id="yaml",
            soft_wrap=False,
            show_line_numbers=True,
            tab_behavior="focus",
            highlight_cursor_line=True,
            max_checkpoints=1,
        )
        self.cursor_blink = False  # a blinking cursor is bytes over the link
        self.border_title = "YAML"
        self._marks: dict[int, str] = {}
        self._shown = ""

    def show_text(self, text: str) -> None:
        """Show a text that did not come from here; cursor and scroll stay where they can."""
        if text == self._shown and self.text == self._own(text):
            return
        location, scroll = self.cursor_location, self.scroll_offset.y
        self.load_text(text)
        self._shown = text
        row = min(location[0], self.document.line_count - 1)
        self.move_cursor((row, min(location[1], len(self.document.get_line(row)))))
        self.scroll_to(y=scroll, animate=False)

    def typed(self) -> str | None:
        """Return the text as it was typed, None where nobody typed since it was shown."""
        text = self.text
        if text == self._own(self._shown):
            return None
        self._shown = text
        return text

    def _own(self, text: str) -> str:
        """Return a text as the area would give it back: with one kind of line end."""
        newline = self.document.newline
        return newline.join(text.splitlines()) + (newline if text.endswith(("\n", "\r")) else "")

    def show_marks(self, marks: Mapping[int, str]) -> None:
        """Show signs beside lines, counted from 1."""
        if dict(marks) != self._marks:
            self._marks = dict(marks)
            self._line_cache.clear()
            self.refresh()

    def go_to(self, line: int) -> None:
        """Put the cursor on a line, counted from 1."""
        row = max(0, min(line - 1, self.document.line_count - 1))
        text = self.document.get_line(row)
        self.move_cursor((row, len(text) - len(text.lstrip())), center=True)

    def get_line(self, line_index: int) -> Text:
        """Return a line with its colours."""
        line = super().get_line(line_index)
        for start, end, what in parts(line.plain):
            line.stylize(self._style_of(what), start, end)
        return line

    def _style_of(self, what: str) -> Style:
        whole = self.get_component_rich_style(f"yaml--{what}")  # the cursor's line has its own back
        return Style(color=whole.color, bold=whole.bold, italic=whole.italic)

    @property
    def gutter_width(self) -> int:
        """Cells of line numbers and marks."""
        return super().gutter_width + 1 if self.show_line_numbers else 0

    def _render_line(self, y: int) -> Strip:
        strip = super()._render_line(y)
        place = y + self.scroll_offset.y
        lines = self.wrapped_document._offset_to_line_info
        if place >= len(lines) or not self.show_line_numbers:
            return strip
        row, section = lines[place]
        mark = self._marks.get(row + 1, "") if section == 0 else ""
        if not mark:
            return strip
        at = self.gutter_width - 2
        kind = "wrong" if mark == "✗" else "changed"
        style = self._style_of(kind)
        left, right = strip.crop(0, at), strip.crop(at + 1, strip.cell_length)
        base = next(iter(strip.crop(at, at + 1)), Segment(" ")).style
        return Strip.join([left, Strip([Segment(mark, (base or style) + style)], 1), right])

    async def on_key(self, event: events.Key) -> None:
        """Say that a locked text takes nothing; a key that does something is none of that."""
        is_edit = event.is_printable or event.key in ("enter", "backspace", "delete")
        if self.read_only and is_edit and not self._does_something(event.key):
            self.post_message(self.Refused())

    def on_paste(self) -> None:
        """Say so of what is pasted too."""
        if self.read_only:
            self.post_message(self.Refused())

    def _does_something(self, key: str) -> bool:
        bound = self.screen.active_bindings.get(key)
        return bound is not None and bound.node is not self

    def action_undo(self) -> None:
        """Take the last change back, wherever it was made."""
        self.screen.action_undo()  # pyright: ignore[reportAttributeAccessIssue]

    def action_redo(self) -> None:
        """Make it again."""
        self.screen.action_redo()  # pyright: ignore[reportAttributeAccessIssue]
