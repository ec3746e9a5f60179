"""A run's end is told and rung once, whatever screen is shown."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.run import RunFolder
from engine.run.events import RunFailed
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.options import Options
from tui.targets import Target

FAILED = RunFailed(error="DataError", message="gone")
RINGS = {"bell": "\a", "notification": "\x1b]9;digits is failed\x1b\\", "off": ""}


@pytest.mark.parametrize("shown", ["live", "runs", "config", "compare"])
@pytest.mark.parametrize("bell", RINGS)
def test_an_end_is_told_and_rung_once(
    options: Options,
    go: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    shown: str,
    bell: str,
) -> None:
    monkeypatch.setattr("tui.app.END_SECONDS", 0.05)
    run = RunFolder.create(options.runs_dir, "seed: 0\n", name="digits", mounts=[])

    async def story() -> None:
        app = DiffoptApp(options, Target(run=run))

        def count() -> int:
            return [notice.text for notice in app.notices].count("digits is failed")

        with working(run, *UP_TO_TRAINING) as worker:
            async with app.run_test(size=(120, 36)) as pilot:
                await until(lambda: bool(app._ends._states), pilot.pause)
                app.preferences.bell = bell
                written: list[str] = []
                assert app._driver is not None
                monkeypatch.setattr(app._driver, "write", written.append)
                app.switch_mode(shown)
                await pilot.pause()
                worker.emit(FAILED)
                await until(lambda: count() > 0, pilot.pause)
                for mode in ("runs", "live", "config"):
                    app.switch_mode(mode)
                    await pilot.pause(0.2)
                assert count() == 1
                rung = [text for text in written if text in RINGS.values()]
                assert rung == ([RINGS[bell]] if RINGS[bell] else [])

    go(story())
