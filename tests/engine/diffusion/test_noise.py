"""Identities of noise levels, predictions and the distillation target."""

import mlx.core as mx
import numpy as np
import pytest

from engine.diffusion.noise import (
    BETA_SCHEDULES,
    PREDICTION_TYPES,
    NoiseSchedule,
    betas,
    ddim_step,
    landing_weight,
    landing_x0,
    prediction_for_x0,
    target_weights,
    x0_and_eps,
)


def schedule_of(kind: str) -> NoiseSchedule:
    return NoiseSchedule.from_betas(betas(kind, 1000, 1e-4, 0.02))


def falling_levels(
    rng: np.random.Generator, count: int, *, ends_clean: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return any levels: kappa rises by any steps, from any first value."""
    kappa = np.cumsum(rng.lognormal(0, 2, count)) * rng.lognormal(-4, 2)
    alpha = kappa / np.sqrt(1 + kappa**2)
    if ends_clean:
        alpha[-1] = 1.0
    return alpha, np.sqrt(1 - alpha**2)


@pytest.mark.parametrize("kind", BETA_SCHEDULES)
def test_signal_and_noise_always_share_a_variance_of_one(kind: str) -> None:
    alpha, sigma = schedule_of(kind).levels(np.linspace(0, 999, 257))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-12)


@pytest.mark.parametrize("kind", BETA_SCHEDULES)
def test_every_beta_schedule_only_ever_adds_noise(kind: str) -> None:
    values = betas(kind, 1000, 1e-4, 0.02)
    table = schedule_of(kind).alphas_cumprod
    assert values.shape == (1000,)
    assert values.dtype == np.float32
    assert ((values >= 0) & (values <= 0.999)).all()
    assert (np.diff(table) <= 0).all()
    assert 0 < table[-1] < table[0] <= 1


def test_the_linear_table_is_the_one_of_diffusers(reference: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(
        schedule_of("linear").alphas_cumprod, reference["noclip.schedule.alphas_cumprod"], rtol=2e-6
    )


def test_an_unknown_beta_schedule_is_named() -> None:
    with pytest.raises(ValueError, match=r"'cubic' is none of linear, scaled_linear"):
        betas("cubic", 10, 0.1, 0.2)


def test_fractional_timesteps_lie_between_their_neighbours() -> None:
    alpha, _ = schedule_of("linear").levels(np.array([10, 10.25, 10.5, 10.75, 11]))
    assert (np.diff(alpha) < 0).all()


def test_zero_terminal_snr_ends_at_pure_noise_and_keeps_the_first_level() -> None:
    schedule = schedule_of("scaled_linear")
    rescaled = schedule.rescaled_to_zero_terminal_snr()
    assert rescaled.alphas_cumprod[-1] == 0
    assert rescaled.alphas_cumprod[0] == pytest.approx(schedule.alphas_cumprod[0], rel=1e-12)
    assert (np.diff(rescaled.alphas_cumprod) < 0).all()
    # Lin et al. 2024: a shift and a scale of sqrt(alphas_cumprod) and nothing else
    ratio = np.diff(np.sqrt(rescaled.alphas_cumprod)) / np.diff(np.sqrt(schedule.alphas_cumprod))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_rescaling_twice_changes_nothing_more() -> None:
    once = schedule_of("linear").rescaled_to_zero_terminal_snr()
    np.testing.assert_allclose(
        once.rescaled_to_zero_terminal_snr().alphas_cumprod, once.alphas_cumprod, atol=1e-15
    )


def test_sampling_ends_at_no_noise_or_at_the_first_level() -> None:
    values = betas("linear", 1000, 1e-4, 0.02)
    schedule = NoiseSchedule.from_betas(values, end_at_first=True)
    first = float(schedule.alphas_cumprod[0])
    assert schedule.final_alpha_cumprod == first
    assert schedule.ending_at("one").final_alpha_cumprod == 1.0
    assert NoiseSchedule.from_betas(values).ending_at("first").final_alpha_cumprod == first
    assert schedule.rescaled_to_zero_terminal_snr().final_alpha_cumprod == pytest.approx(
        first, rel=1e-12
    )


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_a_prediction_and_its_estimate_are_inverse_to_each_other(kind: str) -> None:
    rng = np.random.default_rng(0)
    x0, eps = (mx.array(rng.standard_normal((5, 2, 2, 1), dtype=np.float32)) for _ in range(2))
    for alpha in (0.2, 0.5, 0.9):
        sigma = (1 - alpha**2) ** 0.5
        z = alpha * x0 + sigma * eps
        prediction = prediction_for_x0(x0, z, alpha, sigma, kind)  # pyright: ignore[reportArgumentType]
        x0_again, eps_again = x0_and_eps(prediction, z, alpha, sigma, kind)  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(x0_again, x0, atol=5e-6)
        np.testing.assert_allclose(eps_again, eps, atol=5e-6)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_both_estimates_add_up_to_the_state(kind: str) -> None:
    """Whatever the network says, alpha x0 + sigma eps is z: a step of no length moves nothing."""
    rng = np.random.default_rng(1)
    prediction, z = (
        mx.array(rng.standard_normal((4, 2, 2, 3), dtype=np.float32)) for _ in range(2)
    )
    x0, eps = x0_and_eps(prediction, z, 0.6, 0.8, kind)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(ddim_step(x0, eps, 0.6, 0.8), z, atol=1e-6)


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_estimates_are_finite_where_one_of_signal_and_noise_is_gone(kind: str) -> None:
    z = mx.ones((1, 2, 2, 1))
    for alpha, sigma in ((0.0, 1.0), (1.0, 0.0)):
        for estimate in x0_and_eps(0.5 * z, z, alpha, sigma, kind):  # pyright: ignore[reportArgumentType]
            assert np.isfinite(np.array(estimate)).all()


def test_estimates_are_float32_whatever_the_network_computes_in() -> None:
    half = mx.ones((1, 2, 2, 1)).astype(mx.bfloat16)
    for kind in PREDICTION_TYPES:
        assert all(
            estimate.dtype == mx.float32 for estimate in x0_and_eps(half, half, 0.6, 0.8, kind)
        )


@pytest.mark.parametrize("ends_clean", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 25])
def test_target_weights_are_convex(steps: int, ends_clean: bool) -> None:
    rng = np.random.default_rng(steps)
    for _ in range(20):
        alpha, sigma = falling_levels(rng, steps + 1, ends_clean=ends_clean)
        with np.errstate(divide="ignore"):
            weights = target_weights(alpha / sigma)
        assert weights.shape == (steps,)
        assert (weights >= 0).all()
        assert weights.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("ends_clean", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_the_convex_mean_lands_one_step_where_many_teacher_steps_land(
    steps: int, ends_clean: bool
) -> None:
    """Salimans & Ho 2022 on any grid and ratio; predictions are arbitrary, the algebra holds."""
    rng = np.random.default_rng(10 + steps)
    for _ in range(20):
        alpha, sigma = falling_levels(rng, steps + 1, ends_clean=ends_clean)
        predictions = rng.standard_normal((steps, 9))
        z = start = rng.standard_normal(9)
        for k in range(steps):
            eps = (z - alpha[k] * predictions[k]) / sigma[k]
            z = alpha[k + 1] * predictions[k] + sigma[k + 1] * eps
        with np.errstate(divide="ignore"):
            mean = target_weights(alpha / sigma) @ predictions
        eps = (start - alpha[0] * mean) / sigma[0]
        np.testing.assert_allclose(alpha[-1] * mean + sigma[-1] * eps, z, rtol=1e-9, atol=1e-9)


def test_a_clean_end_is_the_limit_of_ever_less_noise() -> None:
    kappas = np.array([0.5, 1.0, 3.0])
    for last in (1e3, 1e6, 1e12):
        almost = target_weights(np.append(kappas, last))
        np.testing.assert_allclose(
            almost, target_weights(np.append(kappas, np.inf)), atol=3 / last * 1.01
        )


def test_a_step_of_no_length_has_weights_too() -> None:
    np.testing.assert_array_equal(target_weights(np.array([2.0, 2.0])), [1.0])


@pytest.mark.parametrize(("alpha", "alpha_next"), [(0.0, 0.3), (0.1, 0.6), (0.6, 0.8), (0.8, 1.0)])
def test_landing_x0_is_the_inverse_of_a_ddim_step(alpha: float, alpha_next: float) -> None:
    rng = np.random.default_rng(3)
    x0, eps = (mx.array(rng.standard_normal((2, 2, 2, 1), dtype=np.float32)) for _ in range(2))
    sigma, sigma_next = ((1 - value**2) ** 0.5 for value in (alpha, alpha_next))
    z, z_next = alpha * x0 + sigma * eps, ddim_step(x0, eps, alpha_next, sigma_next)
    np.testing.assert_allclose(
        landing_x0(z, z_next, alpha, sigma, alpha_next, sigma_next), x0, atol=1e-5
    )


def test_the_landing_weight_measures_the_error_where_the_step_lands() -> None:
    alpha, sigma, alpha_next, sigma_next = 0.6, 0.8, 0.96, 0.28
    z, miss = 0.7, 0.05
    landed = []
    for x0 in (0.2, 0.2 + miss):
        eps = (z - alpha * x0) / sigma
        landed.append(alpha_next * x0 + sigma_next * eps)
    weight = landing_weight(*(np.array(v) for v in (alpha, sigma, alpha_next, sigma_next)))
    assert (landed[1] - landed[0]) ** 2 == pytest.approx(float(weight) * miss**2, rel=1e-9)
