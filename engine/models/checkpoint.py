"""A diffusers folder turned into a network, and a network into one.

Weights are safetensors and nothing else, and become float32; whatever is wrong with a folder is one
CheckpointError. The tensors themselves are read and named in weights.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.nn as nn

from engine.errors import CheckpointError, DiskFull
from engine.files import is_no_room, replacing, write_json
from engine.models.folder import CONFIG_NAME, WEIGHTS_NAME, find_model, resolve_model_path
from engine.models.unet import UNet2DConfig, UNet2DModel
from engine.models.unet_condition import UNet2DConditionConfig, UNet2DConditionModel
from engine.models.weights import hash_files, load_weights, network_tensors, write_tensors

__all__ = [
    "Checkpoint",
    "Network",
    "load_checkpoint",
    "make_network",
    "network_tensors",
    "resolve_model_path",
    "save_network",
]

Network = UNet2DModel | UNet2DConditionModel


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model folder in memory.

    The JSON files are kept as they were, unknown keys included, to be written again; those that the
    folder does not have are empty. `family` names the architecture ("unet2d", "unet2d_condition").
    `weights_sha256` is taken over the weight files in the order of their names.
    """

    path: Path
    family: str
    network: Network
    network_config: dict[str, Any]
    scheduler_config: dict[str, Any]
    model_index: dict[str, Any]
    weights_sha256: str


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Return the model in a diffusers folder, `bundled:NAME` included, with float32 weights.

    Raises:
        CheckpointError: the folder is missing, damaged, unsafe, or of a kind that is not supported.
    """
    path = resolve_model_path(path, may_fetch=True)
    try:
        return _load_folder(path)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or path} cannot be read: {error.strerror or error}. "
            "Check that it is yours to read."
        ) from error


def save_network(network: nn.Module, folder: str | Path, config: dict[str, Any]) -> None:
    """Write config.json and the weights into `folder`; each file whole or not at all.

    Raises:
        CheckpointError: the folder cannot be written.
        DiskFull: there is no room for it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG_NAME, config)
        with replacing(folder / WEIGHTS_NAME) as temporary:
            write_tensors(network, temporary)
    except OSError as error:
        if is_no_room(error):
            raise DiskFull(f"{folder} cannot be written: {error}. Make room there.") from error
        raise CheckpointError(
            f"{folder} cannot be written: {error}. Check that it is yours."
        ) from error


def make_network(config: dict[str, Any], *, source: str) -> tuple[str, Network]:
    """Return the family and the network, weights random, that a config.json describes.

    Raises:
        CheckpointError: the config describes none that is supported; names `source` and the key.
    """
    class_name = config.get("_class_name")
    if class_name is None:  # written by hand: a width of prompts tells
        is_conditional = "cross_attention_dim" in config
        class_name = "UNet2DConditionModel" if is_conditional else "UNet2DModel"
    if class_name == "UNet2DConditionModel":
        settings = UNet2DConditionConfig.from_dict(config, source=source)
        return "unet2d_condition", UNet2DConditionModel(settings)
    return "unet2d", UNet2DModel(UNet2DConfig.from_dict(config, source=source))


def _load_folder(path: Path) -> Checkpoint:
    folder = find_model(path)
    family, network = make_network(folder.network_config, source=str(folder.config_path))
    load_weights(network, folder.weight_paths, folder.config_path)
    return Checkpoint(
        path=folder.path,
        family=family,
        network=network,
        network_config=folder.network_config,
        scheduler_config=folder.scheduler_config,
        model_index=folder.model_index,
        weights_sha256=hash_files(folder.weight_paths),
    )
