"""What the dashboard's tests share."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from engine.run import RunFolder
from tests.tui.journals import RECORDED
from tui.options import Options

SIZES = ((80, 24), (120, 36), (160, 48))


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """The dashboard over an empty folder of runs."""
    return Options(runs_dir=tmp_path / "runs")


@pytest.fixture
def go() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end."""
    return asyncio.run


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[str], RunFolder]:
    """Return a copy of a recorded run that a test may change."""

    def copy(name: str) -> RunFolder:
        path = tmp_path / "runs" / name
        if not path.exists():
            shutil.copytree(RECORDED / name, path)
            (path / "lock").touch()
        return RunFolder.open(path)

    return copy
