"""The Live screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from tui.keys import bindings_for
from tui.screens.base import DiffoptScreen
from tui.widgets.pane import Pane


class LiveScreen(DiffoptScreen):
    """Live."""

    NAME = "live"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("live")]

    def compose_body(self) -> ComposeResult:
        """Yield one pane."""
        yield Pane("Live", ["This screen is being built."], id="live")
