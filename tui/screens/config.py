"""The Config screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from tui.keys import bindings_for
from tui.screens.base import DiffoptScreen
from tui.widgets.pane import Pane


class ConfigScreen(DiffoptScreen):
    """Config."""

    NAME = "config"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("config")]

    def compose_body(self) -> ComposeResult:
        """Yield one pane."""
        yield Pane("Config", ["This screen is being built."], id="config")
