"""Adapters as files: the layout that peft writes and stock ``load_lora_weights`` takes.

Keys are ``unet.PATH.lora_A.weight`` (rank, in) and ``unet.PATH.lora_B.weight`` (out, rank), for
convolutions in PyTorch's order of axes; without the prefix diffusers loads nothing and says
nothing. We fold alpha / rank into B, so that no reader needs to know it; in files of others it may
stand in the header.
"""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from safetensors import SafetensorError, safe_open

from engine.errors import CheckpointError
from engine.files import write_safetensors
from engine.models.lora import LoraLayer, adapted_by, adapters

LORA_NAME = "pytorch_lora_weights.safetensors"
_PREFIX = "unet."
_METADATA = "lora_adapter_metadata"  # where diffusers keeps rank and alpha, in the file's header


def lora_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the adapters of `network` as diffusers names and lays them out, float32."""
    tensors = {}
    for path, layer in adapters(network):
        a, b = (np.array(factor.weight.astype(mx.float32)) for factor in _factors(layer))
        if a.ndim == 4:
            a, b = a.transpose(0, 3, 1, 2), b.transpose(0, 3, 1, 2)
        tensors[f"{_PREFIX}{path}.lora_A.weight"] = np.ascontiguousarray(a)
        tensors[f"{_PREFIX}{path}.lora_B.weight"] = np.ascontiguousarray(
            np.float32(layer.scale) * b
        )
    return dict(sorted(tensors.items()))


def save_lora(network: nn.Module, folder: Path) -> Path:
    """Write the adapters of `network` into `folder`, whole or not at all; return the file."""
    path = folder / LORA_NAME
    write_safetensors(path, lora_tensors(network), {"format": "pt"})
    return path


def load_lora(network: nn.Module, path: Path) -> nn.Module:
    """Return `network` over the same arrays with the adapters in `path`, a file or its folder.

    Raises:
        CheckpointError: the file is missing or damaged, or holds other than adapters of `network`.
    """
    path = path / LORA_NAME if path.is_dir() else path
    tensors, alphas = _read(path)
    pairs: dict[str, dict[str, np.ndarray]] = {}
    for key, value in tensors.items():
        layer, _, factor = key.removesuffix(".weight").rpartition(".")
        if not key.startswith(_PREFIX) or factor not in ("lora_A", "lora_B"):
            raise CheckpointError(
                f"{path}: {key} is no {_PREFIX}PATH.lora_A.weight or lora_B.weight, the layout of "
                "peft; adapters of text encoders and other layouts are not supported."
            )
        if not np.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinity; fetch the file again.")
        axes = (0, 2, 3, 1)
        pairs.setdefault(layer.removeprefix(_PREFIX), {})[factor] = (
            np.ascontiguousarray(value.transpose(axes)) if value.ndim == 4 else value
        )
    lonely = [layer for layer, pair in pairs.items() if len(pair) != 2]
    if lonely or not pairs:
        raise CheckpointError(
            f"{path}: {lonely[0] if lonely else 'the file'} lacks lora_A or lora_B; fetch it again."
        )
    factors = {
        layer: (mx.array(pair["lora_A"]), mx.array(pair["lora_B"]), alphas.get(layer))
        for layer, pair in pairs.items()
    }
    try:
        return adapted_by(network, factors)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}. It was made for another network.") from error


def _factors(layer: LoraLayer) -> tuple[Any, Any]:
    return layer.lora_A, layer.lora_B


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the tensors as float32, and alpha by layer where the header names it."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file of adapters.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        loaded = mx.load(str(path))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}).") from error
    assert isinstance(loaded, dict)
    tensors = {key: np.array(value.astype(mx.float32)) for key, value in loaded.items()}
    return tensors, _alphas(metadata, tensors)


def _alphas(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> dict[str, float]:
    try:
        config = json.loads(metadata.get(_METADATA, "{}"))
    except ValueError:
        config = {}
    alpha, by_layer = config.get("unet.lora_alpha"), config.get("unet.alpha_pattern") or {}
    layers = {key.removeprefix(_PREFIX).rpartition(".lora_")[0] for key in tensors}
    found = {layer: by_layer.get(layer, alpha) for layer in layers}
    return {layer: float(value) for layer, value in found.items() if value is not None}
