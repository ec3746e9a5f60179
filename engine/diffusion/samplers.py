"""Deterministic samplers through one signature.

``sampler(denoise, noise, grid, on_step) -> samples``.

`denoise(z, i)` returns the estimates (x0, eps) at point i of the grid; it owns the network, the
condition and any clipping. Every sampler steps to the *next listed* level.
"""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from engine.diffusion.grid import Grid
from engine.diffusion.names import Solver
from engine.diffusion.noise import ddim_step

Denoise = Callable[[mx.array, int], tuple[mx.array, mx.array]]
OnStep = Callable[[int, mx.array, mx.array], None]  # (step index, state after it, x0 estimate used)
Sampler = Callable[[Denoise, mx.array, Grid, OnStep | None], mx.array]


def ddim(denoise: Denoise, noise: mx.array, grid: Grid, on_step: OnStep | None = None) -> mx.array:
    """Return samples by DDIM with eta 0 (Song et al. 2021).

    Order 1, exact where the x0 estimate is constant.

    `noise` is unit-variance (B, H, W, C) float32; so is the result's layout.
    """
    z = noise * grid.start_scale
    for i in range(grid.steps):
        x0, eps = denoise(z, i)
        z = ddim_step(x0, eps, grid.alphas[i + 1], grid.sigmas[i + 1])
        mx.eval(z)
        if on_step is not None:
            on_step(i, z, x0)
    return z


def euler(denoise: Denoise, noise: mx.array, grid: Grid, on_step: OnStep | None = None) -> mx.array:
    """Return samples by Euler's method in ``sigma/alpha`` (Karras et al.

    2022, algorithm 1 without its correction).

    On the same levels this is the DDIM step written in other coordinates; the grid differs
    (fractional timesteps, the starting scale), which is why it is a solver of its own to the user.
    """
    with np.errstate(divide="ignore"):
        ratios = (np.asarray(grid.sigmas) / np.asarray(grid.alphas)).tolist()
    z = noise * grid.start_scale
    y = z / (grid.alphas[0] or 1.0)  # y = z / alpha, the coordinates in which eps is the slope
    for i in range(grid.steps):
        x0, eps = denoise(z, i)
        # With zero terminal SNR the first ratio is infinite; there the same step is written from
        # x0.
        y = y + (ratios[i + 1] - ratios[i]) * eps if grid.alphas[i] else x0 + ratios[i + 1] * eps
        z = y * grid.alphas[i + 1]
        mx.eval(z)
        if on_step is not None:
            on_step(i, z, x0)
    return z


def dpmpp_2m(
    denoise: Denoise, noise: mx.array, grid: Grid, on_step: OnStep | None = None
) -> mx.array:
    """Return samples by DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2).

    Order 1 in the first step, in the last of fewer than 15 (as diffusers does), and whenever the
    level reached has no noise: order 2 is infinite there.
    """
    alphas, sigmas = grid.alphas, grid.sigmas
    with np.errstate(divide="ignore"):
        log_snr = np.log(grid.kappas)
    z, previous = noise * grid.start_scale, None
    for i in range(grid.steps):
        x0, eps = denoise(z, i)
        last_of_few = i == grid.steps - 1 and grid.steps < 15
        if previous is None or last_of_few or sigmas[i + 1] == 0 or not np.isfinite(log_snr[i - 1]):
            z = ddim_step(x0, eps, alphas[i + 1], sigmas[i + 1])
        else:
            h = log_snr[i + 1] - log_snr[i]
            r = (log_snr[i] - log_snr[i - 1]) / h
            slope = (x0 - previous) * float(1 / r)
            z = (sigmas[i + 1] / sigmas[i]) * z - (alphas[i + 1] * float(np.expm1(-h))) * (
                x0 + 0.5 * slope
            )
        previous = x0
        mx.eval(z)
        if on_step is not None:
            on_step(i, z, x0)
    return z


SAMPLERS: dict[Solver, Sampler] = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "euler": euler}
