"""What all tests share. Nothing here imports MLX: the viewer's tests run without it."""

import gc
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import engine

# MLX takes the first BLAS it finds: the engine must be here before any test file imports MLX.
assert engine.__version__

# One run trains on a machine at a time: tests must not stand in line behind a person's run, nor
# behind those of another process of the same test run.
os.environ.setdefault("DIFFOPT_STATE_DIR", tempfile.mkdtemp(prefix="diffopt-tests-"))

# Products this small gain nothing from a second thread, and its waiting is busy: it takes the core
# from another process of the same test run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

FIXTURES = Path(__file__).parent / "fixtures"


def pytest_collection_finish() -> None:
    """Keep what is imported and collected by now out of every round of the garbage collector."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def ddpm_cifar() -> Path:
    """A folder written by diffusers: unconditional, epsilon, linear betas, leading, clip_sample."""
    return FIXTURES / "ddpm_cifar"


@pytest.fixture(scope="session")
def class_conditional() -> Path:
    """A folder written by diffusers: five classes, epsilon, cosine betas, scale_shift."""
    return FIXTURES / "adm_pipeline"


@pytest.fixture(scope="session")
def reference() -> dict[str, np.ndarray]:
    """What diffusers' schedulers made of ddpm_cifar, NCHW; reference.json there explains it."""
    return load_file(FIXTURES / "ddpm_cifar" / "reference.safetensors")


@pytest.fixture(scope="session")
def relative_to_largest() -> Callable[[np.ndarray, np.ndarray], float]:
    """The largest difference over the largest wanted value."""
    return lambda found, wanted: float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.fixture(scope="session")
def random_images() -> Callable[..., np.ndarray]:
    """Structured pictures in [0, 1]: blobs at random places, of random sizes and strengths."""

    @cache
    def make(
        count: int, height: int = 8, width: int = 8, channels: int = 1, seed: int = 0
    ) -> np.ndarray:
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[:height, :width]
        out = np.zeros((count, height, width, channels))
        for _ in range(3):
            top, left = (
                rng.uniform(0, height, (count, 1, 1, channels)),
                rng.uniform(0, width, (count, 1, 1, channels)),
            )
            size = rng.uniform(0.6, 1.6, (count, 1, 1, channels))
            square = (rows[None, :, :, None] - top) ** 2 + (columns[None, :, :, None] - left) ** 2
            out += rng.uniform(0.3, 0.8, (count, 1, 1, channels)) * np.exp(-square / (2 * size**2))
        return np.clip(out, 0, 1)

    return make


@pytest.fixture(scope="session")
def shift_output() -> Callable[[Any, float], None]:
    """Add to a model's predictions, so that it is no longer the one it was made from."""

    def shift(model: Any, amount: float) -> None:
        model.network.conv_out.bias = model.network.conv_out.bias + amount

    return shift
