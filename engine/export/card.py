"""The README.md of an exported student, with a snippet that runs as it stands."""

from typing import Any

from engine.export.variant import variant_of
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel

_HEAD = "---\nlibrary_name: diffusers\ntags: [diffusion, distillation, diffopt]\n---"


def model_card(
    student: DiffusionModel,
    original: LoadedModel,
    scheduler_class: str,
    facts: dict[str, Any],
    what: str = "diffusers",
) -> str:
    """Return the card of a student that is written as `what`."""
    timesteps = ", ".join(f"{t:g}" for t in student.grid.timesteps)
    lines = [
        _HEAD,
        (
            f"# {facts.get('name', 'A distilled student')}: {student.steps} steps instead of "
            f"{facts.get('original_steps', '?')}"
        ),
        "",
        (
            f"Distilled by diffopt from `{facts.get('base_model', 'the original model')}`. "
            "Sample it at its own timesteps"
        ),
        f"({timesteps}) and no others: a few-step student is defined for them alone.",
        *_about_guidance(facts),
        "",
        "```python",
        _snippet(student, original, scheduler_class, facts, what),
        "```",
        "",
        "| measured against the original | value |",
        "|---|---|",
        *(
            f"| {key.replace('_', ' ')} | {value} |"
            for key, value in facts.items()
            if isinstance(value, int | float)
        ),
        "",
        "The licence is that of the original model. Hashes, levels and software: "
        "`diffopt_manifest.json`.",
    ]
    return "\n".join(lines) + "\n"


def _about_guidance(facts: dict[str, Any]) -> list[str]:
    guidance = facts.get("guidance")
    if not isinstance(guidance, dict):
        return []
    return [
        f"The original's guidance of {guidance['scale']:g} is part of the weights: ask for "
        "`guidance_scale=1.0`, which is one forward a step."
    ]


def _snippet(
    student: DiffusionModel,
    original: LoadedModel,
    scheduler_class: str,
    facts: dict[str, Any],
    what: str,
) -> str:
    height, width, channels = student.sample_shape
    has_own_schedule = scheduler_class == "DDIMScheduler"
    if original.checkpoint.family == "unet2d_condition":
        has_pipeline = bool(original.checkpoint.model_index)
        form = what if has_pipeline or what == "lora" else "unet"
        base = facts.get("base_model", "FOLDER")
        unet = original.checkpoint.path / "unet"
        variant = variant_of(unet) if unet.is_dir() else None
        more = f', variant="{variant}"' if variant else ""
        return _PROMPT_SNIPPETS[form].format(base=base, variant=more)
    snippet = _LOOP_SNIPPET
    if has_own_schedule and student.class_count is None and what == "diffusers":
        snippet = _PIPELINE_SNIPPET
    return snippet.format(
        steps=student.steps,
        channels=channels,
        height=height,
        width=width,
        classes=student.class_count or 1,
        scheduler=scheduler_class,
        timesteps=(
            f"num_inference_steps={student.steps})  # and no other number"
            if has_own_schedule
            else 'timesteps=scheduler.config["diffopt_timesteps"])  # not num_inference_steps'
        ),
    )


_LOOP_SNIPPET = """\
import torch
from diffusers import {scheduler}, UNet2DModel

folder = "."  # this folder
unet = UNet2DModel.from_pretrained(folder, subfolder="unet")
scheduler = {scheduler}.from_pretrained(folder, subfolder="scheduler")
scheduler.set_timesteps({timesteps}
sample, labels = torch.randn(10, {channels}, {height}, {width}), torch.arange(10) % {classes}
for t in scheduler.timesteps:
    with torch.no_grad():
        prediction = unet(sample, t, class_labels=labels).sample
    sample = scheduler.step(prediction, t, sample).prev_sample
images = (sample / 2 + 0.5).clamp(0, 1)"""

_PIPELINE_SNIPPET = """\
from diffusers import DDIMPipeline

pipeline = DDIMPipeline.from_pretrained(".")  # this folder
images = pipeline(batch_size=4, num_inference_steps={steps}).images"""

_CALL = """\
image = pipeline(
    "a photograph of a lighthouse at dusk",
    timesteps=pipeline.scheduler.config["diffopt_timesteps"],  # not num_inference_steps
    guidance_scale=1.0,
).images[0]"""

_PROMPT_SNIPPETS = {
    "diffusers": """\
import torch
from diffusers import DiffusionPipeline

folder = "."  # this folder
pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
"""
    + _CALL,
    "unet": """\
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, UNet2DConditionModel

folder = "."  # this folder
unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
scheduler = DPMSolverMultistepScheduler.from_pretrained(folder, subfolder="scheduler")
parts = dict(unet=unet, scheduler=scheduler, torch_dtype=torch.float32)
pipeline = DiffusionPipeline.from_pretrained("{base}"{variant}, **parts)
"""
    + _CALL,
    "lora": """\
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler

folder = "."  # this folder
scheduler = DPMSolverMultistepScheduler.from_pretrained(folder, subfolder="scheduler")
parts = dict(scheduler=scheduler, torch_dtype=torch.float32)
pipeline = DiffusionPipeline.from_pretrained("{base}"{variant}, **parts)
pipeline.load_lora_weights(folder)
"""
    + _CALL,
}
