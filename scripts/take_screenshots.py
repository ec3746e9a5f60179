"""Take the pictures of docs/screenshots: each screen at 120x36 and 80x24, over recorded true runs.

`make screenshots`, or `python scripts/take_screenshots.py [FOLDER]`. SVG, as Textual exports it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
RECORDED = HOUSE / "tests" / "fixtures" / "runs"
SHOWN = "/Users/ada/Documents/diffopt"
SIZES = ((120, 36), (80, 24))
# name, the keys that lead there from Live
PICTURES = (
    ("live", ()),
    ("runs", ("1",)),
    ("config", ("2",)),
    ("compare", ("1", "space", "down", "space", "4")),
    ("help", ("3", "question_mark")),
)


async def take(folder: Path, runs_dir: Path, size: tuple[int, int]) -> None:
    """Walk through the screens at one size and keep each one's picture."""
    from engine.run import RunFolder
    from tui.app import DiffoptApp
    from tui.options import Options
    from tui.targets import Target

    run = RunFolder.open(runs_dir / "ladder")
    app = DiffoptApp(Options(runs_dir=runs_dir, theme="midnight"), Target(run=run))
    async with app.run_test(size=size) as pilot:
        await pilot.pause(2.0)
        for name, keys in PICTURES:
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.5)
            await pilot.pause(1.5)
            path = folder / f"{name}-{size[0]}x{size[1]}.svg"
            path.write_text(cleaned(app.export_screenshot(title="diffopt"), runs_dir.parent))
            print(path)


def cleaned(picture: str, scratch: Path) -> str:
    """Return a picture that fetches no font and names no folder of this machine."""
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code,", "Fira Code, Menlo, DejaVu Sans Mono,")
    return picture.replace(str(scratch), SHOWN)


def main() -> None:
    """Take all pictures, over copies of the recorded runs and with nobody's own settings."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HOUSE / "docs" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    # as long as what stands for it in the pictures, for their letters have fixed places
    with tempfile.TemporaryDirectory() as spare:
        scratch = Path(f"{spare}/{'x' * max(1, len(SHOWN) - len(spare) - 1)}")
        scratch.mkdir()
        os.environ["XDG_CONFIG_HOME"] = os.environ["DIFFOPT_STATE_DIR"] = str(scratch)
        os.environ.pop("NO_COLOR", None)
        os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"  # whatever terminal this is started in
        runs_dir = scratch / "runs"
        shutil.copytree(RECORDED, runs_dir)
        for size in SIZES:
            asyncio.run(take(folder, runs_dir, size))


if __name__ == "__main__":
    main()
