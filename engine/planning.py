"""The grid of the last stage, chosen first.

What no training reaches, then short pilots of the most promising grids.
"""

from itertools import count

from engine.context import RunContext
from engine.diffusion.grid import Grid
from engine.memory import Record
from engine.run.events import GridChosen, RankedGrid
from engine.training.adaptive import AdaptiveScheduler, Candidate, Ranked
from engine.training.distill import ProgressiveDistillation, StageConfig, uniform_subset
from engine.training.trajectories import Trajectories

_PILOT = 1000  # seeds of pilots are numbered from here, apart from any stage


def choose_final_grid(
    run: RunContext,
    scheduler: AdaptiveScheduler,
    distillation: ProgressiveDistillation,
    trajectories: Trajectories,
) -> tuple[list[Ranked], Grid | None]:
    """Return (the ranking at target_steps without training, the grid for the last student).

    The grid is None where the search is switched off: every stage then takes its teacher's uniform
    subset.
    """

    def plan() -> Record:
        training_free, ranked = _ranked_plans(run, scheduler, distillation, trajectories)
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
            ranked = []
            for number, grid in enumerate(pilots, _PILOT):
                ranked.append(_pilot(run, distillation, grid, trajectories, number))
                tick(grid)
            ranked.sort(key=lambda one: -one.quality.score)
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
    teacher_scheduler: AdaptiveScheduler,
    *,
    output_steps: int,
    final_grid: Grid | None,
) -> list[Grid]:
    """Return the grids a stage may use, the planned one first.

    All of them are subsets of its teacher's own grid. Intermediate grids contain the final one's
    points, planned by the teacher's own cost matrix.
    """
    teacher = teacher_scheduler.model
    if final_grid is None:
        return [uniform_subset(teacher, output_steps)]
    if output_steps > run.config.target_steps:
        return teacher_scheduler.programme_grids(
            output_steps, forced=teacher.grid.indices_of(final_grid)
        )
    others = teacher_scheduler.training_grids(output_steps)
    return [final_grid, *(grid for grid in others if grid.timesteps != final_grid.timesteps)]


def _pilot(
    run: RunContext,
    distillation: ProgressiveDistillation,
    grid: Grid,
    trajectories: Trajectories,
    number: int,
) -> Ranked:
    """Return how good a student on `grid` becomes in a short distillation from the original."""
    student = distillation.student_of(run.base_model, grid)
    config = StageConfig(
        iterations=run.config.schedule.pilot_iterations,
        seed_path=(number,),
        trajectories=trajectories,
    )
    distillation.distill_stage(run.base_model, student, config)
    quality = run.select.quality_of(student)
    run.evaluated(f"pilot on {grid.name}", quality, "select", steps=grid.steps)
    return Ranked(Candidate("ddim", grid), quality)
