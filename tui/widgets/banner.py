"""The sentence under the header that says what is wrong, or how a run ended."""

from __future__ import annotations

import textwrap

from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

LINES = 2


class Banner(Static):
    """A sentence that is there while it has something to say; `content` is the whole of it."""

    def __init__(self) -> None:
        """Make it without words, out of sight."""
        super().__init__("", id="banner", markup=False)
        self.display = False

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines it takes."""
        return len(_lines(str(self.content), width))

    def render(self) -> Content:
        """Return the sentence in lines of the width there is."""
        return Content("\n".join(_lines(str(self.content), self.content_size.width)))


def _lines(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 8), max_lines=LINES, placeholder=" …") or [""]
