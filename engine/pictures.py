"""Sample sheets as PNG: rows of the same noise under different samplers.

How a sheet is laid out stands in the PNG itself, so that a viewer can take it apart.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.files import replacing
from engine.training.quality import to_unit_range

LAYOUT_KEY = "diffopt:sheet"
_GAP = 1
_SMALLEST_SIDE = 48  # tiny samples are enlarged, or nothing could be seen


def save_sheet(path: Path, rows: list[np.ndarray]) -> None:
    """Write rows of samples (n, H, W, C) in [-1, 1] as one PNG, a row of pictures for each.

    The file is written whole or not at all.
    """
    height, width, channels = rows[0].shape[1:]
    columns = min(len(row) for row in rows)
    scale = max(1, -(-_SMALLEST_SIDE // min(height, width)))
    sheet = np.full(
        (len(rows) * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8
    )
    for r, row in enumerate(rows):
        pixels = np.round(to_unit_range(row[:columns]) * 255).astype(np.uint8)
        if channels != 3:
            pixels = np.repeat(pixels[..., :1], 3, axis=-1)
        for c, picture in enumerate(pixels):
            top, left = r * (height + _GAP), c * (width + _GAP)
            sheet[top : top + height, left : left + width] = picture
    image = Image.fromarray(sheet)
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    layout = {"rows": len(rows), "columns": columns, "height": height, "width": width}
    facts = PngInfo()
    facts.add_text(LAYOUT_KEY, json.dumps(layout | {"gap": _GAP, "scale": scale}))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=facts)
