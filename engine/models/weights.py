"""The tensors of a network: from safetensors files into it, and out again. Transposes only here.

Parameters have the names that they have on disk, so the key table below is short: where the axes of
a convolution go, and what attention's layers were once called. Loading reads it one way, saving the
other. Used by checkpoint.py for the network and by pipeline.py for what stands around it.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from engine.errors import CheckpointError

__all__ = [
    "check_weights",
    "hash_files",
    "load_weights",
    "network_tensors",
    "scan_weights",
    "write_tensors",
]

Rename = Callable[[str], str | None]

# The key table. Axes by number of dimensions: disk to tree, tree to disk; others are the same.
_AXES = {4: ((0, 2, 3, 1), (0, 3, 1, 2))}  # conv: OIHW on disk, OHWI in MLX
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(rf"(?<=\.)({'|'.join(_OLD_NAMES)})(?=\.(?:weight|bias)$)")

_FLOAT_DTYPES = ("F32", "F16", "BF16")
_LISTED_KEYS = 5


@dataclass(frozen=True, slots=True)
class _TensorOnDisk:
    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


def _keep_name(key: str) -> str | None:
    return key


def load_weights(
    network: nn.Module, paths: tuple[Path, ...], config_path: Path, rename: Rename = _keep_name
) -> None:
    """Put the weights in the files into `network`, as float32.

    `rename` takes a key as it is on disk to the parameter's path, or to None if it is no parameter.

    Raises:
        CheckpointError: a file is damaged, or the weights are not those of `network`; names
            `config_path` as what the network was made from.
        OSError: a file cannot be read.
    """
    found = _list_tensors(paths, rename)
    wanted = _parameters(network)
    _check_keys(found, wanted, config_path)

    # arrays from disk are lazy: only the one that is being cast or transposed is held twice
    on_disk = {path: _read_arrays(path) for path in paths}
    weights, broken = [], []
    for key, parameter in wanted.items():
        array = on_disk[found[key].path].pop(found[key].key).astype(mx.float32)
        to_tree, _ = _AXES.get(array.ndim, (None, None))
        if to_tree is not None and parameter.ndim == array.ndim:
            array = mx.contiguous(array.transpose(to_tree))
        array = array.reshape(parameter.shape)
        if not _is_finite(array, found[key].path):
            broken.append(key)
        mx.eval(array)
        weights.append((key, array))
    if broken:
        raise _not_finite(found[broken[0]].path, broken)
    network.load_weights(weights)


def check_weights(
    network: nn.Module, paths: tuple[Path, ...], config_path: Path, rename: Rename = _keep_name
) -> None:
    """Raise what `load_weights` would, but for what only the numbers tell; headers alone are read.

    Raises:
        CheckpointError: a file is damaged, or the weights are not those of `network`.
        OSError: a file cannot be read.
    """
    _check_keys(_list_tensors(paths, rename), _parameters(network), config_path)


def scan_weights(paths: tuple[Path, ...]) -> None:
    """Read every tensor of the files, one at a time, and keep none.

    Raises:
        CheckpointError: a file is damaged, or a weight is NaN or infinite.
        OSError: a file cannot be read.
    """
    for path in paths:
        arrays = _read_arrays(path)
        broken = [key for key in sorted(arrays) if not _is_finite(arrays.pop(key), path)]
        if broken:
            raise _not_finite(path, broken)


def network_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the parameters as diffusers names and lays them out: float32, contiguous, sorted."""
    return {key: _as_on_disk(value) for key, value in sorted(_parameters(network).items())}


def write_tensors(network: nn.Module, path: Path) -> None:
    """Write the parameters into a safetensors file, the bytes that the library would write.

    The library wants all of them at once, in memory and then again as bytes; here one tensor is
    held beside the network, whatever its size.

    Raises:
        OSError: the file cannot be written.
    """
    parameters = sorted(_parameters(network).items())
    # diffusers refuses a file whose metadata does not name the format
    header: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, value in parameters:
        end = offset + 4 * value.size
        shape = _shape_on_disk(value.shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, value in parameters:
            file.write(_as_on_disk(value).astype("<f4", copy=False).data)


def hash_files(paths: tuple[Path, ...]) -> str:
    """Return the SHA-256 of the files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _parameters(network: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(network.parameters()))


def _as_on_disk(value: mx.array) -> np.ndarray:
    array = np.array(value.astype(mx.float32))
    _, to_disk = _AXES.get(array.ndim, (None, None))
    return np.ascontiguousarray(array if to_disk is None else array.transpose(to_disk))


def _shape_on_disk(shape: tuple[int, ...]) -> list[int]:
    _, to_disk = _AXES.get(len(shape), (None, None))
    return list(shape if to_disk is None else (shape[axis] for axis in to_disk))


def _list_tensors(paths: tuple[Path, ...], rename: Rename) -> dict[str, _TensorOnDisk]:
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
            name = rename(entry.key)
            if name is None:
                continue
            if entry.dtype not in _FLOAT_DTYPES:
                raise CheckpointError(
                    f"{path}: {entry.key} is stored as {entry.dtype}, but one of "
                    f"{', '.join(_FLOAT_DTYPES)} is wanted. Save the model again in float32."
                )
            name = _OLD_NAME.sub(lambda match: _OLD_NAMES[match.group()], name)
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
        fitting = {tuple(_shape_on_disk(shape))}
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


def _is_finite(array: mx.array, path: Path) -> bool:
    try:
        return bool(mx.isfinite(array).all().item())
    except RuntimeError as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Fetch the file again.") from error


def _not_finite(path: Path, keys: list[str]) -> CheckpointError:
    return CheckpointError(
        f"{path}: {_list_keys('weights hold NaN or infinity', keys)}. The model was damaged in "
        "training or conversion: fetch it again, or choose another."
    )


def _explain_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    if start == b"version ":
        return "is a Git LFS pointer, not the weights themselves: `git lfs pull` fetches them"
    return "is not a whole safetensors file: fetch it again"
