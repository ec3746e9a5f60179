"""Cached paths say what any student of them must land on, whatever sampled them."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from engine.diffusion.grid import spaced_grid
from engine.diffusion.names import SOLVERS, Solver
from engine.diffusion.noise import NoiseSchedule, target_weights
from engine.errors import DataError
from engine.models.diffusion import DiffusionModel
from engine.training.conditions import Conditions, classes
from engine.training.trajectories import (
    Trajectories,
    record_trajectories,
    refuse_infinite,
    sampling_digest,
    trajectory_chunks,
)

pytestmark = pytest.mark.usefixtures("eager")


def landing_error(paths: Trajectories) -> float:
    """Return how far one DDIM step with the recorded x0 ends from the next state, at worst."""
    grid, worst = paths.grid, 0.0
    for i in range(grid.steps):
        z, x0 = paths.states[:, i].astype(np.float64), paths.x0[:, i].astype(np.float64)
        eps = (z - grid.alphas[i] * x0) / grid.sigmas[i]
        miss = grid.alphas[i + 1] * x0 + grid.sigmas[i + 1] * eps - paths.states[:, i + 1]
        worst = max(worst, float(np.abs(miss).max()))
    return worst


@pytest.fixture
def recorded(
    gaussian_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> Callable[..., Trajectories]:
    def record(**changes: object) -> Trajectories:
        model = gaussian_model(**({"steps": 12} | changes))
        return record_trajectories(
            model, unit_normal(10, 4, 4, 1), Conditions.none(10), batch_size=4
        )

    return record


@pytest.mark.parametrize("solver", SOLVERS)
def test_recorded_estimates_land_on_the_next_state(
    solver: Solver, recorded: Callable[..., Trajectories]
) -> None:
    assert landing_error(recorded(solver=solver)) < 1e-5


def test_clipped_estimates_land_too(recorded: Callable[..., Trajectories]) -> None:
    """Clipping x0 without recomputing eps breaks the plain estimate; the effective one lands."""
    paths = recorded(clip_range=0.2)
    assert landing_error(paths) < 1e-5
    assert np.abs(paths.x0).max() > 0.2  # so it is not the clipped one


def test_an_end_without_length_is_recorded_too(
    recorded: Callable[..., Trajectories], linear_schedule: NoiseSchedule
) -> None:
    schedule = linear_schedule.ending_at("first")
    for clip_range in (None, 0.2):
        paths = recorded(
            schedule=schedule, grid=spaced_grid(schedule, "leading", 12), clip_range=clip_range
        )
        assert np.isfinite(paths.x0).all()
        assert np.abs(paths.x0).max() < 10
        if (
            clip_range is None
        ):  # clipping moves a state even where the level stays; no estimate lands there
            assert landing_error(paths) < 1e-5
        assert np.isfinite(paths.on_subset([0, 5, 11]).x0).all()


def test_a_subset_aims_at_the_convex_mean_of_the_estimates_between_its_points(
    recorded: Callable[..., Trajectories],
) -> None:
    paths, indices = recorded(), [0, 3, 4, 9]
    subset = paths.on_subset(indices)
    assert subset.grid == paths.grid.subset(indices)
    for place, (start, stop) in enumerate(zip(indices, [*indices[1:], 12], strict=True)):
        weights = target_weights(paths.grid.kappas[start : stop + 1])
        mean = np.einsum("k,nkhwc->nhwc", weights, paths.x0[:, start:stop])
        np.testing.assert_allclose(subset.x0[:, place], mean, atol=2e-4)
    assert landing_error(subset) < 1e-5


def test_the_last_state_is_the_sample(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    model, noise, labels = (
        make_model(steps=5),
        unit_normal(7, 4, 4, 1),
        np.arange(7, dtype=np.int32) % 3,
    )
    seen: list[tuple[int, int]] = []
    paths = record_trajectories(
        model,
        noise,
        Conditions.of_labels(labels),
        batch_size=3,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    samples = model.sample(mx.array(noise), {"class_labels": mx.array(labels)})
    np.testing.assert_allclose(paths.states[:, -1], samples, atol=1e-5)
    np.testing.assert_array_equal(paths.states[:, 0], noise)
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert paths.states.shape == (7, 6, 4, 4, 1)
    assert paths.x0.shape == (7, 5, 4, 4, 1)


def test_the_first_paths_are_the_first_with_their_labels(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    paths = record_trajectories(
        make_model(steps=3),
        unit_normal(6, 4, 4, 1),
        Conditions.of_labels(np.array([0, 1, 2, 0, 1, 2], np.int32)),
        batch_size=6,
    )
    first = paths.first(4)
    assert first.count == 4
    assert first.conditions.labels is not None
    assert first.conditions.labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(first.states, paths.states[:4])


def test_paths_gone_on_with_are_the_paths_made_at_once(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    model, noise = make_model(steps=4, solver="dpmpp_2m"), unit_normal(10, 4, 4, 1)
    conditions = Conditions.of_labels(np.arange(10) % 3)
    whole = record_trajectories(model, noise, conditions, batch_size=4)
    rest = list(trajectory_chunks(model, noise, conditions, batch_size=4, first=4))
    assert [part for part, *_ in rest] == [slice(4, 8), slice(8, 10)]
    for part, states, x0 in rest:
        np.testing.assert_array_equal(states, whole.states[part])
        np.testing.assert_array_equal(x0, whole.x0[part])


def test_a_path_that_is_not_finite_is_refused_with_its_place(
    unit_normal: Callable[..., np.ndarray],
) -> None:
    states = unit_normal(6, 4, 2, 2, 1)
    refuse_infinite(states, 8)
    states[5, 3, 1, 1, 0] = np.inf
    with pytest.raises(DataError, match="sample 13 is not finite after step 3"):
        refuse_infinite(states, 8)


def test_the_digest_of_paths_sees_weights_grid_seed_and_conditions(
    make_model: Callable[..., DiffusionModel],
) -> None:
    model, conditions = make_model(steps=4), classes(3).repeated(6)
    same = sampling_digest(make_model(steps=4), classes(3).repeated(6), 0)
    assert sampling_digest(model, conditions, 0) == same
    others = [
        sampling_digest(make_model(steps=4, seed=1), conditions, 0),
        sampling_digest(make_model(steps=5), conditions, 0),
        sampling_digest(model.with_grid(model.grid, "dpmpp_2m"), conditions, 0),
        sampling_digest(model, classes(3).repeated(7), 0),
        sampling_digest(model, conditions, 1),
    ]
    assert len({same, *others}) == 6
