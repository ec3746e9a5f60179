"""What the engine's tests share: tiny random models, a teacher in closed form, eager MLX."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine import hardware, report
from engine.diffusion.grid import Grid, spaced_grid
from engine.diffusion.noise import NoiseSchedule, betas
from engine.files import write_json
from engine.models.checkpoint import save_network
from engine.models.diffusion import DiffusionModel
from engine.models.unet import UNet2DConfig, UNet2DModel
from engine.training.adaptive import AdaptiveScheduler

MEAN, SPREAD = 0.3, 0.5  # of the Gaussian that the closed-form teacher knows


TINY_UNET = {
    "_class_name": "UNet2DModel",
    "sample_size": 4,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "norm_num_groups": 2,
}


@pytest.fixture
def eager() -> Iterator[None]:
    """Run without mx.compile: tiny functions are compiled longer than they run."""
    mx.disable_compile()
    yield
    if hardware.can_compile():
        mx.enable_compile()


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run rank the first four ways to sample without training, not some thirty."""
    propose = AdaptiveScheduler.propose
    monkeypatch.setattr(
        AdaptiveScheduler, "propose", lambda *args, **options: propose(*args, **options)[:4]
    )


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the charts beside a report empty: drawing them takes most of a tiny run's end."""
    for name in ("_plot_quality", "_plot_losses"):
        monkeypatch.setattr(report, name, lambda path, _: path.touch())


@pytest.fixture(scope="session")
def linear_schedule() -> NoiseSchedule:
    """The schedule of Ho et al. 2020."""
    return NoiseSchedule.from_betas(betas("linear", 1000, 1e-4, 0.02))


@pytest.fixture(scope="session")
def make_model(linear_schedule: NoiseSchedule) -> Callable[..., DiffusionModel]:
    """Build a tiny UNet with random weights; the same arguments give the same one."""

    def make(
        *,
        steps: int = 16,
        class_count: int | None = 3,
        size: int = 4,
        channels: int = 8,
        seed: int = 0,
        **changes: Any,
    ) -> DiffusionModel:
        config = TINY_UNET | {
            "sample_size": size,
            "block_out_channels": [channels],
            "num_class_embeds": class_count,
        }
        mx.random.seed(seed)
        network = UNet2DModel(UNet2DConfig.from_dict(config, source="test"))
        schedule = changes.pop("schedule", linear_schedule)
        settings = {
            "prediction_type": "v_prediction",
            "sample_shape": (size, size, 1),
            "class_count": class_count,
        }
        grid = changes.pop("grid", None) or spaced_grid(schedule, "trailing", steps)
        return DiffusionModel(network, schedule, grid, **(settings | changes))

    return make


@pytest.fixture
def folder_of(make_model: Callable[..., DiffusionModel], tmp_path: Path) -> Callable[..., Path]:
    """Write a network with random weights, that of `make_model`, as a diffusers folder."""

    def write(prediction_type: str, **scheduler: Any) -> Path:
        folder = tmp_path / "model"
        (folder / "scheduler").mkdir(parents=True, exist_ok=True)
        save_network(make_model(class_count=None).network, folder / "unet", TINY_UNET)
        settings = {
            "_class_name": "DDIMScheduler",
            "prediction_type": prediction_type,
            "clip_sample": False,
        }
        write_json(folder / "scheduler" / "scheduler_config.json", settings | scheduler)
        return folder

    return write


class GaussianNetwork(nn.Module):
    """The exact prediction for Gaussian data, N(MEAN, SPREAD**2) in every pixel, times a `gain`.

    With gain 1 its probability flow is known in closed form: z keeps its quantile.
    """

    def __init__(self, schedule: NoiseSchedule, kind: str) -> None:
        super().__init__()
        self.gain = mx.ones((1,))
        self._table, self._kind = schedule, kind

    def __call__(self, z: mx.array, t: mx.array, condition: dict[str, mx.array]) -> mx.array:
        """Return the prediction of the kind asked for at z (B, H, W, C) and t (B,)."""
        alpha, sigma = (
            mx.array(level.astype(np.float32)).reshape(-1, 1, 1, 1)
            for level in self._table.levels(np.array(t))
        )
        gain = SPREAD**2 * alpha / (alpha**2 * SPREAD**2 + sigma**2)
        x0 = MEAN + gain * (z - alpha * MEAN)
        eps = (z - alpha * x0) / mx.maximum(sigma, 1e-12)
        kinds = {"sample": x0, "epsilon": eps, "v_prediction": alpha * eps - sigma * x0}
        return self.gain * kinds[self._kind]


@pytest.fixture(scope="session")
def gaussian_model(linear_schedule: NoiseSchedule) -> Callable[..., DiffusionModel]:
    """Build a teacher that knows its data in closed form: fast, and with paths that bend."""

    def make(
        *,
        steps: int = 32,
        size: int = 4,
        schedule: NoiseSchedule = linear_schedule,
        grid: Grid | None = None,
        **changes: Any,
    ) -> DiffusionModel:
        kind = changes.pop("prediction_type", "v_prediction")
        grid = grid or spaced_grid(schedule, "trailing", steps)
        return DiffusionModel(
            GaussianNetwork(schedule, kind),
            schedule,
            grid,
            prediction_type=kind,
            sample_shape=(size, size, 1),
            **changes,
        )

    return make


@pytest.fixture(scope="session")
def unit_normal() -> Callable[..., np.ndarray]:
    """Draw float32 noise of a shape from a seed."""
    return lambda *shape, seed=0: np.random.default_rng(seed).standard_normal(
        shape, dtype=np.float32
    )
