"""What a machine decides for a run: compiled or eager, and its memory plan; made once and kept."""

import math
from dataclasses import replace

from engine import hardware
from engine.context import RunContext
from engine.memory import Record
from engine.memory_plan import MemoryPlan, plan_memory
from engine.model_size import scoring_memory
from engine.models.guidance import Guidance
from engine.run.events import LogLine


def keep_compiling_or_not(run: RunContext) -> None:
    """Let a run that was begun eagerly go on so, for compiled functions round otherwise.

    One that was begun compiled goes on eagerly where nothing can be compiled any more, and says so.
    """

    def made() -> Record:
        return Record(facts={"is_compiled": run.hardware.compile})

    was_compiled = run.remembered("compiling", made).facts["is_compiled"]
    if run.hardware.compile and not was_compiled:
        hardware.stop_compiling()
        run.hardware = replace(run.hardware, compile=False)
        run.hooks.emit(LogLine(level="INFO", text="goes on without compiling, as it was begun"))
    elif was_compiled and not run.hardware.compile:
        text = "was begun compiled and goes on without: last digits may differ from here on"
        run.hooks.emit(LogLine(level="WARNING", text=text))


def fit_into_memory(run: RunContext) -> MemoryPlan:
    """Plan how much of `run` is computed at one time, put it into its settings, and return it.

    A run that is taken up again keeps the plan that it was begun with, on whatever machine, so that
    it ends in the same bytes. Raises ConfigError where not even one sample fits.
    """
    model = run.base_model
    guidance: Guidance | None = model.guidance

    def made() -> Record:
        plan = plan_memory(
            run.original.checkpoint.network_config,
            run.config,
            budget_bytes=hardware.memory_budget_bytes(),
            sample_size=(model.sample_height, model.sample_width),
            is_guided=guidance is not None,
            is_compiled=run.hardware.compile,
            scoring_bytes=_scoring_bytes(run),
        )
        run.hooks.emit(LogLine(level="INFO", text=f"memory plan: {plan.summary}"))
        return Record(facts=plan.to_dict())

    plan = MemoryPlan.from_dict(run.remembered("memory-plan", made).facts)
    run.hardware = plan.applied_to(run.hardware)
    return plan


def _scoring_bytes(run: RunContext) -> int:
    values = math.prod(run.base_model.sample_shape)
    if run.pipeline is not None and run.config.quality.mode != "latents":
        height, width, _ = run.base_model.sample_shape
        values = 3 * height * width * run.pipeline.reduction**2
    return scoring_memory(values, max(run.config.quality.counts(is_latent=run.is_latent)))
