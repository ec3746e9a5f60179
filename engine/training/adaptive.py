"""`AdaptiveScheduler`.

Which timesteps, which noise levels and how few steps, ranked by measured quality.

The dynamic programme and the published spacings propose; the quality on the *select* noise decides.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from engine.diffusion.grid import Grid, grid_at, spaced_grid
from engine.diffusion.names import SPACINGS, Solver
from engine.diffusion.programme import COSTS, Cost, best_path, cost_matrix
from engine.diffusion.scheduler_config import SchedulerSettings
from engine.models.diffusion import DiffusionModel
from engine.records import Quality
from engine.settings import QualitySettings, ScheduleSettings
from engine.training.conditions import ConditionSets, classes
from engine.training.evaluate import Evaluator
from engine.training.noise_sets import NoiseSet, Purpose, unit_noise
from engine.training.trajectories import Trajectories, record_trajectories

SEARCH_TRAJECTORIES = 256  # paths that the dynamic programme's costs are averaged over


@dataclass(frozen=True)
class Candidate:
    """A way to sample in few steps: a solver on a grid."""

    solver: Solver
    grid: Grid

    @property
    def name(self) -> str:
        """For example ``ddim on trailing``."""
        return f"{self.solver} on {self.grid.name}"

    @property
    def key(self) -> tuple[Solver, Grid]:
        """What decides the samples: two candidates of one key differ in name alone."""
        return self.solver, replace(self.grid, name="")


@dataclass(frozen=True)
class Ranked:
    """A candidate with the quality it was measured to have on the select noise."""

    candidate: Candidate
    quality: Quality

    def to_dict(self) -> dict[str, Any]:
        """Return solver, grid, timesteps and quality as JSON-ready values."""
        grid = self.candidate.grid
        return {
            "solver": self.candidate.solver,
            "grid": grid.name,
            "timesteps": list(grid.timesteps),
            **self.quality.to_dict(),
        }

    def to_record(self) -> dict[str, Any]:
        """Return everything, levels included, as JSON-ready values for `from_record`."""
        candidate = {"solver": self.candidate.solver, "grid": asdict(self.candidate.grid)}
        return {"candidate": candidate, "quality": self.quality.to_dict()}

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> "Ranked":
        """Return what `to_record` wrote."""
        candidate = values["candidate"]
        return cls(
            Candidate(candidate["solver"], Grid.from_dict(candidate["grid"])),
            Quality.from_dict(values["quality"]),
        )


class AdaptiveScheduler:
    """Proposes grids and noise levels for one model and ranks them by measured quality.

    Nothing is computed before it is asked for: the teacher's trajectories and its samples on the
    select noise are made at the first ranking, unless `share` brings those that a run has already
    made.
    """

    def __init__(
        self,
        model: DiffusionModel,
        settings: ScheduleSettings | None = None,
        *,
        scheduler: SchedulerSettings | None = None,
        quality: QualitySettings | None = None,
        conditions: ConditionSets | None = None,
        batch_size: int = 125,
    ) -> None:
        self.model = model
        self.conditions = conditions or ConditionSets.same(classes(model.class_count))
        self.settings = settings or ScheduleSettings()
        self.scheduler = scheduler
        self.quality = quality or QualitySettings()
        self.batch_size = batch_size
        self._trajectories: Trajectories | None = None
        self._evaluator: Evaluator | None = None
        self._measured: dict[
            tuple[Solver, Grid], Quality
        ] = {}  # by Candidate.key, under the present evaluator

    def share(
        self, *, trajectories: Trajectories | None = None, evaluator: Evaluator | None = None
    ) -> None:
        """Take trajectories of the model, or an evaluator, instead of making them.

        The evaluator is on the select noise.
        """
        self._trajectories = trajectories or self._trajectories
        if evaluator is not None and evaluator is not self._evaluator:
            self._evaluator = evaluator
            self._measured.clear()

    def forget_trajectories(self) -> None:
        """Let go of the trajectories, which are large; they are made again if asked for."""
        self._trajectories = None

    @property
    def trajectories(self) -> Trajectories:
        """The model's paths on its own fine grid, from train noise."""
        if self._trajectories is None:
            conditions = self.conditions.train.repeated(SEARCH_TRAJECTORIES)
            noise = unit_noise(Purpose.TRAIN, SEARCH_TRAJECTORIES, self.model.sample_shape)
            self._trajectories = record_trajectories(
                self.model, noise, conditions, batch_size=self.batch_size
            )
        return self._trajectories

    @property
    def evaluator(self) -> Evaluator:
        """Scores against the model's own full-length samples on the select noise."""
        if self._evaluator is None:
            select_count, _ = self.quality.counts(is_latent=False)
            noise_set = NoiseSet.select(
                select_count, self.model.sample_shape, self.conditions.select
            )
            self._evaluator = Evaluator.against(
                self.model,
                noise_set,
                components=None,
                batch_size=self.batch_size,
                resamples=self.quality.bootstrap,
            )
        return self._evaluator

    def propose(
        self,
        steps: int,
        solvers: Sequence[Solver] = ("ddim", "dpmpp_2m"),
        *,
        with_noise_levels: bool = True,
    ) -> list[Candidate]:
        """Return distinct candidates of `steps` steps.

        Published spacings, dynamic programmes, other noise levels.
        """
        candidates: dict[tuple[Solver, Grid], Candidate] = {}
        for solver in solvers:
            grids = [*self._spaced(steps, solver), *self.programme_grids(steps)]
            if with_noise_levels:
                grids += self._other_levels(grids, steps)
            for grid in grids:
                candidate = Candidate(solver, grid)
                candidates.setdefault(candidate.key, candidate)
        return list(candidates.values())

    def rank(
        self, candidates: Iterable[Candidate], on_ranked: Callable[[Ranked], None] | None = None
    ) -> list[Ranked]:
        """Return the candidates with their measured quality on the select noise, the best first.

        One that was measured before under another name is not sampled again.
        """
        ranked = []
        for candidate in candidates:
            quality = self._measured.get(candidate.key)
            if quality is None:
                quality = self.evaluator.quality_of(self.model, candidate.grid, candidate.solver)
                self._measured[candidate.key] = quality
            one = Ranked(candidate, quality)
            ranked.append(one)
            if on_ranked is not None:
                on_ranked(one)
        return sorted(ranked, key=lambda r: -r.quality.score)

    def best(self, steps: int, solvers: Sequence[Solver] = ("ddim", "dpmpp_2m")) -> Ranked:
        """Return the best way found to sample this model in `steps` steps.

        With a student, its best grid.
        """
        return self.rank(self.propose(steps, solvers))[0]

    def programme_grids(self, steps: int, *, forced: Sequence[int] = ()) -> list[Grid]:
        """Return the distinct subsets of the model's own grid that the dynamic programme proposes.

        Each includes `forced`.
        """
        found: dict[tuple[int, ...], Grid] = {}
        for cost in self.settings.costs:
            matrix = self._costs(cost)
            for gamma in self.settings.gammas:
                if steps >= self.model.steps:
                    continue
                path = tuple(best_path(matrix, steps, gamma=gamma, forced=forced))
                found.setdefault(path, self.model.grid.subset(path, f"dp {cost} {gamma:g}"))
        return list(found.values())

    def training_grids(self, steps: int, *, forced: Sequence[int] = ()) -> list[Grid]:
        """Return subsets of the model's own grid that a student of `steps` steps can be trained on.

        Uniform first.

        Published spacings are moved to the nearest of the model's points.
        """
        fine = self.model.grid
        found: dict[tuple[float, ...], Grid] = {}
        if not forced:
            for name in ("trailing", "log_snr", "karras"):
                wanted = spaced_grid(self.model.schedule, name, steps).timesteps
                grid = fine.subset(
                    fine.nearest_indices(wanted), "uniform" if name == "trailing" else name
                )
                found.setdefault(grid.timesteps, grid)
        for grid in self.programme_grids(steps, forced=forced):
            found.setdefault(grid.timesteps, grid)
        return list(found.values())

    def _costs(self, cost: Cost) -> np.ndarray:
        assert cost in COSTS
        paths = self.trajectories.first(SEARCH_TRAJECTORIES)
        count, steps = paths.count, paths.grid.steps
        states = paths.states.reshape(count, steps + 1, -1)
        predictions = paths.x0.reshape(count, steps, -1)
        return cost_matrix(
            states, predictions, np.array(paths.grid.alphas), np.array(paths.grid.sigmas), cost
        )

    def _spaced(self, steps: int, solver: Solver) -> list[Grid]:
        offset = self.scheduler.steps_offset if self.scheduler else 0
        return [
            spaced_grid(self.model.schedule, spacing, steps, offset=offset, solver=solver)
            for spacing in SPACINGS
        ]

    def _other_levels(self, grids: Sequence[Grid], steps: int) -> list[Grid]:
        """Return variations of the first and the last noise level.

        Where sampling begins and where it ends.

        A lower first level mends the mismatch between pure noise and a schedule that never quite
        reaches it; the last may be no noise or the first trained level; zero terminal SNR is tried
        where the prediction type admits it.
        """
        schedule, programmed = self.model.schedule, grids[len(SPACINGS) :][:1]
        bases = [*(grid for grid in grids if grid.name == "trailing"), *programmed]
        others: list[Grid] = []
        for grid in bases:
            first, *rest = grid.timesteps
            others.extend(
                grid_at(schedule, [float(round(start)), *rest], f"{grid.name}, from {start:.0f}")
                for start in (0.98 * (schedule.count - 1), 0.96 * (schedule.count - 1))
                if first > start > (rest[0] if rest else 0)
            )
            ending = "first" if schedule.final_alpha_cumprod == 1.0 else "one"
            others.append(
                grid_at(
                    schedule.ending_at(ending), grid.timesteps, f"{grid.name}, ends at {ending}"
                )
            )
            if self.model.prediction_type != "epsilon" and schedule.alphas_cumprod[-1] > 0:
                zero = grid_at(
                    schedule.rescaled_to_zero_terminal_snr(),
                    grid.timesteps,
                    f"{grid.name}, zero SNR",
                )
                others.append(replace(zero, name=f"{grid.name}, zero terminal SNR"))
        return others
