"""The dynamic programme is exact: it finds what trying every path finds."""

from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import pytest

from engine.diffusion.noise import NoiseSchedule
from engine.diffusion.programme import COSTS, best_path, cost_matrix
from engine.models.diffusion import DiffusionModel
from engine.training.conditions import Conditions
from engine.training.trajectories import record_trajectories


def price(costs: np.ndarray, path: list[int], gamma: float) -> float:
    """Return the cost of a path as V_k defines it: its n-th step weighs gamma**n."""
    levels = [*path, costs.shape[0]]
    return sum(gamma**place * float(costs[i, j]) for place, (i, j) in enumerate(pairwise(levels)))


def random_costs(rng: np.random.Generator, count: int) -> np.ndarray:
    costs = rng.exponential(size=(count, count + 1))
    costs[np.tril_indices(count, k=0)] = np.inf
    return costs


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.15, 2.0])
def test_the_best_path_is_what_brute_force_finds(gamma: float) -> None:
    rng = np.random.default_rng(0)
    for count in (4, 6, 8):
        costs = random_costs(rng, count)
        for steps in range(1, count + 1):
            every = [[0, *rest] for rest in combinations(range(1, count), steps - 1)]
            cheapest = min(every, key=lambda path: price(costs, path, gamma))
            assert best_path(costs, steps, gamma=gamma) == cheapest


def test_forced_points_are_always_visited_and_at_the_least_cost() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        costs, forced = random_costs(rng, 8), sorted(rng.choice(8, 2, replace=False).tolist())
        for steps in range(3, 9):
            path = best_path(costs, steps, forced=forced)
            every = [[0, *rest] for rest in combinations(range(1, 8), steps - 1)]
            allowed = [path for path in every if set(forced) <= set(path)]
            assert set(forced) <= set(path)
            assert path == min(allowed, key=lambda p: price(costs, p, 1.0))


def test_all_points_leave_no_choice() -> None:
    costs = random_costs(np.random.default_rng(2), 5)
    assert best_path(costs, 5) == [0, 1, 2, 3, 4]


def test_a_large_gamma_makes_later_errors_dear_and_so_moves_points_there() -> None:
    """Where all points are alike, gamma > 1 shortens late steps and gamma < 1 early ones."""
    count = 12
    i, j = np.arange(count)[:, None], np.arange(count + 1)[None, :]
    costs = np.where(j > i, (j - i).astype(float) ** 2, np.inf)
    late, even, early = (best_path(costs, 4, gamma=gamma) for gamma in (2.0, 1.0, 0.5))
    assert sum(early) < sum(even) < sum(late)


@pytest.mark.parametrize(("steps", "forced"), [(0, []), (6, []), (2, [1, 3])])
def test_paths_that_cannot_be_are_refused(steps: int, forced: list[int]) -> None:
    with pytest.raises(ValueError, match=f"{steps} steps cannot visit"):
        best_path(random_costs(np.random.default_rng(3), 5), steps, forced=forced)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("cost", COSTS)
def test_one_fine_step_costs_nothing_and_longer_ones_more(
    cost: str, gaussian_model: Callable[..., DiffusionModel], unit_normal: Callable
) -> None:
    model = gaussian_model(steps=10)
    paths = record_trajectories(model, unit_normal(16, 4, 4, 1), Conditions.none(16), batch_size=16)
    matrix = cost_matrix(
        paths.states.reshape(16, 11, -1),
        paths.x0.reshape(16, 10, -1),
        np.array(model.grid.alphas),
        np.array(model.grid.sigmas),
        cost,  # pyright: ignore[reportArgumentType]
    )
    assert np.isinf(matrix[np.tril_indices(10)]).all()
    fine = np.diagonal(matrix, offset=1)
    assert (fine < 1e-3 * np.nanmax(matrix[np.isfinite(matrix)])).all()
    assert (np.diff(matrix[0, 1:]) > 0).all()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("cost", COSTS)
def test_a_last_step_of_no_length_costs_nothing(
    cost: str,
    gaussian_model: Callable[..., DiffusionModel],
    unit_normal: Callable,
    linear_schedule: NoiseSchedule,
) -> None:
    """Leading timesteps end at 0, and set_alpha_to_one: false ends sampling at that very level."""
    from engine.diffusion.grid import spaced_grid

    schedule = linear_schedule.ending_at("first")
    model = gaussian_model(schedule=schedule, grid=spaced_grid(schedule, "leading", 10))
    assert model.grid.alphas[-1] == model.grid.alphas[-2]
    paths = record_trajectories(model, unit_normal(8, 4, 4, 1), Conditions.none(8), batch_size=8)
    matrix = cost_matrix(
        paths.states.reshape(8, 11, -1),
        paths.x0.reshape(8, 10, -1),
        np.array(model.grid.alphas),
        np.array(model.grid.sigmas),
        cost,  # pyright: ignore[reportArgumentType]
    )
    assert matrix[-1, -1] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(matrix[:, -1]).all()
    assert best_path(matrix, 4)[-1] < 9  # the point that moves nothing is not worth a step
