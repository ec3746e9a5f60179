"""A run for Live to show."""

from pathlib import Path

import pytest

from engine.run import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "seed: 0\n", name="digits", mounts=[])
