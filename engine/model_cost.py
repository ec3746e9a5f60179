"""What a model folder costs, told from its config.json and the headers of its weights. No MLX.

Only headers are read: a few kilobytes, however large the model. Used by `estimate`.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.models.folder import find_model, resolve_model_path

_MOST_HEADER_BYTES = 100 << 20
_BLOCK = re.compile(r"^(down_blocks|up_blocks)\.(\d+)\.")
_VAE_SCALE = 8  # pixels of an image for each latent, along one side
_ACTIVATIONS_A_LAYER = 3.0  # a layer's output, its norm and its activation


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one evaluation of the network takes."""

    parameters: int
    flops: float  # of a forward pass of one sample, products of weights alone
    activation_bytes: float  # kept of one sample for a backward pass, in float32
    sample_values: int  # numbers in one sample, height x width x channels
    companion_bytes: int  # text encoders and autoencoder in float32
    is_latent: bool
    has_prompts: bool


def model_cost(model_path: str) -> ModelCost:
    """Return what the model in a folder, or `bundled:NAME`, costs.

    Raises CheckpointError as loading it would for what headers can tell, OSError for what cannot be
    read.
    """
    folder = find_model(resolve_model_path(model_path))
    config = folder.network_config
    size, channels = _sample_size(config), int(config.get("in_channels", 3))
    blocks = len(config.get("block_out_channels") or [1])
    parameters, flops, outputs = 0, 0.0, 0.0
    for path in folder.weight_paths:
        for name, shape in _shapes(path).items():
            count = math.prod(shape)
            parameters += count
            if name.endswith(".weight") and len(shape) >= 2:
                places = _places(name, size, blocks, shape)
                flops += 2.0 * count * places
                outputs += shape[0] * places
    prompts = config.get("cross_attention_dim") is not None
    return ModelCost(
        parameters=parameters,
        flops=flops,
        activation_bytes=4.0 * _ACTIVATIONS_A_LAYER * outputs,
        sample_values=size * size * int(config.get("out_channels", channels)),
        companion_bytes=_companions(folder.path),
        is_latent=(folder.path / "vae").is_dir() or prompts,
        has_prompts=prompts,
    )


def image_values(cost: ModelCost) -> int:
    """Return the numbers in one decoded sample."""
    if not cost.is_latent:
        return cost.sample_values
    return cost.sample_values // 4 * _VAE_SCALE**2 * 3


def _sample_size(config: dict[str, Any]) -> int:
    size = config.get("sample_size") or 32
    return int(size[0] if isinstance(size, list) else size)


def _places(name: str, size: int, blocks: int, shape: list[int]) -> float:
    """Return at how many places of a sample a layer is applied."""
    if name.startswith(("time_embedding", "class_embedding", "add_embedding")):
        return 1.0
    if "time_emb_proj" in name:
        return 1.0
    if match := _BLOCK.match(name):
        number = int(match[2])
        level = number if match[1] == "down_blocks" else blocks - 1 - number
        if match[1] == "down_blocks" and ".downsamplers." in name:
            level += 1
        if match[1] == "up_blocks" and ".upsamplers." in name:
            level -= 1
    else:
        level = blocks - 1 if name.startswith("mid_block") else 0
    return float(max(1, size >> max(0, level)) ** 2)


def _shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor of a safetensors file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= _MOST_HEADER_BYTES:
                raise ValueError("its header is no header")
            header = json.loads(file.read(length))
        return {
            name: [int(side) for side in one["shape"]]
            for name, one in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a safetensors file that can be read ({error}). Fetch it again."
        ) from error


def _companions(folder: Path) -> int:
    """Return the bytes of what stands beside the network, in float32."""
    total = 0
    for name in ("vae", "text_encoder", "text_encoder_2"):
        files = sorted((folder / name).glob("*.safetensors"))
        # of several variants of the same weights one is loaded
        plain = [file for file in files if ".fp16" not in file.name and ".bf16" not in file.name]
        for file in plain or files:
            total += 4 * sum(math.prod(shape) for shape in _shapes(file).values())
    return total
