"""A stage's training while it is unfinished: what is kept of it, and when it went wrong.

Not where it is kept (`tries` knows), nor what is done then (`distill`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from engine.records import StepReport
from engine.training.states import StatePool
from engine.training.trainer import Trainer

_FIRST_REPORTS = 10
_EXPLOSION = 100.0  # times the largest of the first losses, and above 1: worse than no prediction


@dataclass(frozen=True)
class TrainingProgress:
    """Everything that the rest of a stage's training depends on, as it stood after `step`."""

    step: int
    rate: float
    # of the trainer, and where worth keeping the pool's; none at step 0: as the stage begins
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    divergences: int = 0
    first_losses: tuple[float, ...] = ()  # what later ones are measured by


@dataclass(frozen=True)
class ProgressKeeper:
    """Where a stage's unfinished training is kept.

    What is gone on from after a kill is kept when a clock says so. What is fallen back to when the
    loss explodes is kept at steps that are named by their number, so that killed or not, a stage
    falls back to the same one.
    """

    keep: Callable[[TrainingProgress], Any]
    recall: Callable[[], TrainingProgress | None]
    keep_fallback: Callable[[TrainingProgress], Any] = lambda progress: None
    recall_fallback: Callable[[], TrainingProgress | None] = lambda: None  # the stage's beginning


def snapshot_of(
    trainer: Trainer, pool: StatePool | None, before: TrainingProgress, step: int
) -> TrainingProgress:
    """Return the training as it stands after `step`.

    Raises FloatingPointError for what is not finite: nobody should fall back to it.
    """
    tensors = trainer.snapshot()
    if not all(
        np.isfinite(value).all() for key, value in tensors.items() if key.startswith("network.")
    ):
        raise FloatingPointError(f"weights are not finite at step {step}")
    if pool is not None:
        tensors |= pool.tensors()
    return replace(before, step=step, tensors=tensors)


def watched(now: TrainingProgress, report: StepReport) -> TrainingProgress:
    """Return the progress with one more loss known; FloatingPointError for one that exploded."""
    if not (math.isfinite(report.loss) and math.isfinite(report.gradient_norm)):
        raise FloatingPointError(f"the loss is {report.loss} at step {report.step}")
    if len(now.first_losses) < _FIRST_REPORTS:
        return replace(now, first_losses=(*now.first_losses, report.loss))
    if report.loss > max(1.0, _EXPLOSION * max(now.first_losses)):
        raise FloatingPointError(
            f"the loss exploded to {report.loss:.3g} at step {report.step}, from "
            f"{max(now.first_losses):.3g} at most in the beginning"
        )
    return now


def raise_if_not_finite(network: nn.Module, step: int) -> None:
    """Raise FloatingPointError if a weight is not finite: the last loss was of the step before."""
    for name, value in dict(tree_flatten(network.trainable_parameters())).items():
        if not mx.isfinite(value).all():
            raise FloatingPointError(f"{name} is not finite at step {step}")
