"""Live as text, at two sizes, from recorded runs: a change of its looks is a change of these."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.run import RunFolder
from tests.tui.at_work import at_work
from tests.tui.pictures import come_to
from tests.tui.screens.live.scene import live
from tui.machine import Machine

SOON_AFTER = 1_795_631_500.0  # the recorded runs
MACHINE = Machine(
    cpu=0.42,
    memory_used_bytes=9 * 2**30,
    memory_total_bytes=24 * 2**30,
    swap_used_bytes=0,
    disk_free_bytes=82 * 10**9,
)


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tui.screens.live.look", lambda *_: MACHINE)
    clock = SimpleNamespace(time=lambda: SOON_AFTER, monotonic=time.monotonic)
    monkeypatch.setattr("tui.screens.live.time", clock)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
@pytest.mark.parametrize("name", ["smoke", "ladder"])
def test_live_looks_as_it_did(
    recorded: Callable[[str], RunFolder],
    go: Callable[..., Any],
    name: str,
    size: tuple[int, int],
) -> None:
    async def check() -> None:
        async with live(recorded(name), size, theme="mono", is_ascii=size == (80, 24)) as screen:
            await screen.until(lambda: "42 %" in screen.text)
            if size == (120, 36):  # pictures are read off the event loop
                await screen.until(lambda: "original" in screen.words("samples"))
            name_of = f"live-{name}-{size[0]}x{size[1]}"
            await come_to(name_of, lambda: screen.text, screen.pilot)

    go(check())


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
def test_live_at_work_looks_as_it_did(
    tmp_path: Path, go: Callable[..., Any], size: tuple[int, int]
) -> None:
    async def check() -> None:
        with at_work(tmp_path / "runs") as run:
            async with live(run, size, theme="mono", is_ascii=size == (80, 24)) as screen:
                await screen.until(lambda: "42 %" in screen.text)
                if size == (120, 36):  # pictures are read off the event loop
                    await screen.until(lambda: "original" in screen.words("samples"))
                await come_to(
                    f"live-at-work-{size[0]}x{size[1]}", lambda: screen.text, screen.pilot
                )

    go(check())
