"""The cache of teacher trajectories.

Recorded once, it feeds the schedule search, training and every retry.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from engine.diffusion.grid import Grid
from engine.errors import DataError
from engine.models.diffusion import DiffusionModel
from engine.training.conditions import Conditions

OnProgress = Callable[[int, int], None]  # (samples done, samples in all)


@dataclass(frozen=True)
class Trajectories:
    """N sampling paths of one teacher on its own grid, from pure noise to sample.

    The arrays may be mapped from the disk: paths of latents at real sizes are larger than memory.
    `x0` are the *effective* predictions: the clean estimate whose DDIM step takes each state to the
    next one, whatever solver or clipping made it. So a student of any teacher learns a one-step map
    that really lands there.
    """

    states: np.ndarray  # (N, K + 1, H, W, C) float32
    x0: np.ndarray  # (N, K, H, W, C) float32
    conditions: Conditions  # of N samples
    grid: Grid

    @property
    def count(self) -> int:
        """N."""
        return len(self.states)

    def on_subset(self, indices: list[int], chosen: np.ndarray | None = None) -> "Trajectories":
        """Return the same paths, or some of them, seen only at the given points and at the end.

        `x0` become the targets of a student on that grid: convex means of the predictions between
        its points.
        """
        grid, points = self.grid.subset(indices), [*indices, self.grid.steps]
        if chosen is None:
            states, conditions = self.states[:, points], self.conditions
        else:
            states, conditions = self.states[chosen[:, None], points], self.conditions[chosen]
        return Trajectories(states, _effective_x0(states, grid), conditions, grid)

    def __getitem__(self, chosen: slice | np.ndarray) -> "Trajectories":
        """Return some of the paths; of those on the disk only they are read."""
        return Trajectories(
            self.states[chosen], self.x0[chosen], self.conditions[chosen], self.grid
        )

    def first(self, count: int) -> "Trajectories":
        """Return the first `count` paths."""
        return self[:count]


def record_trajectories(
    model: DiffusionModel,
    noise: np.ndarray,
    conditions: Conditions,
    *,
    batch_size: int,
    on_progress: OnProgress | None = None,
) -> Trajectories:
    """Return the paths of `model` on its own grid from `noise` (N, H, W, C), one condition each."""
    grid, count = model.grid, len(noise)
    states = np.empty((count, grid.steps + 1, *noise.shape[1:]), np.float32)
    predictions = np.empty((count, grid.steps, *noise.shape[1:]), np.float32)
    for part, *made in trajectory_chunks(model, noise, conditions, batch_size=batch_size):
        states[part], predictions[part] = made
        if on_progress is not None:
            on_progress(part.stop, count)
    return Trajectories(states, predictions, conditions, grid)


def trajectory_chunks(
    model: DiffusionModel,
    noise: np.ndarray,
    conditions: Conditions,
    *,
    batch_size: int,
    first: int = 0,
    between: Callable[[], None] | None = None,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield (which samples, their states, their effective x0), a batch at a time from `first`.

    Whoever keeps each chunk as it comes loses no more than one to a kill. `between` is called after
    every step of a batch, and may raise to end it.
    """
    grid, count = model.grid, len(noise)
    for start in range(first, count, batch_size):
        part = slice(start, min(start + batch_size, count))
        size = part.stop - start
        states = np.empty((size, grid.steps + 1, *noise.shape[1:]), np.float32)
        predictions = np.empty((size, grid.steps, *noise.shape[1:]), np.float32)
        states[:, 0] = noise[part] * grid.start_scale

        def keep(
            i: int,
            z: mx.array,
            x0: mx.array,
            states: np.ndarray = states,
            predictions: np.ndarray = predictions,
        ) -> None:
            states[:, i + 1] = np.array(z)
            predictions[:, i] = np.array(x0)
            if between is not None:
                between()

        model.sample(mx.array(noise[part]), conditions[part].to_condition(), on_step=keep)
        if model.solver != "ddim" or model.clip_range is not None:
            predictions = _effective_x0(states, grid)
        yield part, states, predictions


def sampling_digest(model: DiffusionModel, conditions: Conditions, seed: int) -> str:
    """Return a hash of all that the paths of `model` from the noise of a seed depend on."""
    digest = hashlib.sha256(conditions.digest())
    facts = (seed, len(conditions), model.grid, model.solver, model.clip_range, model.guidance)
    digest.update(repr((*facts, model.prediction_type, str(model.compute_dtype))).encode())
    for name, value in sorted(dict(tree_flatten(model.network.parameters())).items()):
        whole = value.astype(mx.float32) if value.dtype == mx.bfloat16 else value
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(np.array(whole).tobytes())
    return digest.hexdigest()


def refuse_infinite(states: np.ndarray, start: int) -> None:
    """Raise DataError if any of the states (n, K + 1, H, W, C) is not finite.

    `start` is the number of the first sample.
    """
    broken = np.argwhere(~np.isfinite(states).all(axis=(2, 3, 4)))
    if len(broken):
        sample, step = broken[0]
        raise DataError(
            f"the teacher's sample {start + sample} is not finite after step {step}; a student "
            "cannot learn from it. Check the model's weights (half precision overflows in some), "
            "its guidance.scale and original.spacing."
        )


def _effective_x0(states: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the x0 that lands each state on the next, (N, K, H, W, C) float32.

    Computed in float64.
    """
    out = np.empty((len(states), grid.steps, *states.shape[2:]), np.float32)
    for i in range(grid.steps):
        a, s, a_next, s_next = (
            grid.alphas[i],
            grid.sigmas[i],
            grid.alphas[i + 1],
            grid.sigmas[i + 1],
        )
        ratio = s_next / s
        divisor = a_next - a * ratio
        if (
            divisor == 0
        ):  # a step of no length (two equal levels): the state itself says what is left
            out[:, i] = states[:, i + 1]
            continue
        out[:, i] = (
            states[:, i + 1].astype(np.float64) - ratio * states[:, i].astype(np.float64)
        ) / divisor
    return out
