"""A grid: the timesteps a sampler visits and the noise levels it steps between.

Published ways to space one.

Where a spacing is named as in diffusers it gives the same timesteps as the diffusers scheduler of
that solver.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.diffusion.names import SPACINGS, Solver, Spacing
from engine.diffusion.noise import NoiseSchedule


@dataclass(frozen=True, slots=True)
class Grid:
    """K sampling steps, from noisy to clean.

    K timesteps for the network, K + 1 levels to step between.

    `start_scale` multiplies the unit noise that sampling starts from; 1 for every solver but Euler,
    whose schedulers start at ``sigma`` instead.
    """

    timesteps: tuple[float, ...]  # (K,) falling, what the network is told
    alphas: tuple[float, ...]  # (K + 1,) rising
    sigmas: tuple[float, ...]  # (K + 1,) falling
    name: str = "custom"
    start_scale: float = 1.0

    @property
    def steps(self) -> int:
        """The number of network evaluations, K."""
        return len(self.timesteps)

    @property
    def kappas(self) -> np.ndarray:
        """``alpha / sigma`` of every level, (K + 1,) float64; infinite where no noise is left."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.alphas) / np.asarray(self.sigmas)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Grid":
        """Return the grid that ``dataclasses.asdict`` wrote, JSON between them or not."""
        lists = {key: tuple(values[key]) for key in ("timesteps", "alphas", "sigmas")}
        return cls(**lists, name=values["name"], start_scale=values["start_scale"])

    def subset(self, indices: Sequence[int], name: str | None = None) -> "Grid":
        """Return the grid that visits only the given points and ends where this ends.

        `indices` rise and point into `timesteps`. Consecutive points of the result bracket whole
        steps of this grid: what a student of it can be trained on. It starts from unit noise
        whatever this grid starts from, for an exported student can start from nothing else.
        """
        levels = [*indices, self.steps]
        return replace(
            self,
            timesteps=tuple(self.timesteps[i] for i in indices),
            alphas=tuple(self.alphas[i] for i in levels),
            sigmas=tuple(self.sigmas[i] for i in levels),
            name=name or self.name,
            start_scale=1.0,
        )

    def indices_of(self, student: "Grid") -> list[int]:
        """Return where `student`'s timesteps stand in this grid.

        ValueError if one is not among them.
        """
        places = {t: i for i, t in enumerate(self.timesteps)}
        missing = [t for t in student.timesteps if t not in places]
        if missing:
            raise ValueError(f"timesteps {missing} are not points of the grid {self.name!r}")
        return [places[t] for t in student.timesteps]

    def nearest_indices(self, timesteps: Sequence[float]) -> list[int]:
        """Return distinct rising indices of the points nearest to `timesteps`.

        The first is always 0.

        A student must start where its teacher starts, or the same noise would not mean the same
        picture.
        """
        own, count = np.asarray(self.timesteps), len(timesteps)
        if count > self.steps:
            raise ValueError(f"{count} points cannot be chosen from a grid of {self.steps}")
        chosen = [0]
        for place, t in enumerate(timesteps[1:], start=1):
            low, high = chosen[-1] + 1, self.steps - (count - place)
            chosen.append(low + int(np.argmin(np.abs(own[low : high + 1] - t))))
        return chosen


def grid_at(schedule: NoiseSchedule, timesteps: Sequence[float], name: str = "custom") -> Grid:
    """Return the grid that visits `timesteps` and ends at the schedule's final level.

    The timesteps fall and lie in [0, T-1].
    """
    t = np.asarray(timesteps, dtype=np.float64)
    if (
        t.ndim != 1
        or not len(t)
        or (np.diff(t) >= 0).any()
        or t[0] > schedule.count - 1
        or t[-1] < 0
    ):
        raise ValueError(
            f"timesteps must fall strictly within [0, {schedule.count - 1}], "
            f"found {list(timesteps)}"
        )
    alpha, sigma = schedule.levels(t)
    final = schedule.final_alpha_cumprod
    alphas, sigmas = np.append(alpha, np.sqrt(final)), np.append(sigma, np.sqrt(1 - final))
    return Grid(tuple(t.tolist()), tuple(alphas.tolist()), tuple(sigmas.tolist()), name)


def spaced_grid(
    schedule: NoiseSchedule,
    spacing: Spacing,
    steps: int,
    *,
    offset: int = 0,
    solver: Solver = "ddim",
) -> Grid:
    """Return `steps` timesteps spaced as the diffusers scheduler of `solver` spaces them.

    leading, linspace and trailing are table 2 of Lin et al. 2024; karras is eq. 5 of Karras et al.
    2022 with rho 7 between the schedule's own ends; log_snr is even in log(alpha/sigma) (Lu et al.
    2022).
    """
    if not 1 <= steps <= schedule.count:
        raise ValueError(f"steps is {steps}; choose 1 to {schedule.count}")
    if spacing in ("karras", "log_snr"):
        return _level_spaced_grid(schedule, spacing, steps)
    count = schedule.count
    if spacing == "trailing":
        t = np.round(np.arange(count, 0, -count / steps))[:steps] - 1
    elif spacing == "leading":
        points = steps + 1 if solver == "dpmpp_2m" else steps
        t = (np.arange(points) * (count // points))[::-1][:steps] + offset
    elif spacing == "linspace" and solver == "euler":
        t = np.linspace(0, count - 1, steps, dtype=np.float32)[::-1]
    elif spacing == "linspace":
        points = steps + 1 if solver == "dpmpp_2m" else steps
        t = np.round(np.linspace(0, count - 1, points))[::-1][:steps]
    else:
        raise ValueError(f"spacing {spacing!r} is none of {', '.join(SPACINGS)}")
    # An offset (steps_offset: 1) may push a dense leading grid past the table's end, and rounding
    # join two points.
    t = np.minimum(t, count - 1)
    grid = grid_at(
        schedule,
        t.tolist() if (np.diff(t) < 0).all() else _made_strictly_falling(t, count - 1),
        spacing,
    )
    if solver == "euler" and spacing != "leading":
        return replace(grid, start_scale=grid.sigmas[0])
    return grid


def karras_sigmas(count: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> np.ndarray:
    """Return `count` ratios sigma/alpha falling from sigma_max to sigma_min, (count,) float64.

    Spaced evenly in sigma**(1/rho), which spends steps where the path bends (Karras et al. 2022,
    eq. 5).
    """
    ramp = np.linspace(0, 1, count)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def _level_spaced_grid(schedule: NoiseSchedule, spacing: Spacing, steps: int) -> Grid:
    table = schedule.alphas_cumprod
    usable = (
        table > 1e-12
    )  # with zero terminal SNR the last ratio is infinite and cannot be spaced towards
    ratios = np.sqrt((1 - table[usable]) / table[usable])
    if spacing == "karras":
        wanted = karras_sigmas(steps, ratios[0], ratios[-1])
    else:
        wanted = np.exp(np.linspace(np.log(ratios[-1]), np.log(ratios[0]), steps))
    t = np.round(np.interp(np.log(wanted), np.log(ratios), np.arange(len(ratios))))
    grid = grid_at(schedule, _made_strictly_falling(t, schedule.count - 1), spacing)
    if spacing == "karras" and grid.timesteps == tuple(t.tolist()):
        # As published, the levels are the exact ones; only what the network is told is rounded.
        alphas = 1 / np.sqrt(1 + wanted**2)
        return replace(
            grid,
            alphas=(*alphas.tolist(), grid.alphas[-1]),
            sigmas=(*(wanted * alphas).tolist(), grid.sigmas[-1]),
        )
    return grid


def _made_strictly_falling(t: np.ndarray, highest: int) -> list[float]:
    """Return rounded timesteps with those that coincide moved apart, each as little as may be."""
    out = t.astype(int)
    out[0] = min(out[0], highest)
    for i in range(1, len(out)):
        out[i] = min(out[i], out[i - 1] - 1)
    # Those pushed below zero come back up from the clean end.
    for i in range(len(out) - 1, -1, -1):
        out[i] = max(out[i], len(out) - 1 - i)
    return [float(value) for value in out]
