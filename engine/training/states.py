"""Training states and their targets.

Where a student of a grid is, and the clean estimate it must give there.

Three sources, chosen by `training.states`; docs/method.md has the figures that chose the default:

* trajectory: the teacher's own states along its cached paths. Needs no data and no further network
  evaluation.
* rollout: the student's own samples, so that it learns where it really goes; the teacher steps on
  from there.
* data: noised images; the teacher steps on from there (Salimans & Ho 2022).

All make a pool of states of the same form, renewed every `refresh_steps` optimiser steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from engine.diffusion.grid import Grid
from engine.diffusion.noise import landing_weight, landing_x0, target_weights
from engine.models.diffusion import Condition, DiffusionModel
from engine.training.conditions import Conditions
from engine.training.noise_sets import Purpose, generator
from engine.training.trajectories import Trajectories

OnBatch = Callable[[], None]


@dataclass(frozen=True)
class Batch:
    """One optimiser step's states; B of them, spread evenly over the student's grid."""

    z: mx.array  # (B, H, W, C)
    target: mx.array  # (B, H, W, C), the x0 wanted
    point: mx.array  # (B,) int32, index into the student's grid
    condition: Condition  # of B samples


@dataclass(frozen=True)
class StatePool:
    """P states at each of the K points of a student's grid, with targets."""

    z: np.ndarray  # (K, P, H, W, C)
    target: np.ndarray  # (K, P, H, W, C)
    conditions: Conditions  # rows (K, P)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what `PoolSource.restored` makes the pool of again."""
        rows = np.ascontiguousarray(self.conditions.rows)
        return {"pool.z": self.z, "pool.target": self.target, "pool.rows": rows}

    def batch(self, size: int, rng: np.random.Generator) -> Batch:
        """Return `size` states, every point of the grid as often as any other, give or take one."""
        points, places = self.z.shape[:2]
        # A random start, so that where size does not divide evenly no point is favoured for long.
        point = (np.arange(size) + rng.integers(points)) % points
        place = rng.integers(0, places, size)
        return Batch(
            mx.array(self.z[point, place]),
            mx.array(self.target[point, place]),
            mx.array(point.astype(np.int32)),
            self.conditions[point, place].to_condition(),
        )


@dataclass(frozen=True)
class PoolSource:
    """Makes pools: ``renew(renewals, on_batch) -> pool``.

    `renewals` counts the pools made before. `on_batch` is called after every batch of evaluations,
    for those of a large network's pool take minutes; it may raise, and the pool is made anew the
    next time.

    `is_worth_keeping` says that a resumed stage could not make its pool again, or not for nothing;
    `conditions` are the tables that the rows of a kept pool point into.
    """

    renew: Callable[[int, OnBatch], StatePool]
    conditions: Conditions
    is_worth_keeping: bool = True

    def restored(self, tensors: Mapping[str, np.ndarray]) -> StatePool | None:
        """Return the pool that `StatePool.tensors` were kept of, None if there are none."""
        if "pool.rows" not in tensors:
            return None
        conditions = Conditions(tensors["pool.rows"], self.conditions.tables)
        return StatePool(tensors["pool.z"], tensors["pool.target"], conditions)


def rollout_source(
    student: DiffusionModel,
    teacher: DiffusionModel,
    trajectories: Trajectories,
    *,
    states: int,
    seed: tuple[int, ...],
    batch_size: int,
) -> PoolSource:
    """Return a source of states that `student` reaches, from which `teacher` steps on.

    The student rolls from the noise of `trajectories`. Its weights at the time of the call are
    used, and nothing is learned through the rollout. The target is the teacher's own landing
    from the state that the student reached, not the teacher's cached path: aiming every state back
    at that path asks each step to undo all drift before it, which runs away (docs/method.md has the
    figures).
    """
    grid = student.grid
    indices = [*teacher.grid.indices_of(grid), teacher.grid.steps]
    paths = min(trajectories.count, max(1, -(-states // grid.steps)))

    def renew(renewals: int, on_batch: OnBatch) -> StatePool:
        chosen = generator(Purpose.ORDER, *seed, renewals).permutation(trajectories.count)[:paths]
        noise = trajectories.states[chosen, 0] / grid.start_scale
        conditions = trajectories.conditions[chosen]
        visited = np.empty((grid.steps, *noise.shape), np.float32)
        visited[0] = trajectories.states[chosen, 0]
        target = np.empty_like(visited)
        for start in range(0, paths, batch_size):
            part = slice(start, start + batch_size)

            def keep(i: int, z: mx.array, x0: mx.array, part: slice = part) -> None:
                if i + 1 < grid.steps:
                    visited[i + 1, part] = np.array(z)

            condition = conditions[part].to_condition()
            student.sample(mx.array(noise[part]), condition, on_step=keep)
            on_batch()
            for k in range(grid.steps):
                target[k, part] = _teacher_target(
                    teacher, visited[k, part], indices[k], indices[k + 1], condition
                )
                on_batch()
        return StatePool(visited, target, conditions.at_points(grid.steps))

    return PoolSource(renew, trajectories.conditions)


def trajectory_source(
    trajectories: Trajectories, grid: Grid, *, states: int, seed: tuple[int, ...]
) -> PoolSource:
    """Return a source of the teacher's own states along its cached paths, at the points of `grid`.

    The cache implies the targets. Only the paths of one pool are read at a time, and no network is
    evaluated at all.
    """
    points, indices = grid.steps, trajectories.grid.indices_of(grid)
    paths = min(trajectories.count, max(1, -(-states // points)))

    def renew(renewals: int, _: OnBatch) -> StatePool:
        chosen = generator(Purpose.ORDER, *seed, renewals).permutation(trajectories.count)[:paths]
        paths_seen = trajectories.on_subset(indices, chosen)
        return StatePool(
            paths_seen.states[:, :points].swapaxes(0, 1),
            paths_seen.x0.swapaxes(0, 1),
            paths_seen.conditions.at_points(points),
        )

    return PoolSource(renew, trajectories.conditions, is_worth_keeping=False)


def data_source(
    teacher: DiffusionModel,
    grid: Grid,
    images: np.ndarray,
    conditions: Conditions,
    *,
    states: int,
    seed: tuple[int, ...],
    batch_size: int,
) -> PoolSource:
    """Return a source of `images` (n, H, W, C), one condition each, noised to the points of `grid`.

    `teacher` steps on from there. The target is the convex mean of its predictions between two
    points (`target_weights`), in float32. `grid` must be a subset of the teacher's; the teacher
    steps by DDIM.
    """
    indices = [*teacher.grid.indices_of(grid), teacher.grid.steps]
    each = max(1, -(-states // grid.steps))

    def renew(renewals: int, on_batch: OnBatch) -> StatePool:
        rng = generator(Purpose.DATA, *seed, renewals)
        shape = (grid.steps, each, *images.shape[1:])
        z, target = np.empty(shape, np.float32), np.empty(shape, np.float32)
        chosen = rng.integers(0, len(images), (grid.steps, each))
        noise = rng.standard_normal(shape, dtype=np.float32)
        for k in range(grid.steps):
            z[k] = grid.alphas[k] * images[chosen[k]] + grid.sigmas[k] * noise[k]
            for start in range(0, each, batch_size):
                part = slice(start, start + batch_size)
                condition = conditions[chosen[k, part]].to_condition()
                target[k, part] = _teacher_target(
                    teacher, z[k, part], indices[k], indices[k + 1], condition
                )
                on_batch()
        return StatePool(z, target, conditions[chosen])

    return PoolSource(renew, conditions)


def loss_weights(grid: Grid, kind: str, ceiling: float) -> np.ndarray:
    """Return the weight of ``|x0 - target|**2`` at each point of `grid`, (K,) float32.

    At most `ceiling`. truncated_snr is max(SNR, 1) and snr_plus_one is SNR + 1, the loss in v
    (Salimans & Ho 2022, section 4); landing measures the error where the step lands. Plain SNR
    vanishes at the first point and is not offered.
    """
    alphas, sigmas = np.asarray(grid.alphas), np.asarray(grid.sigmas)
    snr = (alphas[:-1] / np.maximum(sigmas[:-1], 1e-6)) ** 2
    if kind == "truncated_snr":
        weights = np.maximum(snr, 1.0)
    elif kind == "snr_plus_one":
        weights = snr + 1.0
    elif kind == "landing":
        weights = landing_weight(alphas[:-1], sigmas[:-1], alphas[1:], sigmas[1:])
    else:
        raise ValueError(f"unknown loss weight {kind!r}")
    return np.minimum(weights, ceiling).astype(np.float32)


def _teacher_target(
    teacher: DiffusionModel, z: np.ndarray, start: int, stop: int, condition: Condition
) -> np.ndarray:
    """Return the x0 by which one step from point `start` lands where the steps to `stop` land."""
    grid = teacher.grid
    weights = target_weights(grid.kappas[start : stop + 1])
    denoise = teacher.denoise_at(grid, "ddim", condition)
    state = mx.array(z)
    mean = mx.zeros_like(state)
    for k in range(start, stop):
        x0, eps = denoise(state, k)
        following = grid.alphas[k + 1] * x0 + grid.sigmas[k + 1] * eps
        levels = (grid.alphas[k], grid.sigmas[k], grid.alphas[k + 1], grid.sigmas[k + 1])
        # Clipped without recomputing eps: only the effective prediction lands, unless the step has
        # no length.
        if teacher.clip_range is not None and levels[0] != levels[2]:
            x0 = landing_x0(state, following, *levels)
        mean = mean + float(weights[k - start]) * x0
        state = following
        mx.eval(state, mean)
    return np.array(mean)
