"""A manager of tiny stages, and a teacher of twelve steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.models.diffusion import DiffusionModel
from engine.settings import HardwareSettings, TrainingSettings
from engine.training.distill import ProgressiveDistillation


@pytest.fixture
def distillation() -> Callable[..., ProgressiveDistillation]:
    def make(images: np.ndarray | None = None, **changes: Any) -> ProgressiveDistillation:
        hardware: dict[str, Any] = {
            key: changes.pop(key)
            for key in list(changes)
            if key in HardwareSettings.__dataclass_fields__
        }
        training: dict[str, Any] = {
            "iterations": [6],
            "trajectories": 16,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "refresh_steps": 3,
            "report_every": 1,
        }
        hardware.setdefault("compile", False)
        return ProgressiveDistillation(
            TrainingSettings(**(training | changes)),
            HardwareSettings(**hardware),
            images,
        )

    return make


@pytest.fixture
def teacher(make_model: Callable[..., DiffusionModel]) -> DiffusionModel:
    return make_model(steps=12)
