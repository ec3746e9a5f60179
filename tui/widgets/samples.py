"""SamplesPane: a run's sample sheets as characters, step by step, before and after.

A picture is drawn when another is asked for, when a new one comes, and when the pane changes its
size: never by a clock. Reading and resizing happen off the event loop.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.binding import BindingType
from textual.color import Color
from textual.content import Content
from textual.style import Style

from engine.errors import DiffoptError
from engine.run import RunFolder
from tui.format import printable
from tui.gallery import SampleFile, gallery
from tui.halfcell import MODES, Palette, Row
from tui.keys import bindings_for
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from tui.app import DiffoptApp

_EMPTY = (
    "No samples yet.",
    "",
    "They come while a stage trains (every",
    "training.sample_every steps), and with",
    "the finished student.",
)
_KEYS = ("view.images", "view.open_file", "view.blink")
_COLOURS = {"standard": 16, "256": 256, "truecolor": 1 << 24}


class SamplesPane(Pane):
    """Original, undistilled and student from the same noise."""

    BINDINGS: ClassVar[list[BindingType]] = [key for key in bindings_for("live") if key.id in _KEYS]

    def __init__(
        self, title: str = "Samples", *, id: str | None = "samples", is_by_time: bool = True
    ) -> None:
        """Make it, empty. `is_by_time`: the sheets come one after the other, as one run's do."""
        super().__init__(title, _EMPTY, id=id)
        self._is_by_time = is_by_time
        self.run: RunFolder | None = None
        self.samples: tuple[SampleFile, ...] = ()
        self.original_steps: int | None = None
        self.row: int | None = None  # 1 undistilled, 2 student, None all three
        self._at = -1  # -1 and the last follow the newest
        self._drawn: object = None
        self._mode: str | None = None

    def show(
        self,
        run: RunFolder,
        samples: tuple[SampleFile, ...],
        *,
        original_steps: int | None = None,
        row: int | None = None,
    ) -> None:
        """Show a run's sheets, the newest unless an older one was chosen.

        Calling it again with what is shown costs nothing.
        """
        if self.run != run:
            self._at, self.row = -1, row
        elif samples != self.samples and self._at >= len(self.samples) - 1:
            self._at = -1
        self.run, self.samples, self.original_steps = run, samples, original_steps
        self._draw_if_new()

    def choose(self, index: int) -> None:
        """Show the sheet of that number, from 0."""
        self._go(index - self._index)

    @property
    def shown(self) -> SampleFile | None:
        """The sheet that is shown."""
        if not self.samples:
            return None
        return self.samples[self._index]

    @property
    def mode(self) -> str:
        """The image mode that was chosen, or remembered."""
        return self._mode or self._app.preferences.image_mode or MODES[0]

    # Keys

    def action_move_left(self) -> None:
        """Show the sheet before."""
        self._go(-1)

    def action_move_right(self) -> None:
        """Show the next sheet."""
        self._go(1)

    def action_move_top(self) -> None:
        """Show the first sheet."""
        self._go(-len(self.samples))

    def action_move_bottom(self) -> None:
        """Show the newest sheet, and those that come."""
        self._go(len(self.samples))

    def action_image_mode(self) -> None:
        """Draw pictures another way, and keep that."""
        self._mode = MODES[(MODES.index(self.mode) + 1) % len(MODES)]
        self._app.preferences.set(image_mode=self._mode)
        self._draw_if_new()

    def action_blink(self) -> None:
        """Show undistilled and student in turn, at one place, then all again."""
        self.row = {None: 1, 1: 2, 2: None}[self.row]
        self._draw_if_new()

    def action_open_file(self) -> None:
        """Tell and copy the picture's path, and open it where there is a desktop."""
        if (path := self.path) is None:
            self._app.tell("There is no picture yet.", kind="samples")
            return
        self._app.copy_to_clipboard(str(path))
        is_opened = open_on_desktop(path)
        told = printable(f"{path} {'opened' if is_opened else 'copied'}")
        self._app.tell(told, kind=f"open {path}")

    @property
    def path(self) -> Path | None:
        """The PNG that is shown."""
        return self.run.path / self.shown.path if self.run and self.shown else None

    # Drawing

    def on_resize(self, event: events.Resize) -> None:
        """Draw at the new size."""
        self._draw_if_new()

    def on_show(self) -> None:
        """Draw what came while the pane was hidden."""
        self._draw_if_new()

    @property
    def _app(self) -> DiffoptApp:
        return cast("DiffoptApp", self.app)

    @property
    def _index(self) -> int:
        last = len(self.samples) - 1
        return last if self._at < 0 else min(self._at, last)

    def _go(self, by: int) -> None:
        if self.samples:
            wanted = min(len(self.samples) - 1, max(0, self._index + by))
            self._at = -1 if wanted == len(self.samples) - 1 else wanted
            self._draw_if_new()

    def _draw_if_new(self) -> None:
        if not self.is_attached or self.run is None:
            return
        size = self.scrollable_content_region.size
        wanted = (self.run, self.shown, self.original_steps, size, self.mode, self.row,
                  self._palette)  # fmt: skip
        self._retitle()
        if wanted == self._drawn or not size.width or not size.height:
            return
        self._drawn = wanted
        if self.path is None:
            self.set_lines(_EMPTY)
            return
        draw = partial(self._draw, self.path, size.width, size.height)
        self.run_worker(draw, exclusive=True)

    async def _draw(self, path: Path, width: int, height: int) -> None:
        names, rows = self._names()
        try:
            drawn = await asyncio.to_thread(
                _read_and_draw, path, rows, names, (width, height), self.mode, self._palette
            )
        except DiffoptError as error:
            self.set_lines([printable(str(error))])
            return
        self.set_lines([content_of(row) for row in drawn] or ["There is no room for a picture."])

    def _names(self) -> tuple[list[str], list[int]]:
        shown = self.shown
        student = f" {shown.steps}" if shown and shown.steps else ""
        steps = (shown and shown.original_steps) or self.original_steps
        original = f" {steps}" if steps else ""
        names = [f"original{original}", f"undistilled{student}", f"student{student}"]
        rows = [0, 1, 2] if self.row is None else [self.row]
        return [names[row] for row in rows], rows

    def _retitle(self) -> None:
        shown = self.shown
        if shown is None:
            self.set_title("Samples", "")
            return
        steps = f" · {shown.steps} steps" if shown.steps else ""
        newer = len(self.samples) - 1 - self._index if self._is_by_time else 0
        place = f"{self._index + 1} of {len(self.samples)}"
        place += f", {newer} newer" if newer else ""
        words = f"{shown.words}{steps}"
        edge = f"{place} · {self.mode}"
        self.set_title(f"Samples  {words}", edge if self.heading is None else f"{words} · {edge}")

    @property
    def _palette(self) -> Palette:
        app = self._app
        colours = 0 if app.no_color else _COLOURS.get(app.console.color_system or "", 1 << 24)
        return Palette(colours, app.options.is_ascii, app.current_theme.dark)


def content_of(row: Row) -> Content:
    """Return a drawn row as a line of a pane."""
    return Content.assemble(
        *(
            (text, Style(foreground=_colour(ink), background=_colour(ground)))
            if ink or ground
            else text
            for text, ink, ground in row
        )
    )


def open_on_desktop(path: Path) -> bool:
    """Open a file with what the desktop has for it; returns False where there is no desktop."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform == "darwin":
        command = "open"
    elif os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        command = "xdg-open"
    else:
        return False
    try:
        subprocess.Popen(
            [command, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    return True


def _read_and_draw(
    path: Path,
    rows: Sequence[int],
    names: Sequence[str],
    size: tuple[int, int],
    mode: str,
    palette: Palette,
) -> list[Row]:
    from tui.sheet import read_sheet

    return gallery(read_sheet(path), rows, names, size, mode, palette)


def _colour(rgb: tuple[int, int, int] | None) -> Color | None:
    return Color(*rgb) if rgb else None
