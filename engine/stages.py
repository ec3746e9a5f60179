"""One stage with all its tries: train, look, judge; then accept, climb the ladder, or give up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from engine.context import RunContext
from engine.control import RetryStage
from engine.diffusion.grid import Grid
from engine.memory import Record
from engine.models.diffusion import DiffusionModel
from engine.pictures import save_sheet
from engine.planning import stage_grids
from engine.records import StageReport, StepReport
from engine.run.events import (
    CheckpointSaved,
    LossDiverged,
    SamplesSaved,
    StageAccepted,
    StageRejected,
    StageStarted,
    StageTrained,
    TryStarted,
)
from engine.training.adaptive import AdaptiveScheduler
from engine.training.distill import (
    ProgressiveDistillation,
    ProgressKeeper,
    StageConfig,
    TrainingProgress,
)
from engine.training.evaluate import sample_all
from engine.training.gate import Remedy, judge, rungs, smaller_reduction
from engine.training.trainer import Trainer, parameters_of
from engine.training.trajectories import Trajectories


@dataclass(frozen=True)
class StageOutcome:
    """A student that passed, or the step count at which to cut the reduction in two, or neither."""

    student: DiffusionModel | None = None
    split_at: int | None = None
    reason: str = ""  # why there is neither, where it was not the gate


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
    """Return what came of stage `number`, from `teacher` to `output_steps`.

    Every try is recorded in `run.reports`.
    """
    grids = _grids(run, teacher, output_steps, final_grid, trajectories)
    ladder = rungs(
        run.config.training.retries,
        input_steps=teacher.steps,
        output_steps=output_steps,
        has_other_grid=len(grids) > 1,
    )
    for attempt, remedy in enumerate(ladder, start=1):
        if remedy.is_smaller_reduction:
            return StageOutcome(
                split_at=smaller_reduction(teacher.steps, output_steps) if may_split else None
            )
        plan = Try(
            stage=number,
            attempt=attempt,
            remedy=remedy,
            teacher=teacher,
            grid=grids[1] if remedy.takes_next_grid else grids[0],
            iterations=round(distillation.iterations_of(number) * remedy.iterations_factor),
            learning_rate=run.config.training.learning_rate * remedy.learning_rate_factor,
            next_remedy=ladder[attempt].name if attempt < len(ladder) else None,
        )
        student = _made(run, distillation, plan, trajectories)
        if student is not None:
            return StageOutcome(student=student)
    return StageOutcome()


@dataclass(frozen=True)
class Try:
    """What one try is going to do."""

    stage: int
    attempt: int
    remedy: Remedy
    teacher: DiffusionModel
    grid: Grid
    iterations: int
    learning_rate: float
    next_remedy: str | None

    @property
    def record_name(self) -> str:
        """Under which the trained weights are kept; the verdict's has -verdict after it."""
        return f"stage-{self.stage}-try-{self.attempt}"

    @property
    def title(self) -> str:
        """For a person."""
        return f"stage {self.stage} ({self.teacher.steps} to {self.grid.steps}), try {self.attempt}"


def _grids(
    run: RunContext,
    teacher: DiffusionModel,
    output_steps: int,
    final_grid: Grid | None,
    trajectories: Trajectories,
) -> list[Grid]:
    scheduler = AdaptiveScheduler(teacher, run.config.schedule, scheduler=run.original.settings)
    scheduler.share(trajectories=trajectories, evaluator=run.select)
    return stage_grids(run, scheduler, output_steps=output_steps, final_grid=final_grid)


def _made(
    run: RunContext, distillation: ProgressiveDistillation, plan: Try, trajectories: Trajectories
) -> DiffusionModel | None:
    """Train and judge one try, or recall what came of it; return the student if it passed."""
    student, started = plan.teacher.student(plan.grid), monotonic()
    verdict_name = f"{plan.record_name}-verdict"
    trained, judged = run.recall(plan.record_name), run.recall(verdict_name)
    if plan.attempt == 1 and trained is None:
        run.hooks.emit(
            StageStarted(
                stage=plan.stage, input_steps=plan.teacher.steps, output_steps=plan.grid.steps
            )
        )
    if trained is None or not (trained.tensors or judged):
        trained = _trained(run, distillation, plan, student, trajectories)
        run.keep(plan.record_name, trained, stage=plan.stage)
    # Not before the finished weights are kept: a kill in between would cost the whole try.
    run.hooks.memory.forget(f"{plan.record_name}-training")
    if trained.tensors:
        student.network.load_weights(
            [(key, mx.array(value)) for key, value in trained.tensors.items()]
        )
    run.losses[plan.title] = [(step, loss) for step, loss in trained.facts["losses"]]
    run.step += plan.iterations

    if judged is None:
        judged = Record(facts={"report": _judged(run, plan, student, started).to_dict()})
        run.keep(verdict_name, judged, stage=plan.stage)
    report = StageReport.from_dict(judged.facts["report"])
    run.reports.append(report)
    if report.is_accepted:
        return student
    if trained.tensors:  # nobody samples a rejected student again; only its losses are told
        run.keep(plan.record_name, Record(facts=trained.facts), stage=plan.stage)
    return None


def _trained(
    run: RunContext,
    distillation: ProgressiveDistillation,
    plan: Try,
    student: DiffusionModel,
    trajectories: Trajectories,
) -> Record:
    """Train one try, from its last checkpoint if it has one.

    Return the student's weights and the losses.
    """
    started, losses = monotonic(), []
    keeper = Keeper(run, plan, losses)
    start = TryStarted(
        stage=plan.stage,
        attempt=plan.attempt,
        remedy=plan.remedy.name,
        iterations=plan.iterations,
        learning_rate=plan.learning_rate,
        grid_name=plan.grid.name,
        timesteps=plan.grid.timesteps,
    )
    run.hooks.emit(start)
    teacher, weights = run.as_teacher(plan.teacher), parameters_of(student.network)
    # Interrupted between steps alone, where there is something to save, and not by its reports.
    with run.phase(
        "train", stage=plan.stage, unit="optimiser steps", is_interruptible=False
    ) as progress:
        distillation.on_step = _reporter(run, plan, losses, progress)
        while True:
            config = StageConfig(
                iterations=plan.iterations,
                learning_rate=plan.learning_rate,
                stage_number=plan.stage,
                seed_path=(plan.stage, plan.attempt, keeper.retries),
                trajectories=trajectories,
                progress=ProgressKeeper(keeper.keep, keeper.recall),
                on_diverged=partial(_tell_diverged, run, plan, losses),
            )
            try:
                distillation.distill_stage(teacher, student, config)
                break
            except RetryStage:
                keeper.begin_again()
                student.network.update(weights)
                run.hooks.emit(start)
        distillation.on_step = None
    run.hooks.emit(
        StageTrained(
            stage=plan.stage,
            attempt=plan.attempt,
            step=run.step + plan.iterations,
            iterations=plan.iterations,
            final_loss=losses[-1][1],
            seconds=monotonic() - started,
        )
    )
    trained = {key: np.array(value) for key, value in tree_flatten(student.network.parameters())}
    return Record(trained, {"losses": losses})


def _judged(run: RunContext, plan: Try, student: DiffusionModel, started: float) -> StageReport:
    """Look at one trained try, say what the gate says, and return the report."""
    with run.phase("gate", stage=plan.stage) as progress:
        verdict = judge(
            student, run.select, lambda: run.final, run.config.quality_threshold, progress
        )
    for name, quality in (("select", verdict.select), ("final", verdict.final)):
        if quality is not None:
            run.evaluated(
                "student",
                quality,
                name,
                steps=plan.grid.steps,
                stage=plan.stage,
                attempt=plan.attempt,
            )
    quality = verdict.final or verdict.select
    if verdict.is_accepted:
        run.hooks.emit(
            StageAccepted(
                stage=plan.stage,
                attempt=plan.attempt,
                score=quality.score,
                lower_bound=quality.lower_bound,
                threshold=run.config.quality_threshold,
                checkpoint=f"checkpoints/{plan.record_name}.safetensors"
                if run.hooks.folder
                else None,
            )
        )
    else:
        run.hooks.emit(
            StageRejected(
                stage=plan.stage,
                attempt=plan.attempt,
                reason=verdict.reason,
                score=quality.score,
                lower_bound=quality.lower_bound,
                next_remedy=plan.next_remedy,
            )
        )
    losses = run.losses[plan.title]
    return StageReport(
        stage_number=plan.stage,
        attempt=plan.attempt,
        remedy=plan.remedy.name,
        input_steps=plan.teacher.steps,
        output_steps=plan.grid.steps,
        timesteps=plan.grid.timesteps,
        grid_name=plan.grid.name,
        iterations=plan.iterations,
        learning_rate=plan.learning_rate,
        final_loss=losses[-1][1],
        select_quality=verdict.select,
        final_quality=verdict.final,
        is_accepted=verdict.is_accepted,
        seconds=monotonic() - started,
    )


class Keeper:
    """Keeps one try's unfinished training in the run's memory, and finds it there again."""

    def __init__(self, run: RunContext, plan: Try, losses: list[tuple[int, float]]) -> None:
        self._run, self._plan, self._losses = run, plan, losses
        self._name = f"{plan.record_name}-training"
        again = run.recall(f"{plan.record_name}-again")
        self.retries = int(again.facts["retries"]) if again else 0

    def keep(self, progress: TrainingProgress) -> CheckpointSaved | None:
        """Keep the training as it stands."""
        facts = {
            "step": progress.step,
            "rate": progress.rate,
            "losses": self._losses,
            "retries": self.retries,
        }
        event = self._run.keep(self._name, Record(progress.tensors, facts), stage=self._plan.stage)
        return replace(event, step=self._run.step + progress.step) if event else None

    def recall(self) -> TrainingProgress | None:
        """Return the training as it was last kept; losses and metrics after it are dropped."""
        record = self._run.recall(self._name)
        if record is not None and record.facts["retries"] != self.retries:
            record = None  # of the draws before a person asked for others
        self._run.hooks.rewind(self._run.step + (record.facts["step"] if record else 0))
        if record is None:
            self._losses.clear()
            return None
        self._losses[:] = [(step, loss) for step, loss in record.facts["losses"]]
        return TrainingProgress(record.facts["step"], record.facts["rate"], record.tensors)

    def begin_again(self) -> None:
        """Forget the training, and remember that this try was begun again.

        Other draws are then made.
        """
        self.retries += 1
        self._run.keep(f"{self._plan.record_name}-again", Record(facts={"retries": self.retries}))
        self.forget()

    def forget(self) -> None:
        """Drop the unfinished training."""
        self._run.hooks.memory.forget(self._name)


def _tell_diverged(
    run: RunContext, plan: Try, losses: list[tuple[int, float]], why: str, rate: float
) -> None:
    run.hooks.emit(
        LossDiverged(
            stage=plan.stage,
            attempt=plan.attempt,
            step=run.step + (losses[-1][0] if losses else 0),
            loss=losses[-1][1] if losses else 0.0,
            remedy=f"{why}; back to the last good checkpoint at a quarter of the learning rate",
            learning_rate=rate,
        )
    )


def _reporter(
    run: RunContext,
    plan: Try,
    losses: list[tuple[int, float]],
    progress: Callable[[int, int], None],
) -> Callable[[StepReport, Trainer], None]:
    """Return what is done with every report of a step.

    Metrics, progress, and a sample sheet now and then.
    """
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
        if (
            every
            and run.hooks.folder is not None
            and (step.step % every == 0 or step.step == step.total_steps)
        ):
            save_comparison(
                run,
                trainer.averaged_student(),
                f"samples/stage{plan.stage}-try{plan.attempt}-step{step.step:06d}.png",
                stage=plan.stage,
                step=before + step.step,
            )

    return report


def save_comparison(
    run: RunContext,
    student: DiffusionModel,
    name: str,
    *,
    stage: int | None = None,
    step: int | None = None,
) -> np.ndarray | None:
    """Write rows of original, undistilled and student samples from the same select noise.

    Return the student's row.
    """
    if run.hooks.folder is None:
        return None
    count = run.config.export.samples
    noise_set = run.select.noise_set
    noise = noise_set.noise[:count]
    labels = None if noise_set.labels is None else noise_set.labels[:count]
    rows = [
        run.select.teacher_samples[:count],
        sample_all(
            run.base_model, noise, labels, batch_size=count, grid=student.grid, solver="ddim"
        ),
        sample_all(student, noise, labels, batch_size=count),
    ]
    path = run.hooks.folder / name
    run.hooks.with_room(lambda: save_sheet(path, rows))
    run.hooks.emit(
        SamplesSaved(path=name, what="comparison", stage=stage, step=step, steps=student.steps)
    )
    return rows[-1]
