"""Finding one's way in a diffusers folder: network, settings, scheduler, components. No arrays.

Two layouts exist: a pipeline (model_index.json, unet/, scheduler/), and the flat one of the oldest
models, with all files in the root. A folder with a network alone will do as well. Read by
checkpoint.py and pipeline.py.
"""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError, UnsupportedError
from engine.files import expanded
from engine.models.hub import hub_folder, is_hub_id

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS_NAME = "model.safetensors"  # as transformers calls them
CONFIG_NAME = "config.json"
SCHEDULER_NAME = "scheduler_config.json"

_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_NETWORKS = ("UNet2DModel", "UNet2DConditionModel")
# what may stand beside a network that reads a prompt; the empty kinds are never opened
_COMPANIONS: dict[str, tuple[str, ...]] = {
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "text_encoder_2": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "safety_checker": (),
    "feature_extractor": (),
    "image_encoder": (),
}
_BUNDLED = "bundled:"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Where everything lies; the JSON files are read, the weights only found."""

    path: Path
    config_path: Path
    weight_paths: tuple[Path, ...]
    network_config: dict[str, Any]
    scheduler_config: dict[str, Any]
    model_index: dict[str, Any]


def resolve_model_path(text: str | Path, *, may_fetch: bool = False) -> Path:
    """Return the folder that `text` names.

    A path, `bundled:NAME` for a model of diffopt's own, or a hub's "OWNER/NAME", which is looked
    for in the hub's cache alone unless it `may_fetch`.

    Raises:
        CheckpointError: no bundled model has that name, or the hub's is not to be had.
    """
    name = str(text)
    if is_hub_id(text):
        return hub_folder(name, may_fetch=may_fetch)
    if not name.startswith(_BUNDLED):
        return expanded(text)
    models = Path(str(resources.files("engine"))) / "assets" / "models"
    entries = models.iterdir() if models.is_dir() else ()
    known = sorted(entry.name for entry in entries if entry.is_dir())
    if name.removeprefix(_BUNDLED) not in known:
        listed = ", ".join(_BUNDLED + entry for entry in known) or "none in this installation"
        raise CheckpointError(
            f"{name} is not a bundled model. There are: {listed}. For a folder, give its path."
        )
    return models / name.removeprefix(_BUNDLED)


def find_model(path: Path) -> ModelFolder:
    """Return what lies in the folder `path`.

    Raises:
        CheckpointError: the folder or a file in it is missing, damaged, unsafe or not supported.
        OSError: something in it cannot be read.
    """
    if not path.exists():
        raise CheckpointError(
            f"{path}: there is no such folder. Give the folder of a diffusers model, or the id of "
            "one on the hub, OWNER/NAME."
        )
    if path.is_file() and path.suffix in _PICKLE_SUFFIXES:
        raise CheckpointError(
            f"{path} is a pickle, which can run any code when it is opened. Give the folder of a "
            "diffusers model whose weights are safetensors."
        )
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is a file, but a diffusers folder is wanted: give the folder it lies in."
        )

    index_path = path / "model_index.json"
    model_index = read_json_object(index_path) if index_path.is_file() else {}
    if model_index:
        _check_pipeline(model_index, index_path)

    network = path / "unet" if (path / "unet").is_dir() else path
    config_path = network / CONFIG_NAME
    if not config_path.is_file():
        raise CheckpointError(
            f"{path}: no {CONFIG_NAME} was found here or in unet/, but a diffusers folder is "
            "wanted. Convert a single-file checkpoint first, with diffusers' from_single_file and "
            "save_pretrained."
        )

    scheduler_config = {}
    for scheduler_path in (path / "scheduler" / SCHEDULER_NAME, path / SCHEDULER_NAME):
        if scheduler_path.is_file():
            scheduler_config = read_json_object(scheduler_path)
            break
    return ModelFolder(
        path=path,
        config_path=config_path,
        weight_paths=find_weights(network),
        network_config=read_json_object(config_path),
        scheduler_config=scheduler_config,
        model_index=model_index,
    )


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises:
        CheckpointError: the file is not JSON or does not hold an object.
        OSError: the file cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise CheckpointError(f"{path} is not JSON ({error}). Fetch the file again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a JSON {type(content).__name__}, but an object is wanted. "
            "Fetch the file again."
        )
    return content


def _check_pipeline(model_index: dict[str, Any], source: Path) -> None:
    """Refuse a pipeline that needs more than what is supported."""
    components = {
        name: entry[-1]
        for name, entry in model_index.items()
        if not name.startswith("_") and isinstance(entry, list) and entry and entry[-1] is not None
    }
    pipeline = model_index.get("_class_name", "this pipeline")
    found = components.get("unet")
    if found not in _NETWORKS:
        listed = ", ".join(f"{name}: {kind}" for name, kind in components.items()) or "none"
        raise UnsupportedError(
            f"{source}: {pipeline} is not supported yet. A pipeline whose unet is a "
            f"{' or '.join(_NETWORKS)} is wanted; its components are: {listed}. Choose another "
            "model."
        )
    companions = _COMPANIONS if found == "UNet2DConditionModel" else {}
    if "text_encoder" not in components and "text_encoder_2" not in components:
        companions = {key: kinds for key, kinds in companions.items() if key != "image_encoder"}
    others = [
        f"{name} ({kind})"
        for name, kind in sorted(components.items())
        if name not in ("unet", "scheduler")
        and (name not in companions or (companions[name] and kind not in companions[name]))
    ]
    if others:
        raise UnsupportedError(
            f"{source}: {pipeline} is not supported yet: beside unet and scheduler it needs "
            f"{', '.join(others)}. Choose another model, or give its unet folder alone to work on "
            "bare latents."
        )


def find_weights(folder: Path, weights_name: str = WEIGHTS_NAME) -> tuple[Path, ...]:
    """Return the safetensors files of a component: its one file, or its shards.

    Raises:
        CheckpointError: they are missing, incomplete or pickles.
        OSError: the folder cannot be read.
    """
    stem = weights_name.removesuffix(".safetensors")
    for variant in ("", ".fp16", ".bf16"):  # the full precision first
        path = folder / f"{stem}{variant}.safetensors"
        if path.is_file():
            return (path,)
        path = folder / f"{weights_name}.index{variant}.json"
        if path.is_file():
            return _find_shards(path)

    files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    pickles = [entry.name for entry in files if entry.suffix in _PICKLE_SUFFIXES]
    others = [entry.name for entry in files if entry.suffix == ".safetensors"]
    if pickles:
        raise CheckpointError(
            f"{folder}: the weights are in {pickles[0]}, a pickle, which can run any code when it "
            "is opened. Only safetensors are read. If you trust the file, convert it: load the "
            "model with diffusers and call save_pretrained(FOLDER, safe_serialization=True)."
        )
    if others:
        raise CheckpointError(
            f"{folder}: found {', '.join(others[:5])}, but {weights_name}, its .fp16. or .bf16. "
            f"variant, or a {weights_name}.index.json that names its shards is wanted. Fetch what "
            "is missing, or rename what is there."
        )
    raise CheckpointError(
        f"{folder}: there is no {weights_name} beside {CONFIG_NAME}. Fetch the weights too."
    )


def _find_shards(index_path: Path) -> tuple[Path, ...]:
    weight_map = read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{index_path}: weight_map is {'empty' if weight_map == {} else 'not there'}, but an "
            "object from key to file is wanted. Fetch the file again."
        )
    names = {str(name) for name in weight_map.values()}
    for name in sorted(names):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{index_path}: weight_map names {name!r}, but safetensors files beside the index "
                "are wanted. Fetch the file again."
            )
    missing = sorted(name for name in names if not (index_path.parent / name).is_file())
    if missing:
        raise CheckpointError(
            f"{index_path}: {len(missing)} of {len(names)} shards are missing: "
            f"{', '.join(missing[:5])}. Fetch them into {index_path.parent}."
        )
    return tuple(index_path.parent / name for name in sorted(names))
