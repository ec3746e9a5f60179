"""A diffusers folder turned into a network, and a network into one. Transposes happen only here.

Parameters have diffusers' names (see unet.py), so the key table below is short: where the axes of a
convolution go, and what attention's layers were once called. Loading reads it one way, saving the
other. Weights are safetensors and nothing else, and become float32; whatever is wrong with a folder
is one CheckpointError.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engine.errors import CheckpointError
from engine.files import replacing, write_json
from engine.models.folder import CONFIG_NAME, WEIGHTS_NAME, find_model, resolve_model_path
from engine.models.unet import UNet2DConfig, UNet2DModel

__all__ = ["Checkpoint", "load_checkpoint", "network_tensors", "resolve_model_path", "save_network"]

# The key table. Axes by number of dimensions: disk to tree, tree to disk; others are the same.
_AXES = {4: ((0, 2, 3, 1), (0, 3, 1, 2))}  # conv: OIHW on disk, OHWI in MLX
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(rf"(?<=\.)({'|'.join(_OLD_NAMES)})(?=\.(?:weight|bias)$)")

_FLOAT_DTYPES = ("F32", "F16", "BF16")
_LISTED_KEYS = 5


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model folder in memory.

    The JSON files are kept as they were, unknown keys included, to be written again; those that the
    folder does not have are empty. `family` names the architecture ("unet2d"). `weights_sha256` is
    taken over the weight files in the order of their names.
    """

    path: Path
    family: str
    network: nn.Module
    network_config: dict[str, Any]
    scheduler_config: dict[str, Any]
    model_index: dict[str, Any]
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class _TensorOnDisk:
    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Return the model in a diffusers folder, `bundled:NAME` included, with float32 weights.

    Raises:
        CheckpointError: the folder is missing, damaged, unsafe, or of a kind that is not supported.
    """
    path = resolve_model_path(path)
    try:
        return _load_folder(path)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or path} cannot be read: {error.strerror or error}. "
            "Check that it is yours to read."
        ) from error


def network_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the parameters as diffusers names and lays them out: float32, contiguous, sorted."""
    tensors = {}
    for key, value in sorted(_parameters(network).items()):
        array = np.array(value.astype(mx.float32))
        _, to_disk = _AXES.get(array.ndim, (None, None))
        tensors[key] = np.ascontiguousarray(array if to_disk is None else array.transpose(to_disk))
    return tensors


def save_network(network: nn.Module, folder: str | Path, config: dict[str, Any]) -> None:
    """Write config.json and the weights into `folder`; each file whole or not at all.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG_NAME, config)
        with replacing(folder / WEIGHTS_NAME) as temporary:
            # diffusers refuses a file whose metadata does not name the format
            save_file(network_tensors(network), temporary, metadata={"format": "pt"})
            # safetensors writes for the owner's eyes only; a model is as public as its config
            temporary.chmod((folder / CONFIG_NAME).stat().st_mode)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} cannot be written: {error}. Check that it is yours and that there is room."
        ) from error


def _load_folder(path: Path) -> Checkpoint:
    folder = find_model(path)
    config = UNet2DConfig.from_dict(folder.network_config, source=str(folder.config_path))
    network = UNet2DModel(config)
    _load_weights(network, folder.weight_paths, folder.config_path)
    return Checkpoint(
        path=folder.path,
        family="unet2d",
        network=network,
        network_config=folder.network_config,
        scheduler_config=folder.scheduler_config,
        model_index=folder.model_index,
        weights_sha256=_hash_files(folder.weight_paths),
    )


def _parameters(network: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(network.parameters()))


def _load_weights(network: nn.Module, paths: tuple[Path, ...], config_path: Path) -> None:
    found = _list_tensors(paths)
    wanted = _parameters(network)
    _check_keys(found, wanted, config_path)

    # arrays from disk are lazy: only one that is being cast or transposed is held twice
    on_disk = {path: _read_arrays(path) for path in paths}
    weights = {}
    for key, parameter in wanted.items():
        array = on_disk[found[key].path].pop(found[key].key).astype(mx.float32)
        to_tree, _ = _AXES.get(array.ndim, (None, None))
        if to_tree is not None and parameter.ndim == array.ndim:
            array = mx.contiguous(array.transpose(to_tree))
        weights[key] = array.reshape(parameter.shape)

    is_finite = {key: mx.isfinite(array).all() for key, array in weights.items()}
    try:
        mx.eval(weights, is_finite)
    except RuntimeError as error:
        raise CheckpointError(
            f"{paths[0]} cannot be read: {error}. Fetch the file again."
        ) from error
    broken = [key for key, flag in is_finite.items() if not flag.item()]
    if broken:
        raise CheckpointError(
            f"{found[broken[0]].path}: {_list_keys('weights hold NaN or infinity', broken)}. The "
            "model was damaged in training or conversion: fetch it again, or choose another."
        )
    network.load_weights(list(weights.items()))


def _list_tensors(paths: tuple[Path, ...]) -> dict[str, _TensorOnDisk]:
    """Return what the files hold by today's names, read from their headers alone."""
    tensors: dict[str, _TensorOnDisk] = {}
    for path in paths:
        try:
            with safe_open(path, framework="numpy") as file:
                keys = list(file.keys())
                slices = [file.get_slice(key) for key in keys]
                entries = [
                    _TensorOnDisk(path, key, tuple(entry.get_shape()), entry.get_dtype())
                    for key, entry in zip(keys, slices, strict=True)
                ]
        except SafetensorError as error:
            raise CheckpointError(f"{path} {_explain_unreadable(path)} ({error}).") from error
        for entry in entries:
            if entry.dtype not in _FLOAT_DTYPES:
                raise CheckpointError(
                    f"{path}: {entry.key} is stored as {entry.dtype}, but one of "
                    f"{', '.join(_FLOAT_DTYPES)} is wanted. Save the model again in float32."
                )
            name = _OLD_NAME.sub(lambda match: _OLD_NAMES[match.group()], entry.key)
            if name in tensors:
                raise CheckpointError(
                    f"{path}: {entry.key} is a second {name}, after {tensors[name].key} in "
                    f"{tensors[name].path.name}. Remove one of the two."
                )
            tensors[name] = entry
    return tensors


def _check_keys(
    found: dict[str, _TensorOnDisk], wanted: dict[str, mx.array], config_path: Path
) -> None:
    complaints = []
    if missing := sorted(wanted.keys() - found.keys()):
        complaints.append(_list_keys("keys are missing", missing))
    if unexpected := sorted(found.keys() - wanted.keys()):
        complaints.append(
            _list_keys("keys are unexpected", [found[name].key for name in unexpected])
        )

    misfits = []
    for name in sorted(wanted.keys() & found.keys()):
        shape = wanted[name].shape
        _, to_disk = _AXES.get(len(shape), (None, None))
        fitting = {shape if to_disk is None else tuple(shape[axis] for axis in to_disk)}
        if len(shape) == 2:  # early releases kept attention's linear layers as 1x1 convolutions
            fitting.add((*shape, 1, 1))
        if found[name].shape not in fitting:
            shapes = f"{list(found[name].shape)} instead of {list(min(fitting, key=len))}"
            misfits.append(f"{found[name].key} {shapes}")
    if misfits:
        complaints.append(_list_keys("have another shape", misfits))

    if complaints:
        source = next(iter(found.values())).path if found else config_path.parent
        raise CheckpointError(
            f"{source}: the weights do not fit {config_path.name}: {'; '.join(complaints)}. "
            "Use the config and the weights of one and the same model."
        )


def _list_keys(claim: str, keys: list[str]) -> str:
    listed = ", ".join(keys[:_LISTED_KEYS])
    return f"{len(keys)} {claim} ({listed}{', ...' if len(keys) > _LISTED_KEYS else ''})"


def _read_arrays(path: Path) -> dict[str, mx.array]:
    try:
        arrays = mx.load(str(path))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Fetch the file again.") from error
    assert isinstance(arrays, dict)
    return arrays


def _explain_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    if start == b"version ":
        return "is a Git LFS pointer, not the weights themselves: `git lfs pull` fetches them"
    return "is not a whole safetensors file: fetch it again"


def _hash_files(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
