"""Proof that stock diffusers samples an export as we do: the same noise, there and here.

The only file of the engine that knows PyTorch, which it imports when it is asked and not before: it
comes with the `interop` extra, and without it an export stays "not certified".
"""

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engine.errors import DiffoptError
from engine.export.variant import variant_of
from engine.files import write_json
from engine.models.loading import LoadedModel, load_model

LARGEST_ERROR = 1e-4  # relative to the largest value; float32 alone makes 1e-6 to 1e-5
_SAMPLES = 2
_TOKENS = 77
_LATENT_PIXELS = 8  # pixels of an image to one of a latent, along a side


class CertifyError(DiffoptError):
    """An export could not be held against diffusers; the export itself is as it was."""


def certify(folder: Path, base: Path | None = None) -> dict[str, Any]:
    """Sample the export in `folder` in diffusers and here; write the error into its manifest.

    `base` is the original model, which adapters alone need. Returns what was written under
    "certified": the relative error, and whether it is at most LARGEST_ERROR.

    Raises:
        CertifyError: the `interop` extra is not installed, or diffusers does not open the export.
    """
    manifest_path = folder / "diffopt_manifest.json"
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    try:
        torch, diffusers = import_module("torch"), import_module("diffusers")
    except ImportError as error:
        raise CertifyError(
            f"not certified: {error.name} is not installed. It comes with the interop extra: "
            "pip install 'diffopt-tui[interop]'."
        ) from error

    what = manifest["what"]
    ours = load_model(base, adapters=folder) if what == "lora" and base else load_model(folder)
    noise, condition = _inputs(ours)
    here = np.array(
        ours.model.sample(
            mx.array(noise.transpose(0, 2, 3, 1)), {k: mx.array(v) for k, v in condition.items()}
        )
    ).transpose(0, 3, 1, 2)
    try:
        with torch.no_grad():
            there = _sampled_there(torch, diffusers, folder, base, what, ours, noise, condition)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise CertifyError(f"not certified: diffusers does not sample {folder}: {error}") from error
    largest = np.abs(there).max()
    relative_error = float(np.abs(here - there).max() / largest)
    manifest["certified"] = {
        "is_same": bool(relative_error <= LARGEST_ERROR),
        "relative_error": relative_error,
        "samples": _SAMPLES,
        "timesteps": list(ours.model.grid.timesteps),
        "diffusers": version("diffusers"),
        "torch": version("torch"),
    }
    write_json(manifest_path, manifest)
    return manifest["certified"]


def _inputs(ours: LoadedModel) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return noise (n, C, H, W) and a condition of random numbers of the right shapes."""
    rng = np.random.default_rng(0)
    height, width, channels = ours.model.sample_shape
    noise = rng.standard_normal((_SAMPLES, channels, height, width), dtype=np.float32)
    config: Mapping[str, Any] = ours.checkpoint.network_config
    condition: dict[str, np.ndarray] = {}
    if ours.model.class_count is not None:
        condition["class_labels"] = np.arange(_SAMPLES, dtype=np.int32) % ours.model.class_count
    if ours.checkpoint.family == "unet2d_condition":
        text = config.get("cross_attention_dim") or 1280
        text = text if isinstance(text, int) else text[0]
        shape = (_SAMPLES, _TOKENS, text)
        condition["encoder_hidden_states"] = rng.standard_normal(shape, dtype=np.float32)
    if config.get("addition_embed_type") == "text_time":
        sizes = 6 * config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - sizes
        condition["text_embeds"] = rng.standard_normal((_SAMPLES, pooled), dtype=np.float32)
        high, wide = height * _LATENT_PIXELS, width * _LATENT_PIXELS
        row = np.array([high, wide, 0, 0, high, wide], np.float32)
        condition["time_ids"] = np.tile(row, (_SAMPLES, 1))
    return noise, condition


def _sampled_there(
    torch: Any,
    diffusers: Any,
    folder: Path,
    base: Path | None,
    what: str,
    ours: LoadedModel,
    noise: np.ndarray,
    condition: dict[str, np.ndarray],
) -> np.ndarray:
    given = {key: torch.from_numpy(value) for key, value in condition.items()}
    start, steps = torch.from_numpy(noise), ours.model.steps
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    kind = getattr(diffusers, config["_class_name"])
    scheduler = kind.from_pretrained(str(folder), subfolder="scheduler")
    is_listed = config["_class_name"] == "DPMSolverMultistepScheduler"
    times = {"timesteps": config["diffopt_timesteps"]}

    if ours.checkpoint.family == "unet2d_condition" and ours.checkpoint.model_index:
        # the whole stock pipeline, called as the model card says
        source = {"diffusers": folder}.get(what, base or folder)
        replaced: dict[str, Any] = {} if what == "diffusers" else {"scheduler": scheduler}
        replaced["torch_dtype"] = torch.float32
        if (Path(source) / "unet").is_dir():
            replaced["variant"] = variant_of(Path(source) / "unet")
        if what == "unet":
            network = diffusers.UNet2DConditionModel
            replaced["unet"] = network.from_pretrained(str(folder), subfolder="unet")
        pipeline = diffusers.DiffusionPipeline.from_pretrained(str(source), **replaced)
        if what == "lora":
            pipeline.load_lora_weights(str(folder))
        pipeline.set_progress_bar_config(disable=True)
        call: dict[str, Any] = {"prompt_embeds": given["encoder_hidden_states"]}
        if "text_embeds" in given:
            call["pooled_prompt_embeds"] = given["text_embeds"]
        height, width = (side * pipeline.vae_scale_factor for side in noise.shape[2:])
        call |= {"latents": start, "height": height, "width": width, "guidance_scale": 1.0}
        return pipeline(**call, **times, output_type="latent").images.numpy()

    if what == "lora":
        kind = diffusers.UNet2DConditionModel
        root = "unet" if base and (base / "unet").is_dir() else None
        network = kind.from_pretrained(str(base), **({"subfolder": root} if root else {}))
        network.load_lora_adapter(str(folder), prefix="unet")
    else:
        kind = getattr(diffusers, type(ours.checkpoint.network).__name__)
        network = kind.from_pretrained(str(folder), subfolder="unet")
    scheduler.set_timesteps(**(times if is_listed else {"num_inference_steps": steps}))
    added = {key: given.pop(key) for key in ("text_embeds", "time_ids") if key in given}
    if added:
        given["added_cond_kwargs"] = added
    state = start
    for t in scheduler.timesteps:
        prediction = network(state, t, **given).sample
        state = scheduler.step(prediction, t, state).prev_sample
    return state.numpy()
