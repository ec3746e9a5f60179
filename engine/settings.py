"""The typed sections of a configuration.

Every field with its unit, bounds, description and default. No MLX.

`engine.config` puts them together, reads and writes them. A form can be drawn from these fields
alone: ``field.metadata["unit"]`` and the bounds come out of `engine.config.describe_fields`.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.dataclasses import dataclass

Precision = Literal["float32", "bfloat16", "int8"]

STRICT = ConfigDict(strict=True, extra="forbid", validate_assignment=True, allow_inf_nan=False)


def setting(
    default: Any, description: str, *, unit: str = "", is_live: bool = False, **bounds: Any
) -> Any:
    """Return a pydantic field with a description, a unit and bounds.

    `is_live` settings may change while the run is at work. Bounds are pydantic's own: ge, gt, le,
    lt, min_length, max_length.
    """
    extra: JsonDict = {"unit": unit, "is_live": is_live}
    if isinstance(default, list):
        return Field(
            default_factory=lambda: list(default),
            description=description,
            json_schema_extra=extra,
            **bounds,
        )
    return Field(default=default, description=description, json_schema_extra=extra, **bounds)


@dataclass(config=STRICT)
class OriginalSettings:
    """How the original model is sampled today.

    What the student must reproduce, and what it is compared with.
    """

    sampler: Literal["ddim", "dpmpp_2m", "euler"] = setting("ddim", "solver of the original model")
    steps: int = setting(50, "sampling steps of the original model", unit="steps", ge=2, le=1000)
    spacing: Literal["leading", "linspace", "trailing", "log_snr", "karras"] | None = setting(
        None, "spacing of the original timesteps; null takes the checkpoint's own"
    )


@dataclass(config=STRICT)
class GuidanceSettings:
    """How a model of prompts is led by them; a student learns it and then needs none."""

    scale: float | None = setting(
        None,
        "classifier-free guidance as diffusers counts it, u + scale (c - u); 1 is none; null takes "
        "7.5 (5 for SDXL) for a model of prompts and none for others",
        ge=1,
        le=100,
    )
    rescale: float = setting(
        0.0,
        "share of the guided prediction brought back to the unguided one's contrast "
        "(guidance_rescale of diffusers)",
        ge=0,
        le=1,
    )
    negative_prompt: str = setting("", "what guidance leads away from; empty is no prompt at all")


@dataclass(config=STRICT)
class ScheduleSettings:
    """Which timesteps the student visits."""

    search: bool = setting(True, "choose grids by measured quality; false takes the uniform one")
    costs: list[Literal["z_mse", "z_norm", "x0_mse"]] = setting(
        ["z_mse", "z_norm", "x0_mse"],
        "costs that the dynamic programme proposes grids with",
        min_length=1,
    )
    gammas: list[Annotated[float, Field(gt=0, le=2)]] = setting(
        [0.9, 1.0, 1.1],
        "discounts of later steps that the dynamic programme proposes grids with",
        min_length=1,
    )
    pilot_candidates: int = setting(
        3,
        "grids tried by a short distillation each before one is chosen",
        unit="grids",
        ge=1,
        le=16,
    )
    pilot_iterations: int = setting(
        100,
        "length of such a pilot; 0 ranks without training",
        unit="optimiser steps",
        ge=0,
        le=100_000,
    )


@dataclass(config=STRICT)
class TrainingSettings:
    """How a student learns."""

    seed: int = setting(
        0, "seed of every random draw; the same seed gives the same weights", ge=0, lt=2**31
    )
    stage_steps: list[Annotated[int, Field(ge=1)]] | None = setting(
        None,
        "sampling steps after each stage, falling to target_steps; "
        "null spaces them evenly in ratio",
        unit="steps",
    )
    iterations: list[Annotated[int, Field(ge=1, le=10_000_000)]] = setting(
        [1000, 1000, 2000],
        "optimiser steps of each stage; the last number serves the stages after it",
        unit="optimiser steps",
        min_length=1,
    )
    states: Literal["trajectory", "rollout", "data"] = setting(
        "trajectory",
        "where training states come from: the teacher's cached paths, the "
        "student's own samples, or noised images",
    )
    trajectories: int = setting(
        1024,
        "teacher trajectories cached for training (data: states made at a time)",
        unit="samples",
        ge=8,
        le=1_000_000,
    )
    refresh_steps: int = setting(
        50,
        "optimiser steps after which the training states are made anew",
        unit="optimiser steps",
        ge=1,
    )
    batch_size: int = setting(64, "states in one optimiser step", unit="samples", ge=1, le=65_536)
    learning_rate: float = setting(1e-4, "peak learning rate; falls linearly to 0", gt=0, le=1)
    warmup_steps: int = setting(
        20, "optimiser steps over which the rate rises from 0", unit="optimiser steps", ge=0
    )
    weight_decay: float = setting(0.0, "decoupled weight decay of AdamW", ge=0, le=1)
    gradient_clip: float = setting(
        1.0, "largest norm of the gradient of all weights together", gt=0
    )
    ema_decay: float = setting(
        0.99,
        "decay of the moving average of the weights, which is what is "
        "kept; 0 keeps the last weights",
        ge=0,
        lt=1,
    )
    student_prediction: Literal["same", "v_prediction"] = setting(
        "same",
        "what students predict: as the original does, or v, by a conversion stage of its own "
        "before the first reduction",
    )
    loss_weight: Literal["truncated_snr", "snr_plus_one", "landing"] = setting(
        "snr_plus_one", "weight of the squared error of the clean estimate by noise level"
    )
    max_loss_weight: float = setting(100.0, "upper bound of that weight", gt=0)
    retries: int = setting(
        4,
        "tries after a stage's first that the gate may ask for before it is rolled back",
        unit="tries",
        ge=0,
        le=8,
    )
    report_every: int = setting(
        10, "optimiser steps between two reports", unit="optimiser steps", ge=1
    )
    sample_every: int = setting(
        200,
        "optimiser steps between two sample sheets; 0 makes none while training",
        unit="optimiser steps",
        ge=0,
    )


@dataclass(config=STRICT)
class LoraSettings:
    """Low-rank adapters: train a small addition to a frozen network instead of all its weights."""

    enabled: bool = setting(
        False, "train adapters only; teacher and student share the frozen weights"
    )
    rank: int = setting(
        64, "rank of an adapter: its size, and how much it can change", ge=1, le=1024
    )
    alpha: float = setting(
        64.0, "strength of an adapter, which is scaled by alpha / rank", gt=0, le=4096
    )
    targets: list[Literal["attention", "feed_forward", "convolutions"]] = setting(
        ["attention", "feed_forward", "convolutions"],
        "layers that get an adapter",
        min_length=1,
    )


@dataclass(config=STRICT)
class DataSettings:
    """Prompts of a model that reads them, and the images behind `training.states: data`."""

    images: str | None = setting(
        None,
        "folder of images (one subfolder per class for a class-conditional model, a caption for "
        "each image for a model of prompts), or bundled:digits; other states need none",
    )
    prompts: str = setting(
        "bundled:varied",
        "prompts to learn and measure under: a text file with one a line, a .csv or .jsonl file, a "
        "folder of captioned images (image + .txt, or metadata.jsonl), or bundled:varied, 128 of "
        "diffopt's own",
        min_length=1,
    )
    prompt_column: str | None = setting(
        None,
        "column of a .csv or key of a .jsonl that holds the prompt; null takes the first there is "
        "of prompt, caption and text",
    )
    prompt_count: int | None = setting(
        None,
        "prompts taken from the beginning of that source; null takes all",
        unit="prompts",
        ge=8,
        le=1_000_000,
    )
    held_out_share: float = setting(
        0.25,
        "share of the prompts that are measured under and never learned from",
        ge=0.05,
        le=0.5,
    )
    height: int | None = setting(
        None,
        "height of a picture of a model of latents; null takes the model's own",
        unit="pixels",
        ge=8,
        le=8192,
    )
    width: int | None = setting(
        None,
        "width of a picture of a model of latents; null takes the model's own",
        unit="pixels",
        ge=8,
        le=8192,
    )


@dataclass(config=STRICT)
class QualitySettings:
    """How much is measured before a student is believed."""

    samples: int | None = setting(
        None,
        "samples behind the reported score (the final noise); null takes 1000, or 128 for a model "
        "of latents",
        unit="samples",
        ge=64,
        le=100_000,
    )
    select_samples: int | None = setting(
        None,
        "samples behind choices made on the way (the select noise); null takes 256, or 128 for a "
        "model of latents",
        unit="samples",
        ge=64,
        le=100_000,
    )
    mode: Literal["auto", "pixels", "latents"] = setting(
        "auto",
        "what a model of latents is scored in; auto takes latents for choices on the way and "
        "decoded pixels for the reported score; scores of different modes are never compared",
    )
    bootstrap: int = setting(
        1000, "resamples behind the lower bounds", unit="resamples", ge=100, le=100_000
    )
    classifier: str | None = setting(
        None,
        "small classifier that reads labels off samples, reported apart from "
        "the score; bundled:digits or null",
    )

    def counts(self, *, is_latent: bool) -> tuple[int, int]:
        """Return the samples of the select and of the final noise, by the family of the model."""
        select, final = (128, 128) if is_latent else (256, 1000)
        return self.select_samples or select, self.samples or final


@dataclass(config=STRICT)
class HardwareSettings:
    """What is asked of the machine.

    Read only where apple_silicon_optimization is true, except the batch size.
    """

    compile: bool = setting(True, "compile the training step and the sampler")
    compute_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "type the student computes in; its master weights stay float32"
    )
    teacher_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "type the frozen teacher is held and run in"
    )
    teacher_bits: Literal[4, 8] | None = setting(
        None,
        "bits of the frozen teacher's linear weights while it teaches; null does not quantise",
        unit="bits",
    )
    base_precision: Precision = setting(
        "float32",
        "what the weights that adapters leave alone are held in (lora.enabled): bfloat16 halves "
        "them and trains in it, int8 quantises linear layers and computes in float32; adapters, "
        "optimizer and targets stay float32, and scores compare with the original in float32",
    )
    micro_batch_size: int | None = setting(
        None,
        "samples whose gradient is taken at one time, of the batch's; null lets diffopt choose by "
        "the memory there is",
        unit="samples",
        ge=1,
        le=65_536,
    )
    recompute_activations: bool | None = setting(
        None,
        "compute activations again for the gradient instead of keeping them: about half the memory "
        "for a third more time; null lets diffopt choose by the memory there is",
    )
    evaluation_batch_size: int = setting(
        125, "samples in one evaluation batch", unit="samples", ge=1, le=65_536
    )
    cache_limit_gib: float | None = setting(
        None, "memory MLX may keep for reuse; null lets diffopt choose", unit="GiB", gt=0, le=4096
    )


@dataclass(config=STRICT)
class ExportSettings:
    """What is left behind at the end."""

    enabled: bool = setting(True, "write the student in a form that stock diffusers opens")
    format: Literal["diffusers", "unet", "lora"] = setting(
        "diffusers",
        "what is written: a complete pipeline, the network alone, or adapters alone (needs "
        "lora.enabled and a model that reads prompts)",
    )
    certify: bool = setting(
        False,
        "sample the export in diffusers too and write the difference into its manifest (needs the "
        "interop extra)",
    )
    samples: int = setting(10, "columns of the sample sheets", unit="samples", ge=1, le=64)
    timing_repeats: int = setting(
        5, "repeats behind the wall-clock speed-up", unit="repeats", ge=5, le=1000
    )
    timing_batch_size: int = setting(
        32, "samples in one batch of that measurement", unit="samples", ge=1, le=65_536
    )


@dataclass(config=STRICT)
class RunSettings:
    """How the process behind a run behaves."""

    checkpoint_seconds: float = setting(
        300.0,
        "time between two checkpoints of a stage that is being trained",
        unit="s",
        is_live=True,
        ge=1,
        le=86_400,
    )
    keep_awake: bool = setting(
        True, "keep a Mac from sleeping while it trains (caffeinate)", is_live=True
    )
    on_finish: str | None = setting(
        None,
        "shell command run in the run's folder once it is done, failed or cancelled; DIFFOPT_RUN, "
        "_STATE, _SUMMARY, _EXIT_CODE, _STEPS, _SCORE and _LOWER_BOUND are in its environment",
        is_live=True,
    )
