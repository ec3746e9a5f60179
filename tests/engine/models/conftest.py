"""What this wing's tests share: fixture checkpoints, their references, copies to damage."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from engine.models.checkpoint import Checkpoint, load_checkpoint

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of the fixture checkpoints."""
    return FIXTURES


@pytest.fixture(scope="session")
def checkpoint_of() -> Callable[[str], Checkpoint]:
    """Load a fixture checkpoint by name; tests must not change it."""
    return cache(lambda name: load_checkpoint(FIXTURES / name))


@pytest.fixture(scope="session")
def reference_of() -> Callable[[str], dict[str, np.ndarray]]:
    """Read the reference tensors of a fixture by name."""
    return cache(lambda name: load_file(FIXTURES / name / "reference.safetensors"))


@pytest.fixture(scope="session")
def to_nhwc() -> Callable[[np.ndarray], mx.array]:
    """Turn PyTorch's NCHW into an MLX array in NHWC."""
    return lambda array: mx.array(array.transpose(0, 2, 3, 1))


@pytest.fixture(scope="session")
def relative_error() -> Callable[[mx.array | np.ndarray, np.ndarray], float]:
    """The largest difference over the largest reference value; both in NCHW."""
    return lambda found, wanted: float(
        np.abs(np.array(found) - wanted).max() / np.abs(wanted).max()
    )


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a fixture checkpoint by name to where a test may change it."""

    def copy(name: str) -> Path:
        ignore = shutil.ignore_patterns("reference.*")
        return Path(shutil.copytree(FIXTURES / name, tmp_path / name, ignore=ignore))

    return copy


@pytest.fixture(scope="session")
def rewrite() -> Callable[[Path, Callable[[dict[str, np.ndarray]], object]], None]:
    """Change the tensors of a safetensors file in place."""

    def rewrite(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return rewrite


@pytest.fixture(scope="session")
def edit_json() -> Callable[..., None]:
    """Change keys of a JSON file in place."""

    def edit(path: Path, **changes: Any) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit
