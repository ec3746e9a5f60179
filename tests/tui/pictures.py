"""Screens as text, held against what they were: tests/tui/pictures/NAME.txt.

DIFFOPT_KEEP_PICTURES=1 writes them anew; look at the difference before keeping it.
"""

import difflib
import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "pictures"


def check_picture(name: str, text: str) -> None:
    """Fail where a screen's text is not the one kept under `name`."""
    path = FOLDER / f"{name}.txt"
    drawn = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("DIFFOPT_KEEP_PICTURES"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8")
        return
    kept = path.read_text(encoding="utf-8")
    difference = "\n".join(
        difflib.unified_diff(kept.splitlines(), drawn.splitlines(), "kept", "drawn", lineterm="")
    )
    assert not difference, f"{path.name} differs:\n{difference}"
