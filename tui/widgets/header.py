"""The first line of every screen: where one can go, what one looks at, how the machine is.

Tabs are clickable. What does not fit gives way in this order: the words of the tabs, the name.
"""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.content import Content
from textual.strip import Strip
from textual.style import Style as VisualStyle
from textual.widget import Widget

TABS = (("runs", "1", "Runs"), ("config", "2", "Config"), ("live", "3", "Live"),
        ("compare", "4", "Compare"))  # fmt: skip


class Header(Widget):
    """One line: the name, the four tabs, the subject, and what stands at the right."""

    COMPONENT_CLASSES = {"header--tab", "header--here"}  # noqa: RUF012

    def __init__(self, here: str) -> None:
        """Make the header of the screen called `here`."""
        super().__init__(id="header")
        self.here = here
        self._subject = Content("")
        self._right = Content("")
        self._spans: list[tuple[int, int, str]] = []
        self._way: tuple[object, int] = (None, 0)  # how the tabs are drawn, and for what

    @property
    def subject(self) -> Content:
        """What the screen is about."""
        return self._subject

    def set_words(self, subject: str | Content, right: str | Content = "") -> None:
        """Show what the screen is about, and what stands at the right."""
        subject = Content(subject) if isinstance(subject, str) else subject
        right = Content(right) if isinstance(right, str) else right
        if (subject.is_same(self._subject), right.is_same(self._right)) != (True, True):
            self._subject, self._right = subject, right
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return the line."""
        width = self.size.width
        base = self.visual_style
        right = Content.assemble(self._right, " ") if self._right else Content("")
        room = width - right.cell_length - self._subject.cell_length - 2
        tabs = self._tabs(width, room)
        segments: list[Segment] = []
        self._spans = []
        at = 0
        for text, mode in tabs:
            if mode:
                self._spans.append((at, at + len(text), mode))
            segments.append(Segment(text, self._tab_style(mode)))
            at += len(text)
        segments.append(Segment(" ", base.rich_style))
        segments += _segments(self._subject, base)
        strip = Strip(segments)
        left = strip.adjust_cell_length(width - right.cell_length, base.rich_style)
        return Strip.join([left, Strip(_segments(right, base))])

    def _tabs(self, width: int, room: int) -> list[tuple[str, str]]:
        """Return the widest tabs that there is room for.

        Once narrower ones were drawn of the same run they stay: what it does changes all the time.
        """
        ways = self._layouts()
        of = (width, self._subject.plain.partition("  ")[0])
        least = self._way[1] if of == self._way[0] else 0
        fitting = (number for number, (need, _) in enumerate(ways) if need <= room)
        self._way = (of, max(least, next(fitting, len(ways))))
        return ways[self._way[1]][1] if self._way[1] < len(ways) else []

    def on_click(self, event: events.Click) -> None:
        """Go to the tab under the mouse."""
        for first, last, mode in self._spans:
            if first <= event.x < last:
                self.app.call_later(self.app.run_action, f"app.show('{mode}')")

    def _tab_style(self, mode: str) -> Style:
        if mode:
            name = "header--here" if mode == self.here else "header--tab"
            return self.get_component_rich_style(name)
        return self.rich_style + Style(bold=True)

    def _layouts(self) -> list[tuple[int, list[tuple[str, str]]]]:
        """Return the ways to draw the tabs, widest first, each with its width."""
        name = (" diffopt ", "")
        ways = [
            [name, *((f" {key} {words} ", mode) for mode, key, words in TABS)],
            [name, *((f"{key}{words[:7].replace('Compare', 'Cmp')} ", mode)
                     for mode, key, words in TABS)],
            [*((f" {key}", mode) for mode, key, _ in TABS)],
        ]  # fmt: skip
        return [(sum(len(text) for text, _ in way), way) for way in ways]


def _segments(content: Content, base: VisualStyle) -> list[Segment]:
    def parsed(style: str | VisualStyle) -> VisualStyle:
        return VisualStyle.parse(style) if isinstance(style, str) else style

    return [
        Segment(text, (base + style).rich_style)
        for text, style in content.render(base, end="", parse_style=parsed)
    ]
