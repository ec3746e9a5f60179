"""`DiffusionModel`: a network that carries its noise schedule, its grid and its solver.

A thin wrapper: one door for every network, ``model(z, t, condition) -> prediction``, and the little
that turns a prediction into samples. Teachers and students are both this; `engine.models.loading`
makes one from a folder.
"""

import copy
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from engine.diffusion.grid import Grid
from engine.diffusion.names import Solver
from engine.diffusion.noise import NoiseSchedule, PredictionType, x0_and_eps
from engine.diffusion.samplers import SAMPLERS, OnStep
from engine.models.guidance import Condition, Guidance, conditional
from engine.models.halves import compiled
from engine.models.lora import adapted, fuse, has_adapters, shared_copy
from engine.models.precision import narrow, quantise, widened
from engine.settings import LoraSettings, Precision

# A condition is, for example, {"class_labels": (B,) int32}; empty where there is none.
__all__ = ["Condition", "DiffusionModel"]


class DiffusionModel(nn.Module):
    """A denoising network with everything that sampling it needs.

    `sample_shape` is (H, W, C) of one state. `clip_range` clips x0 while DDIM samples, as the
    checkpoint asks; it is None for a distilled student. `compute_dtype` is what the network
    computes in; states stay float32. With `guidance` a prediction costs two evaluations of the
    network and is led away from the condition's ``uncond_`` part; without, that part is not read.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        grid: Grid,
        *,
        prediction_type: PredictionType,
        sample_shape: tuple[int, int, int],
        class_count: int | None = None,
        solver: Solver = "ddim",
        clip_range: float | None = None,
        compute_dtype: mx.Dtype = mx.float32,
        guidance: Guidance | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.grid = grid
        self.prediction_type: PredictionType = prediction_type
        self.sample_height, self.sample_width, self.sample_channels = sample_shape
        self.class_count = class_count
        self.solver: Solver = solver
        self.clip_range = clip_range
        self.compute_dtype = compute_dtype
        self.guidance = guidance
        self._forward: Callable[..., mx.array] | None = None

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one state."""
        return self.sample_height, self.sample_width, self.sample_channels

    @property
    def steps(self) -> int:
        """Sampling steps of this model's own grid."""
        return self.grid.steps

    def __call__(self, z: mx.array, t: mx.array, condition: Condition | None = None) -> mx.array:
        """Return the network's prediction at state `z` and timesteps `t` (B,).

        Both are (B, H, W, C), the prediction float32.
        """
        if self.guidance is not None:
            return self.guidance(self._predict, z, t, condition or {})
        return self._predict(z, t, conditional(condition or {}))

    def _predict(self, z: mx.array, t: mx.array, condition: Condition) -> mx.array:
        return self.network(z.astype(self.compute_dtype), t, condition).astype(mx.float32)

    def compiled_forward(self) -> Callable[..., mx.array]:
        """Return ``(z, t, condition) -> prediction``, compiled once.

        It follows the network's current and later weights.
        """
        if self._forward is None:
            # The weights as inputs, or they would become constants of the trace and a trained
            # student would never be seen.
            self._forward = compiled(self.__call__, self.network.state)
        return self._forward

    def denoise_at(self, grid: Grid, solver: Solver, condition: Condition) -> Callable[..., Any]:
        """Return ``denoise(z, i) -> (x0, eps)`` on `grid`.

        That is what `engine.diffusion.samplers` wants.
        """
        forward = self.compiled_forward()

        def denoise(z: mx.array, i: int) -> tuple[mx.array, mx.array]:
            t = mx.full((z.shape[0],), grid.timesteps[i], dtype=mx.float32)
            alpha, sigma = grid.alphas[i], grid.sigmas[i]
            x0, eps = x0_and_eps(forward(z, t, condition), z, alpha, sigma, self.prediction_type)
            if self.clip_range is not None and solver == "ddim":
                x0 = mx.clip(
                    x0, -self.clip_range, self.clip_range
                )  # eps is not recomputed: diffusers' convention
            return x0, eps

        return denoise

    def sample(
        self,
        noise: mx.array,
        condition: Condition | None = None,
        *,
        grid: Grid | None = None,
        solver: Solver | None = None,
        on_step: OnStep | None = None,
    ) -> mx.array:
        """Return samples (B, H, W, C) from unit-variance `noise` of that shape.

        On this model's own grid and by its own solver unless told otherwise.
        """
        grid, solver = grid or self.grid, solver or self.solver
        return SAMPLERS[solver](
            self.denoise_at(grid, solver, condition or {}), noise, grid, on_step
        )

    def student(
        self,
        grid: Grid | None = None,
        prediction_type: PredictionType | None = None,
        *,
        lora: LoraSettings | None = None,
        seed: int = 0,
    ) -> "DiffusionModel":
        """Return a model to train on `grid`: order 1, nothing clipped, no guidance.

        What a guided teacher does in two evaluations, it learns to do in one. Its weights are
        float32, and its own as soon as it is trained. With `lora`, or where this model is an
        adapted student itself, they are this model's own arrays with adapters beside them, fresh
        ones drawn from `seed` or a continuation of its own; nothing is copied. With another
        `prediction_type` it does not start as its teacher.

        A student is defined for its own one-step map; clipping would break the target that it
        learns.
        """
        dtype = mx.float32
        if has_adapters(self.network):
            network, dtype = shared_copy(self.network), self.compute_dtype
        elif lora is not None:
            network, dtype = adapted(self.network, lora, seed=seed), self.compute_dtype
        else:
            network = widened(copy.deepcopy(self.network))
            network.unfreeze()
        return self._like(
            network,
            grid or self.grid,
            solver="ddim",
            clip_range=None,
            compute_dtype=dtype,
            guidance=None,
            prediction_type=prediction_type or self.prediction_type,
        )

    def frozen_as(self, dtype: mx.Dtype, bits: int | None = None) -> "DiffusionModel":
        """Return this model held in `dtype`, its linear layers quantised to `bits` if given.

        For a frozen teacher; adapters become part of the weights.

        Only layers whose input width divides by the group of 32 are quantised; convolutions stay as
        they are.
        """
        if dtype == mx.float32 and bits is None:
            return self
        network = (fuse if has_adapters(self.network) else shared_copy)(self.network)
        network.update(tree_map(lambda p: p.astype(dtype), network.parameters()))
        if bits is not None:
            quantise(network, bits)
        network.freeze()
        return self._like(
            network, self.grid, solver=self.solver, clip_range=self.clip_range, compute_dtype=dtype
        )

    def narrow(self, precision: Precision) -> None:
        """Hold this model's own weights in `precision`, computing in float32 as before.

        For the base under adapters; see `engine.models.precision`.
        """
        narrow(self.network, precision)
        self._forward = None

    def with_sample_shape(self, shape: tuple[int, int, int]) -> "DiffusionModel":
        """Return a model over the same arrays whose samples are (H, W, C)."""
        return self.with_grid(self.grid, sample_shape=shape)

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for one sample; guidance takes two for each step."""
        return self.steps * (1 if self.guidance is None else 2)

    def guided(self, guidance: Guidance | None) -> "DiffusionModel":
        """Return a model over the same arrays under this guidance; None or a scale of 1 is none."""
        if guidance is not None and guidance.scale == 1:
            guidance = None
        return self.with_grid(self.grid, guidance=guidance)

    def with_grid(
        self, grid: Grid, solver: Solver | None = None, **changes: Any
    ) -> "DiffusionModel":
        """Return a model over the *same* arrays that samples on another grid or solver."""
        kept: dict[str, Any] = {
            "solver": solver or self.solver,
            "clip_range": self.clip_range,
            "compute_dtype": self.compute_dtype,
        }
        kept |= {"network": self.network} | changes
        return self._like(kept.pop("network"), grid, **kept)

    def _like(self, network: nn.Module, grid: Grid, **changes: Any) -> "DiffusionModel":
        kept = {
            "prediction_type": self.prediction_type,
            "guidance": self.guidance,
            "sample_shape": self.sample_shape,
        }
        return DiffusionModel(
            network,
            self.schedule,
            grid,
            class_count=self.class_count,
            **(kept | changes),
        )
