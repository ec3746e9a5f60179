"""The cache of teacher trajectories.

Recorded once, it feeds the schedule search, training and every retry.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from engine.diffusion.grid import Grid
from engine.models.diffusion import DiffusionModel
from engine.training.conditions import Conditions

OnProgress = Callable[[int, int], None]  # (samples done, samples in all)


@dataclass(frozen=True)
class Trajectories:
    """N sampling paths of one teacher on its own grid, from pure noise to sample.

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

    def on_subset(self, indices: list[int]) -> "Trajectories":
        """Return the same paths seen only at the given points of the grid (and at the end).

        `x0` become the targets of a student on that grid: convex means of the predictions between
        its points.
        """
        grid = self.grid.subset(indices)
        states = self.states[:, [*indices, self.grid.steps]]
        return Trajectories(states, _effective_x0(states, grid), self.conditions, grid)

    def first(self, count: int) -> "Trajectories":
        """Return the first `count` paths."""
        return Trajectories(
            self.states[:count], self.x0[:count], self.conditions[:count], self.grid
        )


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
    states[:, 0] = noise * grid.start_scale
    for start in range(0, count, batch_size):
        part = slice(start, min(start + batch_size, count))

        def keep(i: int, z: mx.array, x0: mx.array, part: slice = part) -> None:
            states[part, i + 1] = np.array(z)
            predictions[part, i] = np.array(x0)

        model.sample(mx.array(noise[part]), conditions[part].to_condition(), on_step=keep)
        if on_progress is not None:
            on_progress(part.stop, count)
    if model.solver != "ddim" or model.clip_range is not None:
        predictions = _effective_x0(states, grid)
    return Trajectories(states, predictions, conditions, grid)


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
