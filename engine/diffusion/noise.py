"""Noise levels, predictions and the distillation target. Formulas only.

Used by samplers, training and export.

A noisy state is ``z = alpha x + sigma eps`` with ``alpha**2 + sigma**2 = 1``; ``kappa = alpha /
sigma`` is the square root of the signal-to-noise ratio. Tables are float64 NumPy; arrays of states
are float32 MLX, ``(B, H, W, C)``.
"""

from dataclasses import dataclass
from typing import Literal

import mlx.core as mx
import numpy as np

PredictionType = Literal["epsilon", "sample", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "sample", "v_prediction")
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp")


def betas(kind: str, count: int, start: float, end: float) -> np.ndarray:
    """Return the `count` variances of a discrete forward process.

    Computed in float32, as trained models have seen them.

    Kinds: linear (Ho et al. 2020), scaled_linear (Rombach et al. 2022), squaredcos_cap_v2 (Nichol &
    Dhariwal 2021), sigmoid (Xu et al. 2022), laplace (Hang et al. 2024) and exp.
    """
    if kind == "linear":
        return np.linspace(start, end, count, dtype=np.float64).astype(np.float32)
    if kind == "scaled_linear":
        roots = np.linspace(start**0.5, end**0.5, count, dtype=np.float64).astype(np.float32)
        return roots**2
    if kind == "sigmoid":
        ramp = np.linspace(-6, 6, count)
        return (1 / (1 + np.exp(-ramp)) * (end - start) + start).astype(np.float32)
    u = np.arange(count + 1) / count
    if kind == "squaredcos_cap_v2":
        alpha_bar = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    elif kind == "exp":
        alpha_bar = np.exp(-12.0 * u)
    elif kind == "laplace":
        log_snr = -0.5 * np.copysign(1, 0.5 - u) * np.log(1 - 2 * np.abs(0.5 - u) + 1e-6)
        alpha_bar = np.sqrt(1 / (1 + np.exp(-log_snr)))
    else:
        raise ValueError(f"beta schedule {kind!r} is none of {', '.join(BETA_SCHEDULES)}")
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999).astype(np.float32)


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The noise level of every training timestep.

    ``alphas_cumprod[t] = alpha(t)**2``, falling, float64.

    `final_alpha_cumprod` is the level at which sampling ends: 1.0 (no noise) or
    ``alphas_cumprod[0]``.
    """

    alphas_cumprod: np.ndarray  # (T,)
    final_alpha_cumprod: float = 1.0

    @classmethod
    def from_betas(cls, values: np.ndarray, *, end_at_first: bool = False) -> "NoiseSchedule":
        """Build from variances.

        `end_at_first` ends sampling at ``alphas_cumprod[0]`` instead of 1.
        """
        # Accumulated in float64 and rounded to float32: the values that published models were
        # trained with.
        table = np.cumprod((np.float32(1) - values.astype(np.float32)).astype(np.float64))
        table = table.astype(np.float32).astype(np.float64)
        return cls(table, float(table[0]) if end_at_first else 1.0)

    @property
    def count(self) -> int:
        """The number of training timesteps, T."""
        return len(self.alphas_cumprod)

    def levels(self, timesteps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (alpha, sigma) at integer or fractional timesteps in [0, T-1].

        Between integers sigma/alpha is interpolated linearly, the convention of Euler schedulers
        (Karras et al. 2022).
        """
        t = np.asarray(timesteps, dtype=np.float64)
        whole = t == np.round(t)
        table = self.alphas_cumprod
        cumprod = table[np.clip(np.round(t), 0, self.count - 1).astype(int)]
        if not whole.all():
            with np.errstate(divide="ignore"):
                ratio = np.interp(t, np.arange(self.count), np.sqrt((1 - table) / table))
            cumprod = np.where(whole, cumprod, 1 / (1 + ratio**2))
        return np.sqrt(cumprod), np.sqrt(1 - cumprod)

    def ending_at(self, final: Literal["one", "first"]) -> "NoiseSchedule":
        """Return the same schedule ending at another level.

        "one" is no noise, "first" the first training level.
        """
        return NoiseSchedule(
            self.alphas_cumprod, 1.0 if final == "one" else float(self.alphas_cumprod[0])
        )

    def rescaled_to_zero_terminal_snr(self) -> "NoiseSchedule":
        """Return the schedule shifted and scaled so that its last level is pure noise (Lin et al.

        2024, algorithm 1).

        Only for v- and sample-prediction: an epsilon prediction says nothing about x where alpha is
        0.
        """
        roots = np.sqrt(self.alphas_cumprod)
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
        final = self.final_alpha_cumprod
        return NoiseSchedule(roots**2, final if final == 1.0 else float(roots[0] ** 2))


def x0_and_eps(
    prediction: mx.array,
    z: mx.array,
    alpha: mx.array | float,
    sigma: mx.array | float,
    kind: PredictionType,
) -> tuple[mx.array, mx.array]:
    """Return the float32 estimates (x0, eps) that a network's `prediction` at `z` stands for.

    Dividing by alpha amplifies an epsilon model's error by 1/alpha at high noise; that is the
    model's own property.
    """
    prediction, z = prediction.astype(mx.float32), z.astype(mx.float32)
    if kind == "epsilon":
        return (z - sigma * prediction) / alpha, prediction
    if kind == "v_prediction":
        return alpha * z - sigma * prediction, sigma * z + alpha * prediction
    # Where sigma is 0 nothing is left to remove and eps has no meaning; the guard only keeps it
    # finite.
    return prediction, (z - alpha * prediction) / mx.maximum(mx.array(sigma, mx.float32), 1e-12)


def prediction_for_x0(
    x0: mx.array,
    z: mx.array,
    alpha: mx.array | float,
    sigma: mx.array | float,
    kind: PredictionType,
) -> mx.array:
    """Return what a network must predict at `z` so that its x0 estimate is `x0`.

    The inverse of `x0_and_eps`.
    """
    if kind == "sample":
        return x0
    eps = (z - alpha * x0) / sigma
    return eps if kind == "epsilon" else alpha * eps - sigma * x0


def ddim_step(
    x0: mx.array, eps: mx.array, alpha_next: mx.array | float, sigma_next: mx.array | float
) -> mx.array:
    """Return the state at the next level: ``alpha_s x0 + sigma_s eps`` (Song et al. 2021, eq.

    12 with eta = 0).
    """
    return alpha_next * x0 + sigma_next * eps


def target_weights(kappas: np.ndarray) -> np.ndarray:
    """Return the convex weights ``w_k = (kappa_{k+1} - kappa_k) / (kappa_K - kappa_0)``, (K,).

    One for each of K teacher steps. The x0 that lands one DDIM step from ``kappas[0]`` exactly
    where the K teacher steps land is ``sum_k w_k x0_k`` (Salimans & Ho 2022, generalised to any
    grid). If the last level has no noise its kappa is infinite, and the whole weight falls on the
    last prediction. `kappas` is (K+1,), rising, float64.
    """
    kappas = np.asarray(kappas, dtype=np.float64)
    if (
        np.isinf(kappas[-1]) or kappas[-1] == kappas[0]
    ):  # also a step of no length, which moves nothing
        weights = np.zeros(len(kappas) - 1)
        weights[-1] = 1.0
        return weights
    return np.diff(kappas) / (kappas[-1] - kappas[0])


def landing_x0(
    z: mx.array,
    z_next: mx.array,
    alpha: mx.array | float,
    sigma: mx.array | float,
    alpha_next: mx.array | float,
    sigma_next: mx.array | float,
) -> mx.array:
    """Return the x0 whose single DDIM step takes `z` exactly to `z_next`, float32.

    Solved from ``z_next = alpha_next x + sigma_next (z - alpha x) / sigma``. The divisor is small
    where the two levels are close: use `target_weights` where the teacher's own predictions are at
    hand and nothing was clipped.
    """
    ratio = sigma_next / sigma
    return (z_next - ratio * z) / (alpha_next - alpha * ratio)


def landing_weight(
    alpha: np.ndarray, sigma: np.ndarray, alpha_next: np.ndarray, sigma_next: np.ndarray
) -> np.ndarray:
    """Return the float64 weight on ``|x - x*|**2`` that measures the error where a step lands."""
    return (alpha_next - sigma_next * alpha / sigma) ** 2
