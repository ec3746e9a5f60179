"""A terminal to hold frames against."""

from typing import Any

import pyte
import pyte.modes
import pytest


class Terminal:
    """A terminal emulator of a size, fed with what a program writes."""

    def __init__(self, width: int, height: int) -> None:
        self.screen = pyte.Screen(width, height)
        self.stream = pyte.Stream(self.screen)
        self.screen.reset_mode(pyte.modes.DECAWM)  # as Textual leaves it

    def feed(self, text: str) -> None:
        self.stream.feed(text)

    def cells(self) -> list[list[Any]]:
        """What can be seen: of a blank without lines through it only the ground."""
        return [
            [self._seen(self.screen.buffer[y][x]) for x in range(self.screen.columns)]
            for y in range(self.screen.lines)
        ]

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @staticmethod
    def _seen(cell: Any) -> Any:
        if cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough):
            return (" ", cell.bg)
        return tuple(cell)


@pytest.fixture
def terminal() -> type[Terminal]:
    return Terminal
