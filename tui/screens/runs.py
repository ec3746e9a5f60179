"""The Runs screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from tui.keys import bindings_for
from tui.screens.base import DiffoptScreen
from tui.widgets.pane import Pane


class RunsScreen(DiffoptScreen):
    """Runs."""

    NAME = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("runs")]

    def compose_body(self) -> ComposeResult:
        """Yield one pane."""
        yield Pane("Runs", ["This screen is being built."], id="runs")
