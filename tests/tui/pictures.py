"""Screens as text, held against what they were: tests/tui/pictures/NAME.txt.

DIFFOPT_KEEP_PICTURES=1 writes them anew; look at the difference before keeping it.
"""

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from tests.tui.waiting import until

FOLDER = Path(__file__).resolve().parent / "pictures"


async def come_to(name: str, look: Callable[[], str], pilot: Pilot[Any]) -> None:
    """Wait until a screen's text is the one kept under `name`; fail where it never is."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("DIFFOPT_KEEP_PICTURES"):
        before = None
        while before != (before := _drawn(look())):  # what is read comes late on a busy machine
            await pilot.pause(1.5)
        path.parent.mkdir(exist_ok=True)
        path.write_text(_drawn(look()), encoding="utf-8")
        return
    kept = path.read_text(encoding="utf-8")
    await until(lambda: _drawn(look()) == kept, pilot.pause, lambda: _told(path, kept, look()))


def _drawn(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _told(path: Path, kept: str, text: str) -> str:
    drawn = _drawn(text)
    difference = "\n".join(
        difflib.unified_diff(kept.splitlines(), drawn.splitlines(), "kept", "drawn", lineterm="")
    )
    return f"{path.name} differs:\n{difference}"
