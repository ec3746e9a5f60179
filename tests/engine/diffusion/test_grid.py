"""Grids: equal to diffusers' own, and subsets of one another."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.diffusion.grid import Grid, grid_at, karras_sigmas, spaced_grid
from engine.diffusion.names import SOLVERS, SPACINGS, Solver, Spacing
from engine.diffusion.noise import NoiseSchedule, betas


def is_sound(grid: Grid, steps: int) -> bool:
    """Whether a grid is what every sampler relies on."""
    alphas, sigmas = np.array(grid.alphas), np.array(grid.sigmas)
    return (
        grid.steps == steps == len(alphas) - 1 == len(sigmas) - 1
        and bool((np.diff(grid.timesteps) < 0).all())
        and bool((np.diff(alphas) >= 0).all())
        and np.allclose(alphas**2 + sigmas**2, 1)
    )


@pytest.mark.parametrize(
    ("spacing", "solver", "steps", "key"),
    [
        *[
            (spacing, "ddim", 4, f"ddim.{spacing}.4")
            for spacing in ("leading", "linspace", "trailing")
        ],
        *[
            (spacing, "ddim", 50, f"ddim.{spacing}.50")
            for spacing in ("leading", "linspace", "trailing")
        ],
        *[
            (spacing, "dpmpp_2m", 8, f"dpmpp2m.{spacing}.8")
            for spacing in ("leading", "linspace", "trailing")
        ],
        ("karras", "dpmpp_2m", 8, "dpmpp2m_karras.8"),
        ("linspace", "euler", 8, "euler.8"),
    ],
)
def test_timesteps_are_those_of_diffusers(
    spacing: Spacing,
    solver: Solver,
    steps: int,
    key: str,
    linear_schedule: NoiseSchedule,
    reference: dict[str, np.ndarray],
) -> None:
    grid = spaced_grid(linear_schedule, spacing, steps, solver=solver)
    np.testing.assert_allclose(grid.timesteps, reference[f"noclip.{key}.timesteps"], rtol=1e-6)


@pytest.mark.parametrize(
    ("spacing", "solver", "key"),
    [
        *[
            (spacing, "dpmpp_2m", f"dpmpp2m.{spacing}.8")
            for spacing in ("leading", "linspace", "trailing")
        ],
        ("karras", "dpmpp_2m", "dpmpp2m_karras.8"),
        ("linspace", "euler", "euler.8"),
    ],
)
def test_levels_are_those_of_diffusers(
    spacing: Spacing,
    solver: Solver,
    key: str,
    linear_schedule: NoiseSchedule,
    reference: dict[str, np.ndarray],
) -> None:
    grid = spaced_grid(linear_schedule, spacing, 8, solver=solver)
    ratios = np.array(grid.sigmas) / np.array(grid.alphas)
    np.testing.assert_allclose(ratios, reference[f"noclip.{key}.sigmas"], rtol=2e-5, atol=1e-9)


def test_an_offset_moves_every_leading_timestep(linear_schedule: NoiseSchedule) -> None:
    plain = spaced_grid(linear_schedule, "leading", 10)
    moved = spaced_grid(linear_schedule, "leading", 10, offset=1)
    assert moved.timesteps == tuple(t + 1 for t in plain.timesteps)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("count", [12, 50, 1000])
def test_every_spacing_is_sound_for_every_number_of_steps(
    count: int, spacing: Spacing, solver: Solver
) -> None:
    schedule = NoiseSchedule.from_betas(betas("squaredcos_cap_v2", count, 1e-4, 0.02))
    for steps in sorted({1, 2, 3, 4, 7, 10, count // 3, count // 2, count - 2}):
        for offset in (0, 1):
            grid = spaced_grid(schedule, spacing, steps, offset=offset, solver=solver)
            assert is_sound(grid, steps), (steps, offset)
            assert grid.timesteps[0] <= count - 1
            assert grid.timesteps[-1] >= 0


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("offset", [0, 1])
def test_all_timesteps_of_a_schedule_may_be_asked_for(
    offset: int, spacing: Spacing, solver: Solver
) -> None:
    schedule = NoiseSchedule.from_betas(betas("linear", 20, 1e-4, 0.02))
    for steps in (19, 20):
        assert is_sound(spaced_grid(schedule, spacing, steps, offset=offset, solver=solver), steps)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_zero_terminal_snr_can_be_spaced(spacing: Spacing, linear_schedule: NoiseSchedule) -> None:
    schedule = linear_schedule.rescaled_to_zero_terminal_snr()
    grid = spaced_grid(schedule, spacing, 6)
    assert is_sound(grid, 6)
    assert np.isfinite(grid.alphas).all()


@pytest.mark.parametrize("steps", [0, 1001])
def test_a_number_of_steps_outside_the_schedule_is_refused(
    steps: int, linear_schedule: NoiseSchedule
) -> None:
    with pytest.raises(ValueError, match=f"steps is {steps}; choose 1 to 1000"):
        spaced_grid(linear_schedule, "trailing", steps)


@pytest.mark.parametrize("timesteps", [[], [5, 5], [3, 4], [1000, 3], [4, -1]])
def test_timesteps_that_do_not_fall_within_the_schedule_are_refused(
    timesteps: list[int], linear_schedule: NoiseSchedule
) -> None:
    with pytest.raises(ValueError, match="must fall strictly within"):
        grid_at(linear_schedule, timesteps)


def test_every_grid_ends_where_the_schedule_ends(linear_schedule: NoiseSchedule) -> None:
    for final in ("one", "first"):
        schedule = linear_schedule.ending_at(final)
        for spacing in SPACINGS:
            grid = spaced_grid(schedule, spacing, 5)
            assert grid.alphas[-1] ** 2 == pytest.approx(schedule.final_alpha_cumprod, rel=1e-12)
    assert np.isinf(spaced_grid(linear_schedule, "trailing", 5).kappas[-1])


def test_karras_sigmas_are_even_in_their_seventh_root() -> None:
    sigmas = karras_sigmas(9, 0.01, 80)
    assert sigmas[0] == pytest.approx(80)
    assert sigmas[-1] == pytest.approx(0.01)
    roots = np.diff(sigmas ** (1 / 7))
    np.testing.assert_allclose(roots, roots[0], rtol=1e-9)


def test_log_snr_spacing_is_even_in_log_snr(linear_schedule: NoiseSchedule) -> None:
    log_snr = np.log(spaced_grid(linear_schedule, "log_snr", 6).kappas[:-1])
    steps = np.diff(log_snr)
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.06)  # whole timesteps are not quite even


def test_a_subset_keeps_the_points_it_names_and_the_end(linear_schedule: NoiseSchedule) -> None:
    fine = spaced_grid(linear_schedule, "trailing", 50)
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = int(rng.integers(1, 50))
        indices = sorted(rng.choice(50, count, replace=False).tolist())
        subset = fine.subset(indices, "some")
        assert is_sound(subset, count)
        assert fine.indices_of(subset) == indices
        assert subset.alphas[-1] == fine.alphas[-1]
        assert [fine.alphas[i] for i in indices] == list(subset.alphas[:-1])
        assert subset.name == "some"
        assert subset.start_scale == 1
    assert fine.subset(range(50)).timesteps == fine.timesteps


def test_a_subset_of_a_subset_is_a_subset(linear_schedule: NoiseSchedule) -> None:
    fine = spaced_grid(linear_schedule, "trailing", 50)
    middle = fine.subset(
        fine.nearest_indices(spaced_grid(linear_schedule, "trailing", 16).timesteps)
    )
    coarse = middle.subset(
        middle.nearest_indices(spaced_grid(linear_schedule, "trailing", 4).timesteps)
    )
    assert fine.subset(fine.indices_of(coarse)).alphas == coarse.alphas


def test_a_timestep_that_is_no_point_of_the_grid_is_named(linear_schedule: NoiseSchedule) -> None:
    fine = spaced_grid(linear_schedule, "trailing", 50)
    with pytest.raises(ValueError, match=r"\[500\.0\] are not points of the grid 'trailing'"):
        fine.indices_of(grid_at(linear_schedule, [999, 500]))


def test_nearest_points_are_distinct_rising_and_start_at_the_start(
    linear_schedule: NoiseSchedule,
) -> None:
    fine = spaced_grid(linear_schedule, "trailing", 50)
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = int(rng.integers(1, 51))
        wanted = np.sort(rng.choice(1000, count, replace=False))[::-1]
        chosen = fine.nearest_indices(wanted.tolist())
        assert chosen[0] == 0
        assert len(chosen) == count
        assert (np.diff(chosen) > 0).all()
        assert chosen[-1] < 50
    assert fine.nearest_indices(fine.timesteps) == list(range(50))
    with pytest.raises(ValueError, match="51 points cannot be chosen from a grid of 50"):
        fine.nearest_indices(list(range(51, 0, -1)))


def test_points_far_enough_apart_are_the_nearest_ones(linear_schedule: NoiseSchedule) -> None:
    fine = spaced_grid(linear_schedule, "trailing", 50)
    own = np.array(fine.timesteps)
    wanted = [999, 700, 420, 130]
    assert fine.nearest_indices(wanted)[1:] == [int(np.abs(own - t).argmin()) for t in wanted[1:]]


def test_a_grid_survives_being_written_down(make_model: Callable) -> None:
    from dataclasses import asdict

    grid = make_model(steps=5).grid
    assert Grid.from_dict(asdict(grid)) == grid
