"""The Config screen as it looks, at two sizes, held against what was looked at and liked.

`DIFFOPT_NEW_SNAPSHOTS=1 pytest tests/tui/test_config_snapshots.py` draws them anew; look at them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import estimate as estimate_module
from engine.estimate import Estimate
from tests.tui.screens.config.scene import Scene
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.options import Options
from tui.screens.config import ConfigScreen
from tui.targets import Target

SNAPSHOTS = Path(__file__).parent / "snapshots"
TEXT = """\
# fox study, second try
model_path: bundled:digits  # here
target_steps: 4
training:
  learning_rate: 3.0e-4  # was 1e-4
  batch_size: 0
"""
TOLD = Estimate(
    seconds=7800,
    spread=1.3,
    memory_bytes=27 << 30,
    machine_bytes=64 << 30,
    disk_bytes=6 * 10**9,
    free_bytes=10**12,
    basis="from 2 runs here",
)


def rows(app: DiffoptApp) -> str:
    """Return what the screen shows between header and footer, as plain text."""
    strips = app.screen._compositor.render_strips()[1:-1]
    lines = ("".join(segment.text for segment in strip).rstrip() for strip in strips)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", ["wrong", "right"])
def test_the_screen_looks_as_it_did(
    options: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    go: Callable[..., Any],
    size: tuple[int, int],
    scene: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate_module, "estimate", lambda config, runs_dir: TOLD)
    file = tmp_path / "fox.yaml"
    file.write_text(TEXT if scene == "wrong" else TEXT.replace("size: 0", "size: 32"))

    async def story() -> str:
        app = DiffoptApp(options, Target(config=Path("fox.yaml")))
        async with app.run_test(size=size) as pilot:
            await Scene(app, pilot).opened()
            screen = app.screen
            assert isinstance(screen, ConfigScreen)
            screen.form.go_to(
                "training.learning_rate" if scene == "right" else "training.batch_size"
            )
            if scene == "right":
                await until(lambda: screen.estimate is not None, pilot.pause)
            await pilot.pause()
            return rows(app)

    shown = go(story())
    stored = SNAPSHOTS / f"config-{scene}-{size[0]}x{size[1]}.txt"
    if os.environ.get("DIFFOPT_NEW_SNAPSHOTS"):
        stored.parent.mkdir(exist_ok=True)
        stored.write_text(shown, encoding="utf-8")
    assert shown == stored.read_text(encoding="utf-8")
