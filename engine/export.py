"""The student as a diffusers folder, with manifest and card.

Stock diffusers opens it and samples exactly as we do. Two forms, by what stock pipelines can be
told:

* class-conditional: the network as it is, and a DPM-Solver++ scheduler of order 1 (which is DDIM)
  that takes ``timesteps=``; sampled by the ten-line loop of the model card.
* unconditional: stock ``DDIMPipeline`` takes a number of steps only, so the schedule itself has
  that many timesteps: the time embedding becomes a table with one row for each, and the betas are
  those between the student's levels. So is a class-conditional student whose levels no list of
  whole timesteps can name (Euler's and Karras' spacing, zero terminal SNR).
"""

import hashlib
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

import engine
from engine.diffusion.grid import grid_at
from engine.diffusion.scheduler_config import GRID_KEY
from engine.files import replacing_folder, write_json, write_text
from engine.models.checkpoint import save_network
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel
from engine.models.unet import UNet2DConfig, UNet2DModel

MANIFEST = "diffopt_manifest.json"
_SOFTWARE = ("mlx", "numpy", "safetensors")
# What DPMSolverMultistepScheduler can make by itself; other beta schedules are written out.
_DPM_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
# Of alphas_cumprod between neighbours in an exported schedule: float32 betas then err below 1e-5.
_SMALLEST_RATIO = 0.003


def export_student(
    student: DiffusionModel, original: LoadedModel, folder: Path, facts: dict[str, Any]
) -> Path:
    """Write `student` to `folder` (replaced whole or not at all) and return it.

    `facts` go into the manifest and the card: what is known of the run (score, bound, original
    steps...).
    """
    with replacing_folder(folder) as temporary:
        if _needs_labels(original) and _can_be_listed(student, original):
            network, network_config = student.network, dict(original.checkpoint.network_config)
            scheduler = _listed_timesteps(student, original)
        else:
            network, network_config = _with_time_table(student, original)
            scheduler = _own_schedule(student)
        save_network(network, temporary / "unet", network_config)
        (temporary / "scheduler").mkdir()
        write_json(temporary / "scheduler" / "scheduler_config.json", scheduler)
        write_json(temporary / "model_index.json", _model_index(original, scheduler["_class_name"]))
        write_text(temporary / "README.md", model_card(student, scheduler["_class_name"], facts))
        write_json(temporary / MANIFEST, _manifest(student, original, temporary, facts))
    return folder


def model_card(student: DiffusionModel, scheduler_class: str, facts: dict[str, Any]) -> str:
    """Return the README.md of an exported student, with a snippet that runs as it stands."""
    height, width, channels = student.sample_shape
    has_own_schedule = scheduler_class == "DDIMScheduler"
    snippet = _LOOP_SNIPPET
    if has_own_schedule and student.class_count is None:
        snippet = _PIPELINE_SNIPPET
    timesteps = ", ".join(f"{t:g}" for t in student.grid.timesteps)
    lines = [
        "---\nlibrary_name: diffusers\ntags: [diffusion, distillation, diffopt]\n---",
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
        "",
        "```python",
        snippet.format(
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
        ),
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
        f"The licence is that of the original model. Hashes, levels and software: `{MANIFEST}`.",
    ]
    return "\n".join(lines) + "\n"


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


def _listed_timesteps(student: DiffusionModel, original: LoadedModel) -> dict[str, Any]:
    """Return a scheduler config of order 1 that carries the student's timesteps as an extra key."""
    source = original.checkpoint.scheduler_config
    kept = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "rescale_betas_zero_snr",
    )
    config: dict[str, Any] = {"_class_name": "DPMSolverMultistepScheduler"}
    config |= {key: source[key] for key in kept if source.get(key) is not None}
    if (
        config.get("beta_schedule", "linear") not in _DPM_BETA_SCHEDULES
        and "trained_betas" not in config
    ):
        config["trained_betas"] = _betas_between(student.schedule.alphas_cumprod)
        config.pop("rescale_betas_zero_snr", None)
    ends_clean = student.schedule.final_alpha_cumprod == 1.0
    return config | {
        "prediction_type": student.prediction_type,
        "algorithm_type": "dpmsolver++",
        "solver_order": 1,
        "final_sigmas_type": "zero" if ends_clean else "sigma_min",
        # diffusers' own DDIM key for the same fact, so that either scheduler family reads it right
        "set_alpha_to_one": ends_clean,
        "clip_sample": False,
        "timestep_spacing": "trailing",
        GRID_KEY: [int(t) if t == int(t) else t for t in student.grid.timesteps],
    }


def _own_schedule(student: DiffusionModel) -> dict[str, Any]:
    """Return a DDIM config that visits the student's levels and no others.

    So that a step count alone says everything.
    """
    table, per_step = _own_levels(student)
    ends_clean = student.schedule.final_alpha_cumprod == 1.0
    last = len(table) - 1
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": len(table),
        "trained_betas": _betas_between(table),
        "beta_schedule": "linear",
        "prediction_type": student.prediction_type,
        "timestep_spacing": "trailing" if ends_clean else "leading",
        "steps_offset": 0 if ends_clean else per_step,
        "set_alpha_to_one": ends_clean,
        "clip_sample": False,
        # by which we know a student when we see one again
        GRID_KEY: [last - per_step * i for i in range(student.steps)],
    }


def _own_levels(student: DiffusionModel) -> tuple[np.ndarray, int]:
    """Return the falling alphas_cumprod of the exported schedule, and how many of them a step is.

    One is enough unless a step is so long that its beta, rounded to float32 near 1, would lose the
    level it leads to: then levels that nobody visits divide it. Where sampling ends at a noisy
    level, that level is the first of the table, which the offset steps over.
    """
    falling = np.asarray(student.grid.alphas)[::-1] ** 2
    ratios = falling[1:] / falling[:-1]
    smallest = min(ratios[ratios > 0], default=1.0)
    per_step = max(1, math.ceil(math.log(smallest) / math.log(_SMALLEST_RATIO)))
    shares = np.arange(1, per_step + 1) / per_step
    table = [falling[:1]]
    for before, ratio in zip(falling[:-1], ratios, strict=True):
        # zero terminal SNR is reached by a last beta of exactly 1
        table.append(before * ratio**shares if ratio else before * (shares < 1))
    ends_clean = student.schedule.final_alpha_cumprod == 1.0
    return np.concatenate(table)[1 if ends_clean else 0 :], per_step


def _betas_between(alphas_cumprod: np.ndarray) -> list[float]:
    """Return the variances whose running product of ``1 - beta`` is the given falling table."""
    before = np.concatenate([[1.0], alphas_cumprod[:-1]])
    return (1 - alphas_cumprod / before).tolist()


def _with_time_table(
    student: DiffusionModel, original: LoadedModel
) -> tuple[UNet2DModel, dict[str, Any]]:
    """Return the network with a learned time table, and its config.

    The table has one row for each timestep of `_own_schedule`.
    """
    assert isinstance(student.network, UNet2DModel)  # the one architecture there is
    timesteps = np.repeat(student.grid.timesteps[::-1], _own_levels(student)[1]).tolist()
    if student.schedule.final_alpha_cumprod != 1.0:
        timesteps.insert(0, 0.0)
    rows = student.network.time_proj(mx.array(timesteps, mx.float32))
    if original.checkpoint.network_config.get("time_embedding_type") == "learned":
        rows = student.network.time_proj(mx.array(timesteps).astype(mx.int32))
    config = dict(original.checkpoint.network_config)
    config |= {"time_embedding_type": "learned", "num_train_timesteps": len(timesteps)}
    network = UNet2DModel(UNet2DConfig.from_dict(config, source="the student's config.json"))
    weights = dict(tree_flatten(student.network.parameters())) | {
        "time_proj.weight": rows.astype(mx.float32)
    }
    network.load_weights(list(weights.items()))
    return network, config


def _can_be_listed(student: DiffusionModel, original: LoadedModel) -> bool:
    """Return whether a list of timesteps says all that diffusers needs to sample like us.

    It cuts timesteps to whole numbers, takes their trained levels, and stops short of pure noise.
    """
    if original.checkpoint.network_config.get("class_embed_type") == "timestep":
        return True  # a time table would embed the labels too
    grid = student.grid
    if any(t != int(t) for t in grid.timesteps) or grid.alphas[0] == 0:
        return False
    return np.allclose(grid_at(student.schedule, grid.timesteps).alphas, grid.alphas, rtol=1e-6)


def _needs_labels(original: LoadedModel) -> bool:
    config = original.checkpoint.network_config
    return config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None


def _model_index(original: LoadedModel, scheduler_class: str) -> dict[str, Any]:
    index = {
        "_class_name": "DDIMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
    } | original.checkpoint.model_index
    if scheduler_class == "DDIMScheduler":
        index["_class_name"] = "DDIMPipeline"
    return index | {"scheduler": ["diffusers", scheduler_class]}


def _manifest(
    student: DiffusionModel, original: LoadedModel, folder: Path, facts: dict[str, Any]
) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": 1,
        "written_by": f"diffopt {engine.__version__}",
        "timesteps": list(student.grid.timesteps),
        "alphas": list(student.grid.alphas),
        "sigmas": list(student.grid.sigmas),
        "grid": student.grid.name,
        "solver": "ddim",
        "prediction_type": student.prediction_type,
        "guidance": None,
        "certified": "not certified",
        "base_weights_sha256": original.checkpoint.weights_sha256,
        "sha256": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
        "software": {"python": platform.python_version()}
        | {name: _version(name) for name in _SOFTWARE},
        **facts,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
