"""`AdaptiveDiffusionOptimizer`: the whole run, read from top to bottom. The page to open first.

probe -> load -> cache teacher trajectories -> choose grids -> for each stage: train, evaluate, gate
(accept, retry or roll back) -> final metrics -> export and report.
"""

from collections import deque
from dataclasses import replace
from typing import Any

import mlx.nn as nn

from engine import hardware
from engine.conditioning import (
    as_configured,
    check_data,
    condition_sets,
    data_latents,
    pipeline_of,
    tell_left_out,
)
from engine.config import DiffusionOptimizationConfig, config_from_dict
from engine.context import Paths, RunContext
from engine.diffusion.grid import Grid
from engine.errors import ConfigError, TrainingError
from engine.export import check_exportable
from engine.fitting import fit_into_memory, keep_compiling_or_not
from engine.hooks import Hooks
from engine.interruptions import CancelStage
from engine.memory import Record
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model
from engine.models.pipeline import LatentPipeline
from engine.planning import choose_final_grid
from engine.probe import planned_time
from engine.records import StageReport
from engine.results import assemble_result
from engine.run.events import PlannedStage, RunPlanned, StageRolledBack
from engine.settings import HardwareSettings
from engine.stages import StageOutcome, run_stage
from engine.training.adaptive import AdaptiveScheduler, Ranked
from engine.training.classifier import CLASSIFIER_CLASSES, CLASSIFIER_SHAPE, load_classifier
from engine.training.conditions import Conditions
from engine.training.distill import ProgressiveDistillation
from engine.training.images import load_images

MOST_SPLITS = 2  # reductions that may be cut in two because no try of them passed


class AdaptiveDiffusionOptimizer:
    """Takes a model from its original steps to `target_steps`, or to the fewest that pass the gate.

    `base_model` is the original with its sampler; `sampling_scheduler` searches grids for it;
    `distillation_manager` trains the stages. Construction loads the model and raises
    CheckpointError, ConfigError or DataError if it cannot be used.
    """

    def __init__(
        self,
        config: DiffusionOptimizationConfig,
        *,
        hooks: Hooks | None = None,
        name: str = "diffopt",
    ) -> None:
        # Validated once more as a whole: assigning to a section checks that section alone.
        self.config = config = config_from_dict(config.to_dict(), "the configuration")
        machine = hardware_settings(config)
        is_compiled = hardware.configure_mlx(
            cache_limit_bytes=int(machine.cache_limit_gib * 2**30)
            if machine.cache_limit_gib
            else None,
            compile=machine.compile,
        )
        original, pipeline = load_original(config)
        self.context = RunContext(
            config,
            name,
            hooks or Hooks(),
            replace(machine, compile=is_compiled),
            original,
            pipeline=pipeline,
        )
        keep_compiling_or_not(self.context)
        if config.apple_silicon_optimization:
            fit_into_memory(self.context)
        self.base_model: DiffusionModel = original.model
        images = image_conditions = None
        if pipeline is not None:
            check_data(original, pipeline, config)
        elif config.training.states == "data" and config.data.images is not None:
            images, labels, left_out = load_images(
                config.data.images, self.base_model.sample_shape, self.base_model.class_count
            )
            tell_left_out(self.context, left_out, len(images) + len(left_out))
            image_conditions = Conditions.of_labels(labels, len(images))
        self.distillation_manager = ProgressiveDistillation(
            config.training,
            self.context.hardware,
            images,
            image_conditions,
            lora=config.lora,
            between_steps=self.context.hooks.between_steps,
        )
        self.sampling_scheduler = AdaptiveScheduler(
            self.base_model,
            config.schedule,
            scheduler=original.settings,
            quality=config.quality,
            batch_size=self.context.hardware.evaluation_batch_size,
        )
        self.training_free: list[Ranked] = []

    @property
    def stage_reports(self) -> list[StageReport]:
        """Every try of every stage so far, accepted or not."""
        return self.context.reports

    def optimize_diffusion_model(self) -> dict[str, Any]:
        """Run everything and return the result.

        Metrics, anchors, stages, timesteps and a summary for a person.

        With a folder among the hooks, samples, export, report.md and metrics.json are written
        there.
        """
        student = self.progressive_distillation()
        assert isinstance(student, DiffusionModel)
        return assemble_result(self.context, student, self.training_free)

    def progressive_distillation(self) -> nn.Module:
        """Distil stage by stage behind the gate.

        Return the last accepted student, or the original if none passed.
        """
        run, config = self.context, self.config
        self._embed()
        planned_time(run)
        self._narrow_base()
        kind = config.training.student_prediction
        is_converted = kind not in ("same", self.base_model.prediction_type)
        first = 0 if is_converted else 1
        paths = run.paths_of(self.base_model, stage=first)
        self.training_free, final_grid = choose_final_grid(
            run, self.sampling_scheduler, self.distillation_manager, paths
        )
        plan = deque(config.planned_steps())
        if is_converted:
            plan.appendleft(self.base_model.steps)
        self._announce(list(plan), first=first)

        teacher, number, splits = self.base_model, first - 1, 0
        while plan:
            output_steps, number = plan.popleft(), number + 1
            outcome = self._stage(
                number, teacher, output_steps, final_grid, paths, may_split=splits < MOST_SPLITS
            )
            if outcome.student is not None:
                teacher, paths = outcome.student, run.paths_of(outcome.student, stage=number + 1)
                run.forget_trajectories(number)
            elif outcome.split_at is not None:
                splits += 1
                plan.extendleft([output_steps, outcome.split_at])
                self._announce(list(plan), first=number + 1, input_steps=teacher.steps)
            else:
                self._raise_if_nothing_could_be_trained(outcome)
                run.hooks.emit(
                    StageRolledBack(
                        stage=number,
                        to_steps=teacher.steps,
                        reason=outcome.reason or f"no try of {output_steps} steps passed the gate",
                        to_stage=number - 1 if teacher is not self.base_model else None,
                    )
                )
                if number:
                    break
        # A converted model that nothing was reduced from gains nothing over the original.
        return teacher if teacher.steps < self.base_model.steps else self.base_model

    def _raise_if_nothing_could_be_trained(self, outcome: StageOutcome) -> None:
        """Raise TrainingError where every try of the run diverged: there is nothing to measure."""
        reports = self.stage_reports
        if reports and not outcome.reason and all(one.select_quality is None for one in reports):
            raise TrainingError(reports[-1].reason)

    def _embed(self) -> None:
        """Embed prompts and images of a model of latents, or recall what came of it."""
        run = self.context
        if run.pipeline is None:
            return
        run.conditions = self.sampling_scheduler.conditions = condition_sets(run)
        if self.config.training.states == "data":
            latents, conditions = data_latents(run)
            self.distillation_manager.images = latents
            self.distillation_manager.image_conditions = conditions

    def _narrow_base(self) -> None:
        """Hold the base under adapters as the hardware section says, from here on.

        What scores compare with is sampled before, by the original as it was loaded.
        """
        run, precision = self.context, self.context.hardware.base_precision
        if precision == "float32":
            return
        for evaluator in (run.select, run.final):  # which sample the original when they are made
            assert len(evaluator.teacher_samples)
        self.base_model.narrow(precision)
        hardware.clear_cache()

    def _stage(
        self,
        number: int,
        teacher: DiffusionModel,
        output_steps: int,
        final_grid: Grid | None,
        paths: Paths,
        *,
        may_split: bool,
    ) -> StageOutcome:
        """Run one stage.

        A person's cancelling of it is its outcome, and stays so if the run is taken up again.
        """
        run, name = self.context, f"stage-{number}-cancelled"
        cancelled = run.recall(name)
        if cancelled is not None:
            run.cancelled = cancelled.facts["reason"]
            run.cancelled_tries += cancelled.facts.get("tries", ())  # none in an older record
            return StageOutcome(reason=run.cancelled)
        try:
            return run_stage(
                run,
                self.distillation_manager,
                number=number,
                teacher=teacher,
                output_steps=output_steps,
                final_grid=final_grid,
                paths=paths,
                may_split=may_split,
            )
        except CancelStage as cancellation:
            run.cancelled = str(cancellation)
            steps = {"input_steps": teacher.steps, "output_steps": output_steps}
            at_work = {"stage_number": number, **steps, **cancellation.during}
            run.cancelled_tries.append(at_work | {"reason": run.cancelled})
            facts = {"reason": run.cancelled, "tries": run.cancelled_tries[-1:]}
            run.keep(name, Record(facts=facts))
            return StageOutcome(reason=run.cancelled)

    def _announce(self, plan: list[int], *, first: int = 1, input_steps: int | None = None) -> None:
        inputs = [input_steps or self.base_model.steps, *plan]
        stages = tuple(
            PlannedStage(stage=number, input_steps=before, output_steps=after)
            for number, (before, after) in enumerate(zip(inputs, plan, strict=False), start=first)
        )
        self.context.hooks.emit(
            RunPlanned(
                original_steps=self.base_model.steps,
                target_steps=self.config.target_steps,
                threshold=self.config.quality_threshold,
                stages=stages,
            )
        )


def load_original(
    config: DiffusionOptimizationConfig,
) -> tuple[LoadedModel, LatentPipeline | None]:
    """Return the original model as configured, and what stands around a network of latents.

    Raises CheckpointError or ConfigError where it cannot be what a run starts from.
    """
    original = load_model(
        config.model_path,
        steps=config.original.steps,
        spacing=config.original.spacing,
        solver=config.original.sampler,
    )
    check_original(original, config)
    pipeline = pipeline_of(original)
    return as_configured(original, pipeline, config), pipeline


def check_original(original: LoadedModel, config: DiffusionOptimizationConfig) -> None:
    """Raise ConfigError if the loaded model cannot be the original of a run."""
    if original.is_distilled:
        raise ConfigError(
            f"model_path: {config.model_path} is a distilled student of "
            f"{original.model.steps} steps; wanted the original model, which samples in "
            f"original.steps ({config.original.steps})."
        )
    if config.export.enabled:
        check_exportable(
            original.model, original, config.export.format, is_adapted=config.lora.enabled
        )
    if config.quality.classifier is not None:
        load_classifier(config.quality.classifier)
        facts = (original.model.sample_shape, original.model.class_count)
        if facts != (CLASSIFIER_SHAPE, CLASSIFIER_CLASSES):
            raise ConfigError(
                f"quality.classifier: {config.quality.classifier} reads {CLASSIFIER_CLASSES} "
                f"classes off samples of (H, W, C) = {CLASSIFIER_SHAPE}; this model makes "
                f"{facts[0]} with {facts[1] or 'no'} classes. Set it to null."
            )
    network = original.checkpoint.network_config
    if network.get("class_embed_type") is not None:
        raise ConfigError(
            f"model_path: {config.model_path} has class_embed_type "
            f"{network['class_embed_type']!r}; wanted a table of classes (num_class_embeds) or "
            "none. Such a model can be sampled but not distilled."
        )


def hardware_settings(config: DiffusionOptimizationConfig) -> HardwareSettings:
    """Return the hardware section.

    Where apple_silicon_optimization is false, a plain one: eager, float32.
    """
    if config.apple_silicon_optimization:
        return config.hardware
    return HardwareSettings(
        compile=False, evaluation_batch_size=config.hardware.evaluation_batch_size
    )
