"""The last line: the keys that do something here, by focus, clickable, grey where they cannot."""

from __future__ import annotations

from typing import Any

from rich.segment import Segment
from textual import events
from textual.dom import DOMNode
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from engine.run.fact import Fact
from tui.keys import BY_ID, KEYS, key_words

# What a screen is there for comes first, and is seen where room is short.
_FIRST = {
    "runs": ("pane.open", "runs.new", "runs.mark", "view.find"),
    "config": ("config.run", "config.save", "config.undo", "config.redo", "config.default"),
    "live": ("run.pause", "run.resume", "run.cancel_stage", "run.checkpoint", "view.report",
             "view.zoom"),
    "compare": ("view.metric", "view.x_axis", "view.log_y", "compare.export", "compare.diff"),
}  # fmt: skip
_PLACE = {key.id: place for place, key in enumerate(KEYS)}


class LiveKey(Fact):
    """A binding that works now."""

    id: str
    key: str  # the key as bound, after the user's keymap
    words: str
    action: str
    node: DOMNode
    is_enabled: bool


def live_keys(screen: Screen[Any]) -> list[LiveKey]:
    """Return the bindings that the focus reaches and that something answers, in table order."""
    found: list[LiveKey] = []
    for key, active in screen.active_bindings.items():
        node, binding = active.node, active.binding
        if not answers(node, binding.action):
            continue
        found.append(
            LiveKey(binding.id or "", key, binding.description, binding.action, node,
                    active.enabled)
        )  # fmt: skip
    found.sort(key=lambda one: _PLACE.get(one.id, -1))
    return found


def answers(node: DOMNode, action: str) -> bool:
    """Return whether an action has a method that does it."""
    name = action.partition("(")[0]
    namespace, _, name = name.rpartition(".")
    target: object = {"app": node.app, "screen": node.app.screen}.get(namespace, node)
    return hasattr(target, f"action_{name}") or hasattr(target, f"_action_{name}")


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
        """Do what the key under the mouse does."""
        for first, last, key in self._spans:
            if first <= event.x < last and key.is_enabled:
                self.app.call_later(self.app.run_action, key.action, key.node)


def _width(key: LiveKey) -> int:
    return len(key_words(key.key)) + len(key.words) + 3
