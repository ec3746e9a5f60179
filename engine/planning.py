"""The grid of the last stage, chosen first.

What no training reaches, then short pilots of the most promising grids.
"""

import logging
from dataclasses import asdict
from itertools import count

from engine.context import Paths, RunContext
from engine.diffusion.grid import Grid
from engine.errors import TrainingError
from engine.memory import Record
from engine.models.diffusion import DiffusionModel
from engine.run.events import GridChosen, RankedGrid
from engine.training.adaptive import AdaptiveScheduler, Candidate, Ranked
from engine.training.distill import ProgressiveDistillation, StageConfig, uniform_subset
from engine.training.trajectories import Trajectories

logger = logging.getLogger(__name__)

_PILOT = 1000  # seeds of pilots are numbered from here, apart from any stage


def choose_final_grid(
    run: RunContext,
    scheduler: AdaptiveScheduler,
    distillation: ProgressiveDistillation,
    paths: Paths,
) -> tuple[list[Ranked], Grid | None]:
    """Return (the ranking at target_steps without training, the grid for the last student).

    The grid is None where the search is switched off: every stage then takes its teacher's uniform
    subset.
    """

    def plan() -> Record:
        scheduler.share(trajectories=paths(), evaluator=run.select)
        training_free, ranked = _ranked_plans(run, scheduler, distillation, paths())
        scheduler.forget_trajectories()
        return Record(
            facts={
                "training_free": [one.to_record() for one in training_free],
                "ranked": [one.to_record() for one in ranked],
            }
        )

    facts = run.remembered("plan", plan).facts
    training_free, ranked = (
        [Ranked.from_record(one) for one in facts[key]] for key in ("training_free", "ranked")
    )
    return training_free, ranked[0].candidate.grid if ranked else None


def _ranked_plans(
    run: RunContext,
    scheduler: AdaptiveScheduler,
    distillation: ProgressiveDistillation,
    trajectories: Trajectories,
) -> tuple[list[Ranked], list[Ranked]]:
    """Return (training-free candidates, grids for the last student), each ranked best first."""
    settings, target = run.config.schedule, run.config.target_steps
    with run.phase("plan", unit="candidates") as progress:
        candidates = scheduler.propose(target)
        grids = scheduler.training_grids(target) if settings.search else []
        total = (
            len(candidates)
            + len(grids)
            + (settings.pilot_candidates if settings.pilot_iterations else 0)
        )
        done = count(1)

        def tick(_: object) -> None:
            progress(next(done), total)

        training_free = scheduler.rank(candidates, tick)
        if not grids:
            return training_free, []
        uniform = grids[0]
        ranked = scheduler.rank((Candidate("ddim", grid) for grid in grids), tick)
        best = [one.candidate.grid for one in ranked if one.candidate.grid is not uniform]
        pilots = [
            *best[: settings.pilot_candidates - 1],
            uniform,
        ]  # training may reverse the order: keep uniform in
        if settings.pilot_iterations and len(pilots) > 1:
            piloted = []
            for number, grid in enumerate(pilots, _PILOT):
                piloted.append(_pilot(run, distillation, grid, trajectories, number))
                tick(grid)
            # where none could be trained, what they score untrained is all there is
            ranked = sorted(filter(None, piloted), key=lambda one: -one.quality.score) or ranked
    chosen = ranked[0].candidate.grid
    run.hooks.emit(
        GridChosen(
            steps=target,
            timesteps=chosen.timesteps,
            source=chosen.name,
            ranking=tuple(
                RankedGrid(
                    name=r.candidate.grid.name,
                    score=r.quality.score,
                    timesteps=r.candidate.grid.timesteps,
                )
                for r in ranked
            ),
        )
    )
    return training_free, ranked


def stage_grids(
    run: RunContext,
    teacher: DiffusionModel,
    *,
    number: int,
    output_steps: int,
    final_grid: Grid | None,
    paths: Paths,
) -> list[Grid]:
    """Return the grids that stage `number` may use, the planned one first.

    All of them are subsets of its teacher's own grid. Intermediate grids contain the final one's
    points, planned by the teacher's own cost matrix.
    """

    def grids() -> Record:
        found = _stage_grids(run, teacher, output_steps, final_grid, paths)
        return Record(facts={"grids": [asdict(grid) for grid in found]})

    facts = run.remembered(f"stage-{number}-grids", grids, stage=number).facts
    return [Grid.from_dict(one) for one in facts["grids"]]


def _stage_grids(
    run: RunContext,
    teacher: DiffusionModel,
    output_steps: int,
    final_grid: Grid | None,
    paths: Paths,
) -> list[Grid]:
    if output_steps == teacher.steps:  # a conversion to another prediction
        return [teacher.grid]
    if final_grid is None:
        return [uniform_subset(teacher, output_steps)]
    scheduler = AdaptiveScheduler(teacher, run.config.schedule, scheduler=run.original.settings)
    scheduler.share(trajectories=paths())
    if output_steps > run.config.target_steps:
        forced = teacher.grid.indices_of(final_grid)
        return scheduler.programme_grids(output_steps, forced=forced)
    others = scheduler.training_grids(output_steps)
    return [final_grid, *(grid for grid in others if grid.timesteps != final_grid.timesteps)]


def _pilot(
    run: RunContext,
    distillation: ProgressiveDistillation,
    grid: Grid,
    trajectories: Trajectories,
    number: int,
) -> Ranked | None:
    """Return how good a student on `grid` becomes in a short distillation from the original.

    None where its training diverged.
    """
    student = distillation.student_of(run.base_model, grid)
    config = StageConfig(
        iterations=run.config.schedule.pilot_iterations,
        seed_path=(number,),
        trajectories=trajectories,
    )
    try:
        distillation.distill_stage(run.base_model, student, config)
    except TrainingError as error:
        logger.warning("the pilot on %s came to nothing: %s", grid.name, error)
        return None
    quality = run.select.quality_of(student)
    run.evaluated(f"pilot on {grid.name}", quality, "select", steps=grid.steps)
    return Ranked(Candidate("ddim", grid), quality)
