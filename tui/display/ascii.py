"""Every cell in ASCII: for LANG=C, `--ascii` and `--low`. A filter over all that is drawn."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.format import to_ascii

# The focused pane's border must not look like the others.
_HEAVY = str.maketrans({"━": "=", "┃": "#", "┏": "#", "┓": "#", "┗": "#", "┛": "#"})


class AsciiFilter(LineFilter):
    """Turns every sign into its ASCII twin of the same width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments in ASCII."""
        return [
            segment
            if segment.control or segment.text.isascii()
            else Segment(_twin(segment.text), segment.style)
            for segment in segments
        ]


@lru_cache(4096)
def _twin(text: str) -> str:
    return to_ascii(text.translate(_HEAVY))
