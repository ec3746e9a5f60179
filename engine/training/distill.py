"""`ProgressiveDistillation`.

Stages of fewer and fewer steps, each student learning its teacher's steps in one.

Usable as a library, without a run folder::

    distillation = ProgressiveDistillation()
    for stage in distillation.create_distillation_stages(teacher, target_steps=4):
        student = distillation.distill_stage(stage.teacher_model, stage.student_model, stage)
"""

import gc
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from time import monotonic
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from engine.config import even_ratio_steps
from engine.diffusion.grid import Grid, spaced_grid
from engine.errors import ConfigError, TrainingError
from engine.models.diffusion import DiffusionModel
from engine.models.lora import has_adapters
from engine.records import DistillationStage, StepReport
from engine.settings import HardwareSettings, LoraSettings, TrainingSettings
from engine.training.conditions import Conditions, classes
from engine.training.noise_sets import Purpose, generator, unit_noise
from engine.training.progress import (
    ProgressKeeper,
    TrainingProgress,
    raise_if_not_finite,
    snapshot_of,
    watched,
)
from engine.training.states import (
    PoolSource,
    StatePool,
    data_source,
    rollout_source,
    trajectory_source,
)
from engine.training.trainer import Trainer, parameters_of
from engine.training.trajectories import Trajectories, record_trajectories

logger = logging.getLogger(__name__)

OnStep = Callable[[StepReport, Trainer], None]
_DIVERGENCE_RETRIES = 3
_FALLBACKS = 8  # steps of a stage that are kept to fall back to; named by number, never by a clock


@dataclass(frozen=True)
class StageConfig:
    """How one stage is trained.

    Whatever is left out comes from the `TrainingSettings` of the distillation.

    `grid` is the student's, a subset of the teacher's; without it the student's own grid is taken.
    `seed_path` names this stage and try, so that every draw in it is its own and can be made again.
    """

    grid: Grid | None = None
    iterations: int | None = None
    learning_rate: float | None = None
    stage_number: int = 1
    seed_path: tuple[int, ...] = ()
    trajectories: Trajectories | None = None
    start_from_teacher: bool = True
    progress: ProgressKeeper | None = None
    on_diverged: Callable[[str, float], None] | None = None

    @classmethod
    def from_any(
        cls, source: "StageConfig | DistillationStage | Mapping[str, Any]"
    ) -> "StageConfig":
        """Return a StageConfig from itself, from a stage, or from a mapping of its fields.

        Raises ConfigError.
        """
        if isinstance(source, StageConfig):
            return source
        if isinstance(source, DistillationStage):
            return cls(grid=source.grid, stage_number=source.stage_number)
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(source) - known)
        if unknown:
            raise ConfigError(
                f"stage_config: unknown key {unknown[0]}; known are {', '.join(sorted(known))}."
            )
        return cls(**source)


@dataclass
class ProgressiveDistillation:
    """Creates the stages of a reduction and trains them one at a time.

    `images` (n, H, W, C) in [-1, 1] (latents, for a model of latents) with a condition each are
    needed only for ``training.states: data``. `conditions` are what students learn under where no
    trajectories are given, by default every class in turn. `after_step` is called after every step,
    `on_step` every `report_every` steps, then `between_steps` with a function that saves a
    checkpoint, and it also while states are made anew; the last two may raise to stop the training.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    hardware: HardwareSettings = field(default_factory=HardwareSettings)
    images: np.ndarray | None = None
    image_conditions: Conditions | None = None
    conditions: Conditions | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)
    on_step: OnStep | None = None
    after_step: Callable[[int], None] | None = None
    between_steps: Callable[[Callable[[], Any] | None], None] | None = None
    distillation_stages: list[DistillationStage] = field(default_factory=list)

    def create_distillation_stages(
        self,
        teacher_model: nn.Module,
        target_steps: int,
        *,
        stage_count: int = 3,
        stage_steps: Sequence[int] | None = None,
        grids: Mapping[int, Grid] | None = None,
    ) -> list[DistillationStage]:
        """Return the stages from the teacher's steps to `target_steps`, and remember them.

        Each stage's teacher is the student before it. `stage_steps` names the step counts after
        each stage, else they are even in ratio. `grids` gives a student's grid by its step count,
        else the points of its teacher's grid nearest to a uniform one. Raises ConfigError if the
        counts do not fall.
        """
        teacher = _checked(teacher_model)
        if not 1 <= target_steps < teacher.steps:
            raise ConfigError(
                f"target_steps is {target_steps}; the teacher takes {teacher.steps}, so "
                f"choose 1 to {teacher.steps - 1}."
            )
        count = min(stage_count, teacher.steps - target_steps)
        steps = list(stage_steps or even_ratio_steps(teacher.steps, target_steps, count))
        if steps[-1] != target_steps or any(
            a <= b for a, b in zip([teacher.steps, *steps], steps, strict=False)
        ):
            raise ConfigError(
                f"stage_steps are {steps}; wanted counts falling from "
                f"{teacher.steps} to {target_steps}."
            )
        self.distillation_stages = []
        for number, output_steps in enumerate(steps, start=1):
            grid = (grids or {}).get(output_steps) or uniform_subset(teacher, output_steps)
            student = self.student_of(teacher, grid)
            self.distillation_stages.append(
                DistillationStage(number, teacher.steps, output_steps, teacher, student, grid)
            )
            teacher = student
        return self.distillation_stages

    def student_of(self, teacher: DiffusionModel, grid: Grid) -> DiffusionModel:
        """Return an untrained student on `grid`: a copy, or the teacher's arrays with adapters.

        On the teacher's own grid there is nothing to learn but another prediction, so there, and
        there alone, it predicts what ``training.student_prediction`` says.
        """
        lora = self.lora if self.lora.enabled else None
        wanted = self.training.student_prediction
        kind = None if wanted == "same" or grid.steps < teacher.steps else wanted
        return teacher.student(grid, kind, lora=lora, seed=self.training.seed)

    def distill_stage(
        self,
        teacher: nn.Module,
        student: nn.Module,
        stage_config: StageConfig | DistillationStage | Mapping[str, Any],
    ) -> nn.Module:
        """Return `student`, trained in place and holding its averaged weights.

        It learns to do in one step of its grid what `teacher` does between two of its points, and
        starts from the teacher's weights, or from its own if the teacher is held in fewer bits than
        float32. Raises TrainingError if the loss is not finite however low the learning rate,
        ConfigError if the grids do not fit.
        """
        teacher, student = _checked(teacher), _checked(student)
        config = StageConfig.from_any(stage_config)
        if config.grid is not None:
            student.grid = config.grid
        try:
            teacher.grid.indices_of(student.grid)
        except ValueError as error:
            raise ConfigError(
                f"the student's grid is not a subset of its teacher's: {error}."
            ) from error
        if config.start_from_teacher:
            _start_from(teacher.network, student.network)
        source = self._source(teacher, student, config)
        beginning = TrainingProgress(0, config.learning_rate or self.training.learning_rate)
        keeper = config.progress
        now = (keeper.recall() if keeper else None) or beginning
        start = parameters_of(student.network)
        while True:
            try:
                self._train(student, source, config, now)
                gc.collect()  # a trainer and its compiled step hold each other, and their arrays
                return student
            except FloatingPointError as error:
                student.network.update(start)
                if now.divergences == _DIVERGENCE_RETRIES:
                    raise TrainingError(
                        f"stage {config.stage_number} ({teacher.steps} to {student.steps} steps): "
                        f"{error}, at learning rates down to {now.rate:g}. Lower "
                        "training.learning_rate, or check the teacher's samples."
                    ) from error
                # Back to the last good checkpoint, or to the start, at a lower rate: a bounded
                # number of times.
                rate = now.rate / 4
                logger.warning(
                    "stage %d: %s; going on at learning rate %g", config.stage_number, error, rate
                )
                if config.on_diverged is not None:
                    config.on_diverged(str(error), rate)
                good = (keeper.recall_fallback() if keeper else None) or beginning
                now = replace(good, rate=rate, divergences=now.divergences + 1)
                if keeper is not None:  # written down, or a kill would forget that it diverged
                    keeper.keep(now)

    def iterations_of(self, stage_number: int) -> int:
        """Return the configured optimiser steps of a stage (1, 2, ...).

        The last number serves the stages after it, the first a conversion (stage 0).
        """
        planned = self.training.iterations
        return planned[min(max(stage_number, 1), len(planned)) - 1]

    def _train(
        self,
        student: DiffusionModel,
        source: PoolSource,
        config: StageConfig,
        now: TrainingProgress,
    ) -> None:
        training, seed, keeper = self.training, self._seed(config), config.progress
        iterations = config.iterations or self.iterations_of(config.stage_number)
        fallback_every = max(training.refresh_steps, math.ceil(iterations / _FALLBACKS))
        trainer = Trainer(
            student,
            training,
            iterations=iterations,
            learning_rate=now.rate,
            # A product with a base in bfloat16 in float32 would keep that base in float32 for
            # the gradient, all of it.
            compute_dtype=mx.bfloat16
            if self.hardware.base_precision == "bfloat16"
            else getattr(mx, self.hardware.compute_dtype),
            is_compiled=self.hardware.compile,
            micro_batch_size=self.hardware.micro_batch_size,
            is_recomputed=bool(self.hardware.recompute_activations),
            snapshot=now.tensors or None,
        )
        pool = source.restored(now.tensors) if now.step else None
        since, counted = monotonic(), 0

        def between(save: Callable[[], Any] | None) -> None:
            nonlocal since
            if self.between_steps is not None:
                held_at = monotonic()
                self.between_steps(save)
                since += monotonic() - held_at  # a pause is no part of the pace

        for step in range(now.step + 1, iterations + 1):
            renewals, turn = divmod(step - 1, training.refresh_steps)
            if pool is None or turn == 0:
                # What was trained so far can be saved; the pool is then made anew.
                save = partial(_save, keeper, trainer, None, now, step - 1) if keeper else None
                pool = source.renew(renewals, partial(between, save))
            # The batch follows from the step alone, so a resumed stage draws what it would have
            # drawn.
            loss, norm = trainer.step(
                pool.batch(training.batch_size, generator(Purpose.ORDER, *seed, 1, step))
            )
            counted += training.batch_size
            if self.after_step is not None:
                self.after_step(step)
            if step % training.report_every == 0 or step == iterations:
                report = StepReport(
                    step=step,
                    total_steps=iterations,
                    loss=float(loss),
                    gradient_norm=float(norm),
                    learning_rate=trainer.learning_rate,
                    images_per_second=counted / max(monotonic() - since, 1e-9),
                )
                since, counted = monotonic(), 0
                now = watched(now, report)
                if self.on_step is not None:
                    self.on_step(report, trainer)
            kept_pool = pool if source.is_worth_keeping else None
            if keeper and step % fallback_every == 0 and step < iterations:
                keeper.keep_fallback(snapshot_of(trainer, kept_pool, now, step))
            between(partial(_save, keeper, trainer, kept_pool, now, step) if keeper else None)
        trainer.keep_average()
        raise_if_not_finite(student.network, iterations)

    def _source(
        self, teacher: DiffusionModel, student: DiffusionModel, config: StageConfig
    ) -> PoolSource:
        training, seed, batch_size = (
            self.training,
            self._seed(config),
            self.hardware.evaluation_batch_size,
        )
        states = min(
            training.trajectories * student.steps, training.batch_size * training.refresh_steps
        )
        if training.states == "data":
            if self.images is None:
                raise ConfigError("training.states is data but no images were given.")
            return data_source(
                teacher,
                student.grid,
                self.images,
                self.image_conditions or Conditions.none(len(self.images)),
                states=states,
                seed=(*seed, 0),
                batch_size=batch_size,
            )
        paths = config.trajectories
        if paths is None:
            conditions = self.conditions or classes(teacher.class_count)
            noise = unit_noise(
                Purpose.TRAIN, training.trajectories, teacher.sample_shape, training.seed
            )
            paths = record_trajectories(
                teacher, noise, conditions.repeated(len(noise)), batch_size=batch_size
            )
        if training.states == "trajectory":
            return trajectory_source(paths, student.grid, states=states, seed=(*seed, 0))
        return rollout_source(
            student, teacher, paths, states=states, seed=(*seed, 0), batch_size=batch_size
        )

    def _seed(self, config: StageConfig) -> tuple[int, ...]:
        return (self.training.seed, *(config.seed_path or (config.stage_number,)))


def uniform_subset(teacher: DiffusionModel, steps: int) -> Grid:
    """Return the points of the teacher's grid nearest to a uniform (trailing) one of `steps`.

    A uniform subset of a uniform subset is not uniform, so the grid really used is what is kept and
    exported.
    """
    wanted = spaced_grid(teacher.schedule, "trailing", steps).timesteps
    return teacher.grid.subset(teacher.grid.nearest_indices(wanted), "uniform")


def _start_from(teacher: nn.Module, student: nn.Module) -> None:
    """Give a student what its teacher has learnt, where the teacher holds it exactly."""
    is_adapted = has_adapters(student)
    if is_adapted == has_adapters(teacher) and (is_adapted or _is_exact(teacher)):
        student.update(parameters_of(teacher))


def _is_exact(network: nn.Module) -> bool:
    """Return whether all weights are float32.

    Those of a narrower or quantised teacher are no master weights.
    """
    return all(
        value.dtype == mx.float32 for value in dict(tree_flatten(network.parameters())).values()
    )


def _checked(model: nn.Module) -> DiffusionModel:
    if not isinstance(model, DiffusionModel):
        raise ConfigError(
            f"the model is a {type(model).__name__}; wanted a DiffusionModel, which carries its "
            "schedule and grid (engine.models.loading.load_model makes one from a folder)."
        )
    return model


def _save(
    keeper: ProgressKeeper,
    trainer: Trainer,
    pool: StatePool | None,
    before: TrainingProgress,
    step: int,
) -> Any:
    """Keep the training as it stands, to go on from after a kill."""
    return keeper.keep(snapshot_of(trainer, pool, before, step))
