"""Which settings contradict one another: the rules that look at more than one key.

Used by `config`, which refuses the first, and by `config_check`, which lists them all. No MLX, no
pydantic: any object with the fields of a configuration will do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Keys that do not go together; the first is the one that a message stands at."""

    keys: tuple[str, ...]
    message: str


def contradictions(config: Any) -> Iterator[Contradiction]:
    """Yield everything in a configuration that contradicts something else in it."""
    yield from _about_steps(config)
    if config.export.format == "lora" and not config.lora.enabled:
        yield Contradiction(
            ("export.format", "lora.enabled"),
            "export.format is lora but lora.enabled is false; train adapters, or choose diffusers "
            "or unet",
        )
    hardware = config.hardware
    if hardware.base_precision != "float32":
        if not config.lora.enabled:
            yield Contradiction(
                ("hardware.base_precision", "lora.enabled"),
                f"hardware.base_precision is {hardware.base_precision} but lora.enabled is false; "
                "all weights are trained, and those are float32: train adapters, or hold the "
                "teacher alone in less (hardware.teacher_dtype, hardware.teacher_bits)",
            )
        if hardware.teacher_dtype != "float32" or hardware.teacher_bits is not None:
            yield Contradiction(
                ("hardware.base_precision", "hardware.teacher_dtype", "hardware.teacher_bits"),
                f"hardware.base_precision is {hardware.base_precision} beside a teacher_dtype or "
                "teacher_bits; with adapters the teacher is the base: leave those two out",
            )
    if config.training.states == "data" and config.data.images is None:
        yield Contradiction(
            ("data.images", "training.states"),
            "training.states is data but data.images is null; name a folder of images",
        )
    if config.training.states != "trajectory" and config.original.sampler == "dpmpp_2m":
        yield Contradiction(
            ("training.states", "original.sampler"),
            f"training.states is {config.training.states} but original.sampler is dpmpp_2m; a "
            "multistep solver has no step from a state off its own path: choose ddim, or "
            "states: trajectory",
        )


def _about_steps(config: Any) -> Iterator[Contradiction]:
    target, original = config.target_steps, config.original.steps
    if target >= original:
        yield Contradiction(
            ("target_steps", "original.steps"),
            f"target_steps is {target}, not fewer than the {original} of "
            f"original.steps; choose 1 to {original - 1}",
        )
        return  # what follows from it is no news
    planned = config.training.stage_steps
    if planned is not None:
        falls = all(a > b for a, b in zip([original, *planned], planned, strict=False))
        if not planned or not falls or planned[-1] != target:
            yield Contradiction(
                ("training.stage_steps", "target_steps", "original.steps"),
                f"training.stage_steps is {planned}; wanted numbers falling from below "
                f"original.steps ({original}) to target_steps ({target})",
            )
        if len(planned) != config.optimization_stages:
            yield Contradiction(
                ("optimization_stages", "training.stage_steps"),
                f"training.stage_steps has {len(planned)} stages but optimization_stages is "
                f"{config.optimization_stages}; make them agree",
            )
    elif original - target < config.optimization_stages:
        yield Contradiction(
            ("optimization_stages", "original.steps", "target_steps"),
            f"optimization_stages is {config.optimization_stages}, but from {original} to "
            f"{target} steps there is room for {original - target}; choose fewer stages",
        )
