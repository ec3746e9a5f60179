"""One stage with all its tries: train, look, judge; then accept, climb the ladder, or give up."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np

from engine.context import RunContext
from engine.diffusion.grid import Grid
from engine.models.diffusion import DiffusionModel
from engine.pictures import save_sheet
from engine.planning import stage_grids
from engine.records import StageReport, StepReport
from engine.run.events import SamplesSaved, StageAccepted, StageRejected, StageStarted, StageTrained, TryStarted
from engine.training.adaptive import AdaptiveScheduler
from engine.training.distill import ProgressiveDistillation, StageConfig
from engine.training.evaluate import sample_all
from engine.training.gate import Remedy, judge, rungs, smaller_reduction
from engine.training.trainer import Trainer
from engine.training.trajectories import Trajectories


@dataclass(frozen=True)
class StageOutcome:
    """A student that passed, or the step count at which the reduction should be cut in two, or neither."""

    student: DiffusionModel | None = None
    split_at: int | None = None


def run_stage(
    run: RunContext,
    distillation: ProgressiveDistillation,
    *,
    number: int,
    teacher: DiffusionModel,
    output_steps: int,
    final_grid: Grid | None,
    trajectories: Trajectories,
    may_split: bool,
) -> StageOutcome:
    """Return what came of stage `number`, from `teacher` to `output_steps`. Every try is recorded in `run.reports`."""
    run.hooks.emit(StageStarted(stage=number, input_steps=teacher.steps, output_steps=output_steps))
    scheduler = AdaptiveScheduler(teacher, run.config.schedule, scheduler=run.original.settings)
    scheduler.share(trajectories=trajectories, evaluator=run.select)
    grids = stage_grids(run, scheduler, output_steps=output_steps, final_grid=final_grid)
    ladder = rungs(
        run.config.training.retries,
        input_steps=teacher.steps,
        output_steps=output_steps,
        has_other_grid=len(grids) > 1,
    )
    for attempt, remedy in enumerate(ladder, start=1):
        if remedy.is_smaller_reduction:
            return StageOutcome(split_at=smaller_reduction(teacher.steps, output_steps) if may_split else None)
        grid = grids[1] if remedy.takes_next_grid else grids[0]
        following = ladder[attempt].name if attempt < len(ladder) else None
        student = _try(run, distillation, number, attempt, remedy, teacher, grid, trajectories, following)
        if student is not None:
            return StageOutcome(student=student)
    return StageOutcome()


def _try(
    run: RunContext,
    distillation: ProgressiveDistillation,
    number: int,
    attempt: int,
    remedy: Remedy,
    teacher: DiffusionModel,
    grid: Grid,
    trajectories: Trajectories,
    next_remedy: str | None,
) -> DiffusionModel | None:
    """Train and judge one try; return the student if it passed."""
    training, started = run.config.training, monotonic()
    iterations = round(distillation.iterations_of(number) * remedy.iterations_factor)
    rate = training.learning_rate * remedy.learning_rate_factor
    run.hooks.emit(
        TryStarted(
            stage=number,
            attempt=attempt,
            remedy=remedy.name,
            iterations=iterations,
            learning_rate=rate,
            grid_name=grid.name,
            timesteps=grid.timesteps,
        )
    )
    student = teacher.student(grid)
    name = f"stage {number} ({teacher.steps} to {grid.steps}), try {attempt}"
    losses = run.losses.setdefault(name, [])
    with run.phase("train", stage=number, unit="optimiser steps") as progress:
        distillation.on_step = _reporter(run, number, attempt, losses, progress)
        config = StageConfig(
            iterations=iterations,
            learning_rate=rate,
            stage_number=number,
            seed_path=(number, attempt),
            trajectories=trajectories,
        )
        distillation.distill_stage(run.as_teacher(teacher), student, config)
        distillation.on_step = None
    run.step += iterations
    final_loss = losses[-1][1] if losses else float("nan")
    run.hooks.emit(
        StageTrained(
            stage=number,
            attempt=attempt,
            step=run.step,
            iterations=iterations,
            final_loss=final_loss,
            seconds=monotonic() - started,
        )
    )

    with run.phase("gate", stage=number):
        verdict = judge(student, run.select, run.final, run.config.quality_threshold)
    run.evaluated("student", verdict.select, "select", steps=grid.steps, stage=number, attempt=attempt)
    if verdict.final is not None:
        run.evaluated("student", verdict.final, "final", steps=grid.steps, stage=number, attempt=attempt)
    quality = verdict.final or verdict.select
    if verdict.is_accepted:
        run.hooks.emit(
            StageAccepted(
                stage=number,
                attempt=attempt,
                score=quality.score,
                lower_bound=quality.lower_bound,
                threshold=run.config.quality_threshold,
            )
        )
    else:
        run.hooks.emit(
            StageRejected(
                stage=number,
                attempt=attempt,
                reason=verdict.reason,
                score=quality.score,
                lower_bound=quality.lower_bound,
                next_remedy=next_remedy,
            )
        )
    run.reports.append(
        StageReport(
            stage_number=number,
            attempt=attempt,
            remedy=remedy.name,
            input_steps=teacher.steps,
            output_steps=grid.steps,
            timesteps=grid.timesteps,
            grid_name=grid.name,
            iterations=iterations,
            learning_rate=rate,
            final_loss=final_loss,
            select_quality=verdict.select,
            final_quality=verdict.final,
            is_accepted=verdict.is_accepted,
            seconds=monotonic() - started,
        )
    )
    return student if verdict.is_accepted else None


def _reporter(
    run: RunContext, number: int, attempt: int, losses: list[tuple[int, float]], progress: Callable[[int, int], None]
) -> Callable[[StepReport, Trainer], None]:
    """Return what is done with every report of a step: metrics, progress, and a sample sheet now and then."""
    every, before = run.config.training.sample_every, run.step

    def report(step: StepReport, trainer: Trainer) -> None:
        losses.append((step.step, step.loss))
        run.hooks.record(
            before + step.step,
            {
                "loss": step.loss,
                "gradient_norm": step.gradient_norm,
                "learning_rate": step.learning_rate,
                "images_per_second": step.images_per_second,
            },
        )
        progress(step.step, step.total_steps)
        if every and run.hooks.folder is not None and (step.step % every == 0 or step.step == step.total_steps):
            save_comparison(
                run,
                trainer.averaged_student(),
                f"samples/stage{number}-try{attempt}-step{step.step:06d}.png",
                stage=number,
                step=before + step.step,
            )

    return report


def save_comparison(
    run: RunContext, student: DiffusionModel, name: str, *, stage: int | None = None, step: int | None = None
) -> np.ndarray | None:
    """Write rows of original, undistilled and student samples from the same select noise; return the student's row."""
    if run.hooks.folder is None:
        return None
    count = run.config.export.samples
    noise_set = run.select.noise_set
    noise = noise_set.noise[:count]
    labels = None if noise_set.labels is None else noise_set.labels[:count]
    rows = [
        run.select.teacher_samples[:count],
        sample_all(run.base_model, noise, labels, batch_size=count, grid=student.grid, solver="ddim"),
        sample_all(student, noise, labels, batch_size=count),
    ]
    save_sheet(run.hooks.folder / name, rows)
    run.hooks.emit(SamplesSaved(path=name, what="comparison", stage=stage, step=step, steps=student.steps))
    return rows[-1]
