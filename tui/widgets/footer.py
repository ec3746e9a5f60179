"""The last line: the keys that do something here, by focus, clickable, grey where they cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from tui.keys import BY_ID, key_words
from tui.live_keys import LiveKey, do, live_keys

if TYPE_CHECKING:
    from tui.app import DiffoptApp

# What a screen is there for comes first, and is seen where room is short.
_FIRST = {
    "runs": ("pane.open", "runs.new", "runs.mark", "view.find"),
    "config": ("config.run", "config.save", "config.undo", "config.redo", "config.default"),
    "live": ("run.pause", "run.resume", "run.cancel_stage", "run.checkpoint", "view.report",
             "view.zoom"),
    "compare": ("view.metric", "view.x_axis", "view.log_y", "compare.export", "compare.diff"),
}  # fmt: skip


class Footer(Widget):
    """One line of keys."""

    COMPONENT_CLASSES = {"footer--key", "footer--words", "footer--off"}  # noqa: RUF012

    def __init__(self) -> None:
        """Make it; it looks at the screen when it is drawn."""
        super().__init__(id="footer")
        self._spans: list[tuple[int, int, LiveKey]] = []
        self._shown: tuple[object, ...] = ()

    def on_mount(self) -> None:
        """Listen to what changes the keys."""
        self.screen.bindings_updated_signal.subscribe(self, self._keys_changed)

    def _keys_changed(self, _: object) -> None:
        if self.is_attached and self.screen is self.app.screen:
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return the line: keys of the screen left, those that lead out right."""
        width = self.size.width
        focused = self.screen.focused
        here = {node.id for node in focused.ancestors_with_self} if focused else set()
        left: list[LiveKey] = []
        right: list[LiveKey] = []
        seen: set[str] = set()
        for key in live_keys(self.screen):
            known = BY_ID.get(key.id)
            if known is None or not known.is_shown or key.id in seen:
                continue
            if known.panes and here.isdisjoint(known.panes):
                continue
            seen.add(key.id)
            (right if known.is_right else left).append(key)
        first = _FIRST.get(getattr(self.screen, "NAME", ""), ())

        def rank(key: LiveKey) -> int:
            """Return 0, 1 for the screen's first two, 2 for those of the focused pane alone."""
            place = first.index(key.id) if key.id in first else len(first)
            return place if place < 2 else 2 if BY_ID[key.id].panes else place + 1

        left.sort(key=rank)
        while right and sum(map(_width, right)) > width:
            right.pop(0)
        room = width - sum(map(_width, right)) - 1
        shown: list[LiveKey] = []
        for key in sorted(left, key=lambda key: not key.is_enabled):  # grey ones where room is left
            if _width(key) <= room:
                shown.append(key)
                room -= _width(key)
        cells: list[tuple[LiveKey | None, str]] = [(key, "") for key in left if key in shown]
        cells.append((None, " " * (room + 1)))
        cells += [(key, "") for key in right]
        return self._drawn(cells)

    def _drawn(self, cells: list[tuple[LiveKey | None, str]]) -> Strip:
        style = self.get_component_rich_style
        base = self.rich_style
        segments: list[Segment] = []
        self._spans, at = [], 0
        for key, blank in cells:
            if key is None:
                segments.append(Segment(blank, base))
                at += len(blank)
                continue
            name, words = key_words(key.key), key.words
            off = style("footer--off")
            segments += [
                Segment(f" {name} ", style("footer--key") if key.is_enabled else off),
                Segment(f"{words} ", style("footer--words") if key.is_enabled else off),
            ]
            self._spans.append((at, at + _width(key), key))
            at += _width(key)
        return Strip(segments)

    def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does, or tell why it is grey."""
        for first, last, key in self._spans:
            if first <= event.x < last:
                do(cast("DiffoptApp", self.app), key.action, key.node)


def _width(key: LiveKey) -> int:
    return len(key_words(key.key)) + len(key.words) + 3
