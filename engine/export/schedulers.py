"""How stock diffusers is told a student's grid: scheduler configs, and a network with a time table.

Two forms, by what stock pipelines can be told:

* listed: the network as it is, and a DPM-Solver++ scheduler of order 1 (which is DDIM) that takes
  ``timesteps=``. Pipelines that read prompts take that argument; for a class-conditional network
  the model card has a ten-line loop.
* own: stock ``DDIMPipeline`` takes a number of steps only, so the schedule itself has that many
  timesteps: the time embedding becomes a table with one row for each, and the betas are those
  between the student's levels. So is a class-conditional student whose levels no list of whole
  timesteps can name (Euler's and Karras' spacing, zero terminal SNR).
"""

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from engine.diffusion.grid import Grid, grid_at
from engine.diffusion.noise import NoiseSchedule
from engine.diffusion.scheduler_config import GRID_KEY
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel
from engine.models.unet import UNet2DConfig, UNet2DModel

# What DPMSolverMultistepScheduler can make by itself; other beta schedules are written out.
_DPM_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
_LARGEST_BETA = 1 - 2.0**-24
# Of alphas_cumprod between neighbours in an exported schedule: float32 betas then err below 1e-5.
_SMALLEST_RATIO = 0.003


def listed_timesteps(student: DiffusionModel, original: LoadedModel) -> dict[str, Any]:
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
    if student.schedule.alphas_cumprod[-1] == 0:
        # Told to rescale, diffusers stops at an alpha of 2.4e-4; with the largest beta below 1 that
        # float32 has, it comes a thousand times nearer, and an infinite sigma it could not bear.
        betas = _betas_between(student.schedule.alphas_cumprod)
        config["trained_betas"] = [*betas[:-1], _LARGEST_BETA]
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


def own_schedule(student: DiffusionModel) -> dict[str, Any]:
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


def with_time_table(
    student: DiffusionModel, original: LoadedModel, network: nn.Module
) -> tuple[UNet2DModel, dict[str, Any]]:
    """Return the network with a learned time table, and its config.

    The table has one row for each timestep of `own_schedule`.
    """
    assert isinstance(network, UNet2DModel)  # those that read prompts have no learned time
    timesteps = np.repeat(student.grid.timesteps[::-1], _own_levels(student)[1]).tolist()
    if student.schedule.final_alpha_cumprod != 1.0:
        timesteps.insert(0, 0.0)
    rows = network.time_proj(mx.array(timesteps, mx.float32))
    if original.checkpoint.network_config.get("time_embedding_type") == "learned":
        rows = network.time_proj(mx.array(timesteps).astype(mx.int32))
    config = dict(original.checkpoint.network_config)
    config |= {"time_embedding_type": "learned", "num_train_timesteps": len(timesteps)}
    with_table = UNet2DModel(UNet2DConfig.from_dict(config, source="the student's config.json"))
    weights = dict(tree_flatten(network.parameters())) | {
        "time_proj.weight": rows.astype(mx.float32)
    }
    with_table.load_weights(list(weights.items()))
    return with_table, config


def takes_timesteps(original: LoadedModel) -> bool:
    """Return whether a student of `original` is sampled by a call that can be told timesteps."""
    config = original.checkpoint.network_config
    has_classes = (
        config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None
    )
    return original.checkpoint.family == "unet2d_condition" or has_classes


def can_be_listed(grid: Grid, schedule: NoiseSchedule, original: LoadedModel) -> bool:
    """Return whether a list of timesteps says all that diffusers needs to sample like us.

    It cuts timesteps to whole numbers, takes their trained levels, and stops short of pure noise
    (by 3e-7 of the signal).
    """
    if original.checkpoint.network_config.get("class_embed_type") == "timestep":
        return True  # a time table would embed the labels too
    is_prompted = original.checkpoint.family == "unet2d_condition"
    if any(t != int(t) for t in grid.timesteps) or (grid.alphas[0] == 0 and not is_prompted):
        return False
    return np.allclose(grid_at(schedule, grid.timesteps).alphas, grid.alphas, rtol=1e-6)
