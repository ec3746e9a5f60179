"""LineEditor: one line of text being typed. Pure; the form draws it.

Stock inputs are widgets, one a setting: fifty of them cost a second at the start and ten times the
bytes of rows that are drawn by one pane.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.cells import cell_len

_WORD = re.compile(r"\w+\W*$|\W+$")


@dataclass(slots=True)
class LineEditor:
    """Text and a cursor in it."""

    text: str = ""
    cursor: int = 0

    def insert(self, words: str) -> None:
        """Type `words`; line ends become spaces."""
        words = " ".join(words.splitlines()) if words.splitlines() else ""
        self.text = self.text[: self.cursor] + words + self.text[self.cursor :]
        self.cursor += len(words)

    def press(self, key: str) -> bool:
        """Obey a key that moves or deletes; returns whether it is one."""
        text, at = self.text, self.cursor
        match key:
            case "left":
                at -= 1
            case "right":
                at += 1
            case "home" | "ctrl+a":
                at = 0
            case "end" | "ctrl+e":
                at = len(text)
            case "ctrl+left":
                at = self._word_start()
            case "ctrl+right":
                at += len(re.match(r"\W*\w*", text[at:])[0])  # pyright: ignore[reportOptionalSubscript]
            case "backspace" if at:
                text, at = text[: at - 1] + text[at:], at - 1
            case "backspace":
                pass
            case "delete":
                text = text[:at] + text[at + 1 :]
            case "ctrl+u":
                text, at = text[at:], 0
            case "ctrl+k":
                text = text[:at]
            case "ctrl+w" | "ctrl+backspace":
                start = self._word_start()
                text, at = text[:start] + text[at:], start
            case _:
                return False
        self.text, self.cursor = text, max(0, min(at, len(text)))
        return True

    def _word_start(self) -> int:
        match = _WORD.search(self.text[: self.cursor])
        return match.start() if match else 0

    def window(self, width: int) -> tuple[str, int]:
        """Return what fits into `width` cells around the cursor, and the cursor's place in it."""
        first = 0
        while first < self.cursor and cell_len(self.text[first : self.cursor]) >= width:
            first += 1
        last = len(self.text)
        while cell_len(self.text[first:last]) > width:
            last -= 1
        return self.text[first:last], self.cursor - first
