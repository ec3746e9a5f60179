"""What was told during this session, kept, and how a run's end is rung. Pure but for the clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from engine.run.fact import Fact

SAME_KIND_SECONDS = 5.0
KEPT = 500


class Notice(Fact):
    """One line for a person."""

    time: float  # seconds since the epoch
    text: str
    severity: str  # "information", "warning", "error"


class Notices:
    """All notices of a session, newest last, and which of them may pop up."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start empty."""
        self._clock = clock
        self._kept: deque[Notice] = deque(maxlen=KEPT)
        self._last_shown: dict[str, float] = {}

    def add(self, text: str, severity: str = "information", kind: str | None = None) -> bool:
        """Keep a notice.

        Returns whether it may pop up: one of each kind in five seconds does. Its kind is its text
        where none is named.
        """
        now = self._clock()
        self._kept.append(Notice(now, text, severity))
        kind = kind or text
        if now - self._last_shown.get(kind, -SAME_KIND_SECONDS) < SAME_KIND_SECONDS:
            return False
        if len(self._last_shown) > KEPT:
            recent = now - SAME_KIND_SECONDS
            self._last_shown = {one: at for one, at in self._last_shown.items() if at > recent}
        self._last_shown[kind] = now
        return True

    def __iter__(self) -> Iterator[Notice]:
        """Go through all, oldest first."""
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)


def end_signal(setting: str, text: str) -> str:
    """Return what to write to the terminal when a run ends: "bell", "notification" or "off"."""
    if setting == "bell":
        return "\a"
    if setting == "notification":
        plain = "".join(letter for letter in text if letter.isprintable())
        return f"\x1b]9;{plain}\x1b\\"
    return ""
