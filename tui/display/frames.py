"""LeanFrames: the part of the app that hands frames to the terminal, through the cell diff.

Off with `--no-cell-diff` or DIFFOPT_CELL_DIFF=0; off for good after an exception in it, for which
the stock frame stands in.
"""

from __future__ import annotations

import logging
from typing import Any

from rich.console import RenderableType
from textual import events
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.screen import Screen

from tui.display.cells import CellDiff

_LARGE = 512  # bytes; a smaller frame goes out in one write and needs no synchronising


class LeanFrames(App[None], inherit_bindings=False):
    """An App that writes only the cells that changed."""

    def __init__(self, *, is_lean: bool = True) -> None:
        """Use the cell diff, or not."""
        super().__init__()
        self._cells: CellDiff | None = CellDiff() if is_lean else None
        self._cursor_written: tuple[int, int] | None = None
        self._has_size = False

    @property
    def is_lean(self) -> bool:
        """Whether the cell diff is at work."""
        return self._cells is not None

    def on_load(self) -> None:
        """Leave the terminal plain behind, and know nothing of it after it was elsewhere."""
        self.app_resume_signal.subscribe(self, lambda _: self.draw_afresh(), immediate=True)
        self.app_suspend_signal.subscribe(self, lambda _: self._forget(), immediate=True)
        driver = self._driver
        if self._cells is not None and driver is not None and not self.is_headless:
            leave = driver.stop_application_mode

            def leave_plain() -> None:
                driver.write("\x1b[m")
                self._forget()
                leave()

            driver.stop_application_mode = leave_plain

    def on_resize(self, event: events.Resize) -> None:
        """Forget the cells: a terminal that was resized kept what it pleased."""
        if self._has_size:  # the first is what the terminal had all along
            self.draw_afresh()
        self._has_size = True

    def draw_afresh(self) -> None:
        """Write every cell with the next frame."""
        self._forget()
        if self.screen_stack:
            self.screen.refresh()

    def _forget(self) -> None:
        if self._cells is not None:
            self._cells.forget()
        self._cursor_written = None

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        if (
            self._cells is None
            or self.is_headless
            or self._driver is None
            or not self._running
            or self._closed
            or self._batch_count
            or renderable is None
        ):
            super()._display(screen, renderable)
            return
        output = None
        if isinstance(renderable, CompositorUpdate):
            try:
                width, height = self.size
                output = self._cells.frame(renderable, self.console, (width, height))
            except Exception:
                logging.getLogger(__name__).exception("the cell diff failed and is off from now on")
                self._cells = None
                self._driver.write("\x1b[m")
                super()._display(screen, renderable)
                return
        if output is None:
            self._driver.write("\x1b[m")
            self._forget()
            super()._display(screen, renderable)
            return
        output += self._cursor_move(bool(output))
        if output:
            if len(output) > _LARGE:
                self._begin_update()
            self._driver.write(output)
            if len(output) > _LARGE:
                self._end_update()
            self._driver.flush()
        self.post_display_hook()

    def _cursor_move(self, has_written: bool) -> str:
        """Return the move to where a text box has its cursor: input methods look there."""
        if not hasattr(self.focused, "cursor_blink"):  # Input and TextArea, not imported here
            return ""
        x, y = self.screen.outer_size.clamp_offset(self.cursor_position)
        if not has_written and self._cursor_written == (x, y):
            return ""
        self._cursor_written = (x, y)
        self._previous_cursor_position = self.cursor_position
        assert self._cells is not None
        return f"\x1b[{y + 1};{x + 1}H"
