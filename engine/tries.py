"""One try of a stage: training it, keeping what is unfinished, showing how it goes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from mlx.utils import tree_flatten

from engine.context import RunContext
from engine.diffusion.grid import Grid
from engine.errors import TrainingError
from engine.interruptions import RetryStage
from engine.memory import Record
from engine.models.diffusion import DiffusionModel
from engine.pictures import save_sheet
from engine.records import StepReport
from engine.run.events import (
    CheckpointSaved,
    LossDiverged,
    SamplesSaved,
    StageTrained,
    TryStarted,
)
from engine.training.distill import (
    ProgressiveDistillation,
    StageConfig,
)
from engine.training.evaluate import sample_all
from engine.training.gate import Remedy
from engine.training.progress import ProgressKeeper, TrainingProgress
from engine.training.trainer import Trainer, parameters_of
from engine.training.trajectories import Trajectories


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
    def unfinished_names(self) -> tuple[str, str]:
        """Under which its unfinished training is kept: the newest, and what is fallen back to."""
        return f"{self.record_name}-training", f"{self.record_name}-fallback"

    @property
    def title(self) -> str:
        """For a person."""
        return f"stage {self.stage} ({self.teacher.steps} to {self.grid.steps}), try {self.attempt}"


def train_try(
    run: RunContext,
    distillation: ProgressiveDistillation,
    plan: Try,
    student: DiffusionModel,
    trajectories: Trajectories,
) -> Record:
    """Train one try, from its last checkpoint if it has one.

    Return the student's weights and the losses; no weights, and the reason under "diverged", where
    the loss exploded at every learning rate.
    """
    started, losses, diverged = run.seconds_at_work(), [], ""
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
        before = run.step
        distillation.after_step = lambda step: run.hooks.at_step(before + step)
        distillation.on_step = _reporter(run, plan, losses, progress)
        while True:
            config = StageConfig(
                iterations=plan.iterations,
                learning_rate=plan.learning_rate,
                stage_number=plan.stage,
                seed_path=(plan.stage, plan.attempt, keeper.retries),
                trajectories=trajectories,
                progress=keeper.as_progress(),
                on_diverged=partial(_tell_diverged, run, plan, losses),
            )
            try:
                distillation.distill_stage(teacher, student, config)
                break
            except RetryStage:
                keeper.begin_again()
                student.network.update(weights)
                run.hooks.emit(start)
            except TrainingError as error:
                diverged = str(error)
                break
        distillation.on_step = distillation.after_step = None
    if diverged:
        return Record(facts={"losses": losses, "diverged": diverged})
    run.hooks.emit(
        StageTrained(
            stage=plan.stage,
            attempt=plan.attempt,
            step=run.step + plan.iterations,
            iterations=plan.iterations,
            final_loss=losses[-1][1],
            seconds=run.seconds_at_work() - started,
        )
    )
    trained = {key: np.array(value) for key, value in tree_flatten(parameters_of(student.network))}
    return Record(trained, {"losses": losses})


class Keeper:
    """Keeps one try's unfinished training in the run's memory, and finds it there again."""

    def __init__(self, run: RunContext, plan: Try, losses: list[tuple[int, float]]) -> None:
        self._run, self._plan, self._losses = run, plan, losses
        again = run.recall(f"{plan.record_name}-again")
        self.retries = int(again.facts["retries"]) if again else 0

    def as_progress(self) -> ProgressKeeper:
        """Return it as training knows it."""
        newest, fallback = self._plan.unfinished_names
        return ProgressKeeper(
            keep=partial(self._keep, newest),
            recall=partial(self._recall, newest),
            keep_fallback=partial(self._keep, fallback),
            recall_fallback=partial(self._recall, fallback),
        )

    def begin_again(self) -> None:
        """Forget the training, and remember that this try was begun again.

        Other draws are then made.
        """
        self.retries += 1
        self._run.keep(f"{self._plan.record_name}-again", Record(facts={"retries": self.retries}))
        forget_unfinished(self._run, self._plan)

    def _keep(self, name: str, progress: TrainingProgress) -> CheckpointSaved | None:
        """Keep the training as it stands."""
        facts = {
            "step": progress.step,
            "rate": progress.rate,
            "divergences": progress.divergences,
            "first_losses": progress.first_losses,
            "losses": self._losses,
            "retries": self.retries,
        }
        event = self._run.keep(name, Record(progress.tensors, facts), stage=self._plan.stage)
        return replace(event, step=self._run.step + progress.step) if event else None

    def _recall(self, name: str) -> TrainingProgress | None:
        """Return the training as it was kept; losses and metrics after it are dropped."""
        record = self._run.recall(name)
        if record is not None and record.facts["retries"] != self.retries:
            record = None  # of the draws before a person asked for others
        facts = record.facts if record else {"step": 0, "losses": []}
        self._run.hooks.rewind(self._run.step + facts["step"])
        self._losses[:] = [(step, loss) for step, loss in facts["losses"]]
        if record is None:
            return None
        return TrainingProgress(
            facts["step"],
            facts["rate"],
            record.tensors,
            facts.get("divergences", 0),
            tuple(facts.get("first_losses", ())),
        )


def forget_unfinished(run: RunContext, plan: Try) -> None:
    """Drop what was kept of a try's training while it was unfinished."""
    for name in plan.unfinished_names:
        run.hooks.memory.forget(name)


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
    conditions = noise_set.conditions[:count]
    rows = [
        run.select.teacher_samples[:count],
        sample_all(
            run.base_model, noise, conditions, batch_size=count, grid=student.grid, solver="ddim"
        ),
        sample_all(student, noise, conditions, batch_size=count),
    ]
    path = run.hooks.folder / name
    run.hooks.with_room(lambda: save_sheet(path, [run.pictures_of(row) for row in rows]))
    run.hooks.emit(
        SamplesSaved(path=name, what="comparison", stage=stage, step=step, steps=student.steps)
    )
    return rows[-1]
