"""The dynamic programme.

Which few points of a fine grid lose least, from one cached batch of teacher trajectories.

It proposes; it does not decide. `engine.training.adaptive` ranks its proposals by measured quality.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Cost = Literal["z_mse", "z_norm", "x0_mse"]
COSTS: tuple[Cost, ...] = ("z_mse", "z_norm", "x0_mse")


def cost_matrix(
    z: np.ndarray, x0: np.ndarray, alphas: np.ndarray, sigmas: np.ndarray, cost: Cost
) -> np.ndarray:
    """Return c(i, j), the loss of one DDIM step from point i to point j.

    It stands in for the fine steps between them. Chen et al. 2024 (GITS), section 3.3. `z` (N, M+1,
    D) are the states of N trajectories at M+1 levels, `x0` (N, M, D) the effective x0 predictions
    at the first M. The result is (M, M+1), infinite where j <= i.

    * z_mse: mean squared distance of the landing states;
    * z_norm: mean distance of the landing states (as published);
    * x0_mse: mean squared distance between x0_i and the x0 that would land exactly.
    """
    count = x0.shape[1]
    out = np.full((count, count + 1), np.inf)
    for i in range(count):
        eps = (z[:, i] - alphas[i] * x0[:, i]) / sigmas[i]
        for j in range(i + 1, count + 1):
            miss = alphas[j] * x0[:, i] + sigmas[j] * eps - z[:, j]  # (N, D)
            if cost == "z_norm":
                out[i, j] = np.sqrt((miss.astype(np.float64) ** 2).sum(-1)).mean()
                continue
            out[i, j] = (miss.astype(np.float64) ** 2).mean()
            if cost == "x0_mse":
                weight = (alphas[j] - alphas[i] * sigmas[j] / sigmas[i]) ** 2
                out[i, j] = (
                    out[i, j] / weight if weight else 0.0
                )  # between equal levels any x0 lands
    return out


def best_path(
    costs: np.ndarray, steps: int, *, gamma: float = 1.0, forced: Sequence[int] = ()
) -> list[int]:
    """Return the cheapest path from point 0 to the final level: `steps` rising indices, first 0.

    ``V_1(i) = c(i, M)``, ``V_k(i) = min_{j>i} c(i, j) + gamma V_{k-1}(j)`` with back-pointers, O(K
    M**2). Points in `forced` are always visited: that is how a larger grid is planned around a
    smaller one.
    """
    count = costs.shape[0]
    must = sorted(set(forced) - {0})
    if not max(1, len(must) + 1) <= steps <= count:
        raise ValueError(
            f"{steps} steps cannot visit {len(must) + 1} given points of a grid of {count}"
        )
    allowed = costs.copy()
    for point in must:
        allowed[:point, point + 1 :] = np.inf  # no step may leap over a forced point
    value = allowed[:, count].copy()  # V_1
    pointers: list[np.ndarray] = []
    for _ in range(steps - 1):
        total = allowed[:, :count] + gamma * value[None, :]
        pointers.append(np.argmin(total, axis=1))
        value = np.min(total, axis=1)
    path = [0]
    for pointer in reversed(pointers):
        path.append(int(pointer[path[-1]]))
    return path
