"""The Compare screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from tui.keys import bindings_for
from tui.screens.base import DiffoptScreen
from tui.widgets.pane import Pane


class CompareScreen(DiffoptScreen):
    """Compare."""

    NAME = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("compare")]

    def compose_body(self) -> ComposeResult:
        """Yield one pane."""
        yield Pane("Compare", ["This screen is being built."], id="compare")
