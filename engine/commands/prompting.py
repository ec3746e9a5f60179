"""What `diffopt sample` gives a network of prompts, and how its latents become pictures.

A model of pixels passes through untouched, and its options are refused.
"""

import argparse
from pathlib import Path

import mlx.core as mx
import numpy as np
from safetensors import SafetensorError, safe_open

from engine.errors import CheckpointError, ConfigError, DataError
from engine.files import expanded
from engine.models.diffusion import DiffusionModel
from engine.models.guidance import UNCONDITIONAL, Guidance
from engine.models.loading import LoadedModel
from engine.models.pipeline import LatentPipeline

_SCALE, _SCALE_XL = 7.5, 5.0  # diffusers' own defaults
_OF_PROMPTS = ("prompt", "negative_prompt", "guidance", "guidance_rescale", "conditioning")
_NAMES = ("encoder_hidden_states", "text_embeds", "time_ids", "class_labels")


class Prompted:
    """The prompts, sizes and guidance of one call, checked against the model.

    Raises ConfigError, DataError or CheckpointError naming the option.
    """

    def __init__(self, loaded: LoadedModel, options: argparse.Namespace, out: Path) -> None:
        self._loaded, self._options = loaded, options
        self._is_latent = loaded.checkpoint.family == "unet2d_condition"
        self._pipeline: LatentPipeline | None = None
        if not self._is_latent:
            for name in (
                "prompt",
                "negative_prompt",
                "guidance",
                "guidance_rescale",
                "conditioning",
            ):
                if getattr(options, name) is not None:
                    option = "--" + name.replace("_", "-")
                    raise ConfigError(f"{option}: this model reads no prompts; leave it out.")
            return
        if options.prompt is not None and options.conditioning is not None:
            raise ConfigError("--prompt and --conditioning say the same twice; leave one out.")
        if options.prompt is None and options.conditioning is None:
            raise ConfigError(
                "this model reads prompts; name --prompt TEXT or --conditioning FILE."
            )
        if options.negative_prompt is not None and options.prompt is None:
            raise ConfigError(
                "--negative-prompt goes with --prompt; a file of conditions holds "
                "uncond_encoder_hidden_states itself."
            )
        if options.guidance is not None and options.guidance < 1:
            raise ConfigError(f"--guidance {options.guidance:g}: wanted a scale from 1 (none).")
        if not 0 <= self._rescale <= 1:
            raise ConfigError(f"--guidance-rescale {self._rescale:g}: wanted 0 to 1.")
        if loaded.checkpoint.model_index:
            try:
                self._pipeline = LatentPipeline(loaded.checkpoint)
            except OSError as error:
                raise CheckpointError(f"{error.filename} cannot be read: {error}.") from error
        elif options.prompt is not None or out.suffix == ".png":
            option = "--prompt" if options.prompt is not None else f"--out {out}"
            raise ConfigError(
                f"{option}: {loaded.checkpoint.path} is a network alone, without text encoder and "
                "decoder. Give a whole pipeline folder, or --conditioning and a .safetensors."
            )

    def sized(self, model: DiffusionModel) -> DiffusionModel:
        """Return the model at the height and width that were asked for."""
        height, width, channels = model.sample_shape
        reduction = self._pipeline.reduction if self._pipeline else 8 if self._is_latent else 1
        wanted = []
        for option, pixels, own in (
            ("--height", self._options.height, height),
            ("--width", self._options.width, width),
        ):
            if pixels is not None and pixels % reduction:
                raise ConfigError(f"{option} {pixels}: wanted a multiple of {reduction}.")
            wanted.append(own if pixels is None else pixels // reduction)
        sized = model.with_grid(model.grid)
        sized.sample_height, sized.sample_width, sized.sample_channels = *wanted, channels
        self._pixels = (wanted[0] * reduction, wanted[1] * reduction)
        return sized

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what the network is given, a row for each condition; empty for pixels."""
        options = self._options
        if not self._is_latent:
            return {}
        if options.conditioning is not None:
            return _read_conditioning(expanded(options.conditioning))
        assert self._pipeline is not None, "checked when it was made"
        try:
            condition = self._pipeline.condition(
                options.prompt,
                options.negative_prompt,
                size=self._pixels,
                is_guided=self._scale() > 1 and not self._is_told,
                told_guidance=self._scale(),
            )
            arrays = {name: np.array(value) for name, value in condition.items()}
        except OSError as error:
            raise CheckpointError(f"{error.filename} cannot be read: {error}.") from error
        self._pipeline.release()
        return arrays

    def guided(self, model: DiffusionModel, given: dict[str, np.ndarray]) -> DiffusionModel:
        """Return the model under the guidance that was asked for, or diffusers' default."""
        scale = self._scale()
        has_other = any(name.startswith(UNCONDITIONAL) for name in given)
        if scale == 1 or (self._options.guidance is None and not has_other):
            return model
        if self._is_told and self._options.prompt is not None:
            return model
        if not has_other:
            raise ConfigError(
                f"--guidance {scale:g}: {self._options.conditioning} holds no "
                "uncond_encoder_hidden_states to lead away from; add it, or take --guidance 1."
            )
        return model.guided(Guidance(scale, self._rescale))

    def pictures(self, samples: np.ndarray) -> np.ndarray:
        """Return samples as pictures in [-1, 1], latents decoded one at a time."""
        if self._pipeline is None:
            return samples
        try:
            decoded = [
                np.array(self._pipeline.pictures(mx.array(samples[i : i + 1])))
                for i in range(len(samples))
            ]
        except OSError as error:
            raise CheckpointError(f"{error.filename} cannot be read: {error}.") from error
        return 2 * np.concatenate(decoded) - 1

    @property
    def _is_told(self) -> bool:
        """Whether the network is told the scale instead of being led by it."""
        return self._loaded.checkpoint.network_config.get("time_cond_proj_dim") is not None

    @property
    def _rescale(self) -> float:
        return self._options.guidance_rescale or 0.0

    def _scale(self) -> float:
        if not self._is_latent:
            return 1.0
        if self._options.guidance is not None:
            return float(self._options.guidance)
        if self._loaded.is_distilled:
            return 1.0
        config = self._loaded.checkpoint.network_config
        return _SCALE_XL if config.get("addition_embed_type") == "text_time" else _SCALE


def _read_conditioning(path: Path) -> dict[str, np.ndarray]:
    """Return the conditions in a safetensors file, float32 but for labels."""
    known = (*_NAMES, *(UNCONDITIONAL + name for name in _NAMES))
    if not path.is_file():
        raise DataError(f"--conditioning {path}: no such file.")
    try:
        with safe_open(path, framework="mlx") as file:  # NumPy has no bfloat16
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise DataError(
            f"--conditioning {path}: not a whole safetensors file ({error})."
        ) from error
    if unknown := sorted(tensors.keys() - set(known)):
        raise DataError(
            f"--conditioning {path}: holds {unknown[0]}; wanted {', '.join(_NAMES)}, each with "
            f"{UNCONDITIONAL} before it for what guidance leads away from."
        )
    if "encoder_hidden_states" not in tensors:
        raise DataError(f"--conditioning {path}: encoder_hidden_states is missing.")
    arrays = {}
    for name, value in tensors.items():
        is_label = name.endswith("class_labels") and mx.issubdtype(value.dtype, mx.integer)
        arrays[name] = np.array(value.astype(mx.int32 if is_label else mx.float32))
        if not np.isfinite(arrays[name]).all():
            raise DataError(f"--conditioning {path}: {name} holds NaN or infinity.")
    if arrays["encoder_hidden_states"].ndim != 3:
        shape = list(arrays["encoder_hidden_states"].shape)
        raise DataError(
            f"--conditioning {path}: encoder_hidden_states has shape {shape}; wanted (rows, "
            "tokens, width)."
        )
    for name in [name for name in arrays if name.startswith(UNCONDITIONAL)]:
        beside = arrays.get(name.removeprefix(UNCONDITIONAL))
        if beside is None or beside.shape[1:] != arrays[name].shape[1:]:
            found = "is missing" if beside is None else f"has shape {list(beside.shape)}"
            raise DataError(
                f"--conditioning {path}: {name} has shape {list(arrays[name].shape)} but "
                f"{name.removeprefix(UNCONDITIONAL)} {found}; wanted the same but for rows."
            )
    counts = {name: len(value) for name, value in arrays.items() if len(value) != 1}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"--conditioning {path}: numbers of rows differ ({told}).")
    return arrays
