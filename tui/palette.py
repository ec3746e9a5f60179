"""The palette: every action of the screen below it, by name; grey ones with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape
from textual.screen import Screen

from tui.keys import BY_ID, key_words
from tui.live_keys import LiveKey, do, live_keys

if TYPE_CHECKING:
    from tui.app import DiffoptApp


def offered(screen: Screen[object]) -> Iterator[tuple[str, str, LiveKey]]:
    """Yield (name, what it does, key) of every action that the screen has, each once."""
    seen: set[str] = set()
    for key in live_keys(screen):
        known = BY_ID.get(key.id)
        name = known.words if known is not None else key.words
        if name and name not in seen:
            seen.add(name)
            yield name, known.help if known is not None else "", key


class Actions(Provider):
    """What the palette finds."""

    async def discover(self) -> Hits:
        """Yield all of them."""
        for name, about, key in offered(self.screen):
            yield DiscoveryHit(
                _shown(Content(name), key), self._doing(key), name, help=_about(about, key)
            )

    async def search(self, query: str) -> Hits:
        """Yield those whose name fits, then those whose help has the words."""
        matcher = self.matcher(query)
        for name, about, key in offered(self.screen):
            score = matcher.match(name)
            if score <= 0 and all(word in about.lower() for word in query.lower().split()):
                score = 0.01
            if score > 0:
                shown = _shown(matcher.highlight(name), key)
                yield Hit(score, shown, self._doing(key), name, help=_about(about, key))

    def _doing(self, key: LiveKey) -> partial[None]:
        return partial(do, cast("DiffoptApp", self.app), key.action, key.node)


def _shown(name: Content, key: LiveKey) -> Content:
    line = Content.assemble(name, ("  ", ""), (key_words(key.key), "$text-muted"))
    return line if key.is_enabled else line.stylize("$text-disabled")


def _about(about: str, key: LiveKey) -> str:
    """Return what an action does, or why it cannot be done, safe from being read as markup."""
    return escape(about if key.is_enabled else key.why_not)
