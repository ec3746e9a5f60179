"""Samplers against diffusers' trajectories with a network, and against closed forms without."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.diffusion.grid import Grid, grid_at, spaced_grid
from engine.diffusion.names import SOLVERS, Solver, Spacing
from engine.diffusion.noise import NoiseSchedule, ddim_step
from engine.diffusion.samplers import SAMPLERS, ddim, dpmpp_2m, euler
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model

TRAJECTORY_TOLERANCE = 5e-5  # max abs over max abs, of every state

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def cifar(ddpm_cifar: Path) -> LoadedModel:
    return load_model(ddpm_cifar, clip_sample=False)


@pytest.fixture
def states_of(reference: dict[str, np.ndarray]) -> Callable[..., np.ndarray]:
    """Sample from the reference's noise; return all states in NCHW, the first included."""

    def sample(model: DiffusionModel, grid: Grid, solver: Solver = "ddim") -> np.ndarray:
        noise = mx.array(reference["noise"].transpose(0, 2, 3, 1))
        states = [np.array(noise) * grid.start_scale]
        model.sample(
            noise, grid=grid, solver=solver, on_step=lambda i, z, x0: states.append(np.array(z))
        )
        return np.stack(states).transpose(0, 1, 4, 2, 3)

    return sample


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_in_4_steps_is_that_of_diffusers(
    spacing: Spacing,
    cifar: LoadedModel,
    states_of: Callable[..., np.ndarray],
    reference: dict[str, np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    states = states_of(cifar.model, cifar.settings.grid(4, spacing))
    for found, wanted in zip(states, reference[f"noclip.ddim.{spacing}.4.x"], strict=True):
        assert relative_to_largest(found, wanted) < TRAJECTORY_TOLERANCE


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_each_clipped_ddim_step_is_that_of_diffusers(
    spacing: Spacing,
    ddpm_cifar: Path,
    reference: dict[str, np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    """Held step by step: a clipped path of a random network is chaotic.

    Over 50 such steps diffusers in float32 and its own reference end 0.23 apart, and 4 trailing
    ones amplify the rounding of a forward fifty times.
    """
    model = load_model(ddpm_cifar, steps=4, spacing=spacing).model  # clip_sample: true
    states = reference[f"clip.ddim.{spacing}.4.x"]
    denoise = model.denoise_at(model.grid, "ddim", {})
    for i in range(4):
        x0, eps = denoise(mx.array(states[i].transpose(0, 2, 3, 1)), i)
        found = np.array(ddim_step(x0, eps, model.grid.alphas[i + 1], model.grid.sigmas[i + 1]))
        assert (
            relative_to_largest(found.transpose(0, 3, 1, 2), states[i + 1]) < TRAJECTORY_TOLERANCE
        )
        assert float(mx.abs(x0).max()) <= 1


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_in_50_steps_is_that_of_diffusers(
    spacing: Spacing,
    cifar: LoadedModel,
    states_of: Callable[..., np.ndarray],
    reference: dict[str, np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    states = states_of(cifar.model, cifar.settings.grid(50, spacing))
    for found, wanted in zip(
        states[[0, 1, 2, 10, 25, 40, 49, 50]], reference[f"noclip.ddim.{spacing}.50.x"], strict=True
    ):
        assert relative_to_largest(found, wanted) < TRAJECTORY_TOLERANCE


@pytest.mark.parametrize(
    ("key", "spacing"),
    [
        ("dpmpp2m.leading.8", "leading"),
        ("dpmpp2m.linspace.8", "linspace"),
        ("dpmpp2m.trailing.8", "trailing"),
        ("dpmpp2m_karras.8", "karras"),
    ],
)
def test_dpm_solver_is_that_of_diffusers(
    key: str,
    spacing: Spacing,
    cifar: LoadedModel,
    states_of: Callable[..., np.ndarray],
    reference: dict[str, np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    states = states_of(cifar.model, cifar.settings.grid(8, spacing, "dpmpp_2m"), "dpmpp_2m")
    for found, wanted in zip(states, reference[f"noclip.{key}.x"], strict=True):
        assert relative_to_largest(found, wanted) < TRAJECTORY_TOLERANCE


def test_euler_is_that_of_diffusers(
    cifar: LoadedModel,
    states_of: Callable[..., np.ndarray],
    reference: dict[str, np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    grid = cifar.settings.grid(8, "linspace", "euler")
    # diffusers keeps z / alpha
    states = states_of(cifar.model, grid, "euler") / np.array(grid.alphas).reshape(-1, 1, 1, 1, 1)
    for found, wanted in zip(states, reference["noclip.euler.8.x"], strict=True):
        assert relative_to_largest(found, wanted) < TRAJECTORY_TOLERANCE


@pytest.mark.parametrize(
    ("key", "timesteps", "final"),
    [
        ("student4.alpha1", [999, 759, 499, 259], "one"),
        ("student4.alpha0", [999, 759, 499, 259], "first"),
        ("student4b.alpha1", [981, 613, 402, 97], "one"),
    ],
)
def test_any_timesteps_are_stepped_through_as_by_a_loop_written_by_hand(
    key: str,
    timesteps: list[int],
    final: str,
    cifar: LoadedModel,
    states_of: Callable[..., np.ndarray],
    reference: dict[str, np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    schedule = cifar.settings.schedule.ending_at(final)  # pyright: ignore[reportArgumentType]
    states = states_of(cifar.model, grid_at(schedule, timesteps))
    for found, wanted in zip(states, reference[f"noclip.{key}.x"], strict=True):
        assert relative_to_largest(found, wanted) < TRAJECTORY_TOLERANCE


class Gaussian:
    """The exact denoiser of data N(mean, spread**2), and where its probability flow really ends."""

    mean, spread = 0.3, 0.5

    def denoise_on(self, grid: Grid) -> Callable[[mx.array, int], tuple[mx.array, mx.array]]:
        def denoise(z: mx.array, i: int) -> tuple[mx.array, mx.array]:
            alpha, sigma = grid.alphas[i], grid.sigmas[i]
            share = self.spread**2 * alpha / (alpha**2 * self.spread**2 + sigma**2)
            x0 = self.mean + share * (z - alpha * self.mean)
            return x0, (z - alpha * x0) / sigma

        return denoise

    def exact(self, z: mx.array, grid: Grid) -> np.ndarray:
        """Return the end of the path from z: it keeps its quantile."""

        def width(i: int) -> float:
            return (grid.alphas[i] ** 2 * self.spread**2 + grid.sigmas[i] ** 2) ** 0.5

        return (
            np.array(z - grid.alphas[0] * self.mean) * width(-1) / width(0)
            + grid.alphas[-1] * self.mean
        )


def even_in_log_snr(steps: int, start: float = -2.0, end: float = 2.0) -> Grid:
    """Return levels even in log-SNR, without a clean end; timesteps mean nothing here."""
    kappa = np.exp(np.linspace(start, end, steps + 1))
    alphas, sigmas = kappa / np.sqrt(1 + kappa**2), 1 / np.sqrt(1 + kappa**2)
    return Grid(tuple(np.arange(steps, 0, -1.0)), tuple(alphas.tolist()), tuple(sigmas.tolist()))


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("euler", 1), ("dpmpp_2m", 2)])
def test_the_order_of_convergence_is_the_published_one(solver: Solver, order: int) -> None:
    teacher, noise = Gaussian(), mx.array([[[[1.7], [-0.9]]]])
    errors = []
    for steps in (32, 64, 128):
        grid = even_in_log_snr(steps)
        found = SAMPLERS[solver](teacher.denoise_on(grid), noise, grid, None)
        errors.append(float(np.abs(np.array(found) - teacher.exact(noise, grid)).max()))
    rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert rates == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_many_steps_reach_the_exact_sample(solver: Solver, linear_schedule: NoiseSchedule) -> None:
    teacher, noise = Gaussian(), mx.array([[[[1.7], [-0.9]]]])
    grid = spaced_grid(linear_schedule, "log_snr", 300)
    found = SAMPLERS[solver](teacher.denoise_on(grid), noise, grid, None)
    np.testing.assert_allclose(found, teacher.exact(noise, grid), atol=0.01)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_constant_prediction_needs_one_step_only(
    solver: Solver, linear_schedule: NoiseSchedule
) -> None:
    """All solvers are exact where the x0 estimate is constant: splitting steps changes nothing."""
    x0 = mx.array(np.random.default_rng(0).standard_normal((2, 2, 2, 1), dtype=np.float32))
    noise = mx.array(np.random.default_rng(1).standard_normal((2, 2, 2, 1), dtype=np.float32))
    schedule = linear_schedule.ending_at("first")
    ends = []
    for timesteps in ([800], [800, 400], [800, 600, 400, 200], list(range(800, 0, -20))):
        grid = grid_at(schedule, timesteps)

        def denoise(z: mx.array, i: int, grid: Grid = grid) -> tuple[mx.array, mx.array]:
            return x0, (z - grid.alphas[i] * x0) / grid.sigmas[i]

        ends.append(np.array(SAMPLERS[solver](denoise, noise, grid, None)))
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], atol=2e-5)


def test_euler_and_ddim_are_one_step_in_two_coordinates(linear_schedule: NoiseSchedule) -> None:
    teacher, noise = Gaussian(), mx.array([[[[1.7], [-0.9]]]])
    grid = spaced_grid(linear_schedule, "trailing", 7)
    np.testing.assert_allclose(
        euler(teacher.denoise_on(grid), noise, grid),
        ddim(teacher.denoise_on(grid), noise, grid),
        atol=1e-5,
    )


def test_dpm_solver_in_two_steps_or_fewer_is_ddim(linear_schedule: NoiseSchedule) -> None:
    """The first step has no history and the last reaches a clean end: both are of order 1."""
    teacher, noise = Gaussian(), mx.array([[[[1.7], [-0.9]]]])
    for steps in (1, 2):
        grid = spaced_grid(linear_schedule, "trailing", steps)
        np.testing.assert_array_equal(
            dpmpp_2m(teacher.denoise_on(grid), noise, grid),
            ddim(teacher.denoise_on(grid), noise, grid),
        )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 3, 200])
@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_every_solver_starts_from_pure_noise(
    kind: str,
    steps: int,
    solver: Solver,
    gaussian_model: Callable[..., DiffusionModel],
    linear_schedule: NoiseSchedule,
) -> None:
    """With zero terminal SNR log-SNR and sigma/alpha are infinite at the first level."""
    schedule = linear_schedule.rescaled_to_zero_terminal_snr()
    model = gaussian_model(schedule=schedule, steps=steps, prediction_type=kind, solver=solver)
    assert model.grid.alphas[0] == 0
    found = np.array(model.sample(mx.array([[[[1.7], [-0.9]]]])))
    assert np.isfinite(found).all()
    if steps == 200:
        teacher = Gaussian()
        np.testing.assert_allclose(
            found, teacher.exact(mx.array([[[[1.7], [-0.9]]]]), model.grid), atol=0.03
        )


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_step_is_told_in_order_with_its_state_and_estimate(solver: Solver) -> None:
    teacher, noise, grid = Gaussian(), mx.array([[[[1.7], [-0.9]]]]), even_in_log_snr(5)
    seen: list[tuple[int, np.ndarray, np.ndarray]] = []
    end = SAMPLERS[solver](
        teacher.denoise_on(grid),
        noise,
        grid,
        lambda i, z, x0: seen.append((i, np.array(z), np.array(x0))),
    )
    assert [i for i, _, _ in seen] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(seen[-1][1], end)
    np.testing.assert_array_equal(seen[0][2], teacher.denoise_on(grid)(noise, 0)[0])
