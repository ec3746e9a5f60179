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
import time
from pathlib import Path
from typing import NamedTuple

HOUSE = Path(__file__).resolve().parents[1]
RECORDED = HOUSE / "tests" / "fixtures" / "runs"
SHOWN = "/Users/ada/Documents/diffopt"
SIZES = ((120, 36), (80, 24))
SETTLING_SECONDS = 1.5
STUDY = """\
# the digits in four steps, second try
model_path: bundled:digits
optimization_stages: 3
target_steps: 4
quality_threshold: 0.95
training:
  iterations: [60, 80, 400]  # 200 were too few
  learning_rate: 1e-3
  batch_size: 0
"""


class Picture(NamedTuple):
    """What is opened first, and the keys that lead to the picture."""

    name: str
    opened: str  # a run, or a file
    keys: tuple[str, ...] = ()


PICTURES = (
    Picture("live", "ladder"),
    Picture("live-at-work", "digits-20-to-4"),
    Picture("report", "ladder", ("O",)),
    Picture("runs", "ladder", ("1",)),
    Picture("config", "ladder", ("2",)),
    # a value changed in the form; the mistake is the file's own
    Picture(
        "config-editing",
        "study.yaml",
        (*["down"] * 3, "enter", "backspace", "6", "enter", "ctrl+n"),
    ),
    Picture("compare", "ladder", ("1", "down", "space", "down", "space", "4")),
    Picture("help", "ladder", ("question_mark",)),
)


async def take(picture: Picture, scratch: Path, size: tuple[int, int]) -> str:
    """Return one screen's picture."""
    from engine.run import RunFolder
    from tui.app import DiffoptApp
    from tui.options import Options
    from tui.targets import Target

    path = scratch / "runs" / picture.opened
    if picture.opened.endswith(".yaml"):
        target = Target(config=Path(picture.opened))
    else:
        target = Target(run=RunFolder.open(path))
    app = DiffoptApp(Options(runs_dir=scratch / "runs", theme="midnight"), target)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(SETTLING_SECONDS)
        for key in picture.keys:
            await pilot.press(key)
            await pilot.pause(0.3)
        await pilot.pause(SETTLING_SECONDS)
        return app.export_screenshot(title="diffopt")


def cleaned(picture: str, scratch: Path) -> str:
    """Return a picture that fetches no font and names no folder of this machine."""
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code,", "Fira Code, Menlo, DejaVu Sans Mono,")
    return picture.replace(str(scratch), SHOWN)


def take_all(folder: Path, scratch: Path) -> None:
    """Take every picture at every size."""
    from tests.tui.at_work import at_work

    runs_dir = scratch / "runs"
    shutil.copytree(RECORDED, runs_dir)
    with at_work(runs_dir):
        for picture in PICTURES:
            for size in SIZES:
                (scratch / "study.yaml").write_text(STUDY, encoding="utf-8")
                taken = asyncio.run(take(picture, scratch, size))
                path = folder / f"{picture.name}-{size[0]}x{size[1]}.svg"
                path.write_text(cleaned(taken, scratch), encoding="utf-8")
                print(path)


def main() -> None:
    """Take all pictures, over copies of the recorded runs and with nobody's own settings."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HOUSE / "docs" / "screenshots"
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HOUSE))
    # as long as what stands for it in the pictures, for their letters have fixed places
    with tempfile.TemporaryDirectory() as spare:
        scratch = Path(f"{spare}/{'x' * max(1, len(SHOWN) - len(spare) - 1)}")
        scratch.mkdir()
        os.environ["XDG_CONFIG_HOME"] = os.environ["DIFFOPT_STATE_DIR"] = str(scratch)
        os.environ.pop("NO_COLOR", None)
        os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"  # whatever terminal this is started in
        os.environ["TZ"] = "UTC"  # and wherever
        time.tzset()
        os.chdir(scratch)
        take_all(folder, scratch)


if __name__ == "__main__":
    main()
