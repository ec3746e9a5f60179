"""A sheet of samples, taken apart: rows of the same noise under different samplers. Pure.

The engine writes how a sheet is laid out into the PNG itself; one without it is measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import DataError
from engine.run.fact import Fact

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS = ("original", "undistilled", "student")
LAYOUT_KEY = "diffopt:sheet"  # engine.pictures writes it
_SMALLEST_SIDE = 48  # of a picture on a sheet, enlarged to that by the engine


class Layout(Fact):
    """How pictures stand on a sheet; lengths in pixels of a picture, before enlarging."""

    rows: int
    columns: int
    height: int
    width: int
    gap: int = 1
    scale: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the PNG."""
        return (
            self.scale * (self.columns * (self.width + self.gap) - self.gap),
            self.scale * (self.rows * (self.height + self.gap) - self.gap),
        )


class Sheet(Fact):
    """The pictures of a sheet by row, as small as they were made."""

    path: Path
    layout: Layout
    pictures: tuple[tuple[Image, ...], ...]


def read_sheet(path: Path, rows: int = len(ROWS)) -> Sheet:
    """Return the sheet at `path`; raises DataError where there is none that can be read."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(path) as image:
            image.load()
            layout = _told(image) or measured(image.width, image.height, rows)
            if layout is None or layout.size != image.size:
                raise DataError(f"{path} is {image.width}x{image.height}, no sheet of {rows} rows.")
            return Sheet(path, layout, _cut(image.convert("RGB"), layout))
    except FileNotFoundError as error:
        raise DataError(f"{path} is gone.") from error
    except (
        OSError,
        SyntaxError,
        ValueError,  # a path that no file can have
        UnidentifiedImageError,
        Pillow.DecompressionBombError,
    ) as error:
        raise DataError(f"{path} cannot be read as a picture ({error}).") from error


def measured(width: int, height: int, rows: int) -> Layout | None:
    """Return the layout of square pictures that gives a sheet of this size; None where none does.

    The engine enlarges pictures below 48 pixels to that by a whole number, which leaves one.
    """
    for scale in range(1, _SMALLEST_SIDE + 1):
        if width % scale or height % scale:
            continue
        side, rest = divmod(height // scale + 1, rows)
        side -= 1
        if rest or side < 1 or scale != max(1, -(-_SMALLEST_SIDE // side)):
            continue
        columns, rest = divmod(width // scale + 1, side + 1)
        if not rest and columns:
            return Layout(rows, columns, side, side, 1, scale)
    return None


def _told(image: Image) -> Layout | None:
    try:
        return Layout(
            **{name: int(one) for name, one in json.loads(image.info[LAYOUT_KEY]).items()}
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _cut(image: Image, layout: Layout) -> tuple[tuple[Image, ...], ...]:
    scale = layout.scale
    across, down = scale * (layout.width + layout.gap), scale * (layout.height + layout.gap)
    rows = []
    for row in range(layout.rows):
        pictures = []
        for column in range(layout.columns):
            left, top = column * across, row * down
            box = (left, top, left + scale * layout.width, top + scale * layout.height)
            pictures.append(image.crop(box).resize((layout.width, layout.height), 0))
        rows.append(tuple(pictures))
    return tuple(rows)
