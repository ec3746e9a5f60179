"""diffopt's engine: fewer sampling steps for diffusion models, at a measured quality. The face.

Names load lazily.

from engine import AdaptiveDiffusionOptimizer, DiffusionOptimizationConfig
result =
AdaptiveDiffusionOptimizer(DiffusionOptimizationConfig(model_path="bundled:digits")).optimize_diffusion_model()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.blas import load_fast_blas_with_mlx

if TYPE_CHECKING:
    from engine.config import DiffusionOptimizationConfig, load_config
    from engine.errors import DiffoptError
    from engine.optimizer import AdaptiveDiffusionOptimizer
    from engine.records import DistillationStage, OptimizationMetrics
    from engine.training.adaptive import AdaptiveScheduler
    from engine.training.distill import ProgressiveDistillation

__version__ = "0.1.0"

load_fast_blas_with_mlx()

_HOMES = {
    "AdaptiveDiffusionOptimizer": "engine.optimizer",
    "AdaptiveScheduler": "engine.training.adaptive",
    "DiffoptError": "engine.errors",
    "DiffusionOptimizationConfig": "engine.config",
    "DistillationStage": "engine.records",
    "OptimizationMetrics": "engine.records",
    "ProgressiveDistillation": "engine.training.distill",
    "load_config": "engine.config",
}

__all__ = [  # noqa: RUF022  (the order a reader meets them)
    "AdaptiveDiffusionOptimizer",
    "DiffusionOptimizationConfig",
    "load_config",
    "ProgressiveDistillation",
    "AdaptiveScheduler",
    "OptimizationMetrics",
    "DistillationStage",
    "DiffoptError",
]


def __getattr__(name: str) -> Any:
    """Return a public name, imported when it is first asked for (PEP 562).

    So that a viewer never loads MLX.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
