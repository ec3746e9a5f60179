"""A student as a diffusers folder, as a network alone, or as adapters; with manifest and card.

A folder of a pipeline is complete: what stands beside the network (text encoders, autoencoder,
tokenizers) is that of the original, byte for byte. See schedulers.py for how the grid gets in.
"""

import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import mlx.nn as nn

import engine
from engine.errors import ConfigError
from engine.export.card import model_card
from engine.export.schedulers import (
    can_be_listed,
    listed_timesteps,
    own_schedule,
    takes_timesteps,
    with_time_table,
)
from engine.export.variant import ordinary_name, variant_of
from engine.files import replacing_folder, write_json, write_text
from engine.models.checkpoint import save_network
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel
from engine.models.lora import fuse, has_adapters
from engine.models.lora_files import save_lora
from engine.models.precision import widened

Format = Literal["diffusers", "unet", "lora"]
FORMATS: tuple[Format, ...] = ("diffusers", "unet", "lora")
MANIFEST = "diffopt_manifest.json"
NOT_CERTIFIED = "not certified"
_SOFTWARE = ("mlx", "numpy", "safetensors")
_LINKED_BYTES = 1 << 20  # larger files of the original are linked, not copied, where that works


def export_student(
    student: DiffusionModel,
    original: LoadedModel,
    folder: Path,
    facts: dict[str, Any],
    what: Format = "diffusers",
    check: Callable[[], None] | None = None,
) -> Path:
    """Write `student` to `folder` (replaced whole or not at all) and return it.

    "diffusers" is a complete pipeline (where the original was one), "unet" the network and its
    scheduler, "lora" the adapters and the scheduler. `facts` go into the manifest and the card:
    what is known of the run (score, bound, original steps...). `check` is called right before the
    export takes the place of `folder`, to refuse by raising what has come there meanwhile.

    Raises:
        ConfigError: the student cannot be written in this form.
    """
    check_exportable(student, original, what, is_adapted=has_adapters(student.network))
    with replacing_folder(folder, check) as temporary:
        is_listed = takes_timesteps(original) and can_be_listed(
            student.grid, student.schedule, original
        )
        scheduler = listed_timesteps(student, original) if is_listed else own_schedule(student)
        if what == "lora":
            save_lora(student.network, temporary)
        else:
            network, config = plain_network(student), dict(original.checkpoint.network_config)
            if not is_listed:
                network, config = with_time_table(student, original, network)
            save_network(network, temporary / "unet", config)
        (temporary / "scheduler").mkdir()
        write_json(temporary / "scheduler" / "scheduler_config.json", scheduler)
        if what == "diffusers":
            companions = copy_companions(original, temporary)
            index = _model_index(original, scheduler["_class_name"], companions)
            write_json(temporary / "model_index.json", index)
        card = model_card(student, original, scheduler["_class_name"], facts, what)
        write_text(temporary / "README.md", card)
        write_json(temporary / MANIFEST, _manifest(student, original, temporary, facts, what))
    return folder


def check_exportable(
    student: DiffusionModel, original: LoadedModel, what: Format, *, is_adapted: bool
) -> None:
    """Raise ConfigError if stock diffusers could not be told how to sample `student`.

    Before a run, to be asked of the original: a student's grid is part of its own.
    """
    if what == "lora":
        if not is_adapted:
            raise ConfigError(
                "format lora: this student has no adapters, for all of its weights were trained. "
                "Choose diffusers or unet, or train with lora.enabled."
            )
        if original.checkpoint.family != "unet2d_condition":
            raise ConfigError(
                "format lora: diffusers puts adapters on networks that read prompts alone. Choose "
                "diffusers or unet, which make the adapters part of the weights."
            )
    if original.checkpoint.family == "unet2d_condition" and not can_be_listed(
        student.grid, student.schedule, original
    ):
        raise ConfigError(
            f"the grid {student.grid.name!r} visits levels between the trained timesteps, which "
            "pipelines that read prompts cannot be told. Choose original.sampler ddim or another "
            "original.spacing."
        )


def plain_network(student: DiffusionModel) -> nn.Module:
    """Return the student's network in float32, its adapters, if any, made part of the weights."""
    return widened(fuse(student.network)) if has_adapters(student.network) else student.network


def copy_companions(original: LoadedModel, folder: Path) -> list[str]:
    """Copy what stands beside the network in the original's folder, and return the names.

    Large files are hard links where the disk allows it: the same bytes, no second time. Where
    there is a half-precision variant alone, it gets the ordinary name.
    """
    names = [
        name
        for name, entry in original.checkpoint.model_index.items()
        if name not in ("unet", "scheduler")
        and isinstance(entry, list)
        and entry[-1] is not None
        and (original.checkpoint.path / name).is_dir()
    ]
    for name in names:
        source, target = original.checkpoint.path / name, folder / name
        shutil.copytree(source, target, copy_function=_linked_or_copied)
        if variant := variant_of(target):
            for path in target.iterdir():
                path.rename(target / ordinary_name(path.name, variant))
    return names


def _linked_or_copied(source: str, target: str) -> str:
    path = Path(source).resolve()  # a cache of the hub holds links to its blobs
    if path.stat().st_size >= _LINKED_BYTES:
        try:
            os.link(path, target)
            return target
        except OSError:  # another disk, or one without links
            pass
    shutil.copyfile(path, target)
    return target


def _model_index(
    original: LoadedModel, scheduler_class: str, companions: list[str]
) -> dict[str, Any]:
    kind = type(original.checkpoint.network).__name__
    index = {"_class_name": "DDIMPipeline", "unet": ["diffusers", kind]}
    index |= original.checkpoint.model_index
    if original.checkpoint.family == "unet2d_condition":
        # a component that the original names and does not have stays unnamed here too
        lost = [
            name
            for name, entry in index.items()
            if isinstance(entry, list) and name not in ("unet", "scheduler", *companions)
        ]
        index |= {name: [None, None] for name in lost}
    elif scheduler_class == "DDIMScheduler":
        index["_class_name"] = "DDIMPipeline"
    return index | {"scheduler": ["diffusers", scheduler_class]}


def _manifest(
    student: DiffusionModel,
    original: LoadedModel,
    folder: Path,
    facts: dict[str, Any],
    what: Format,
) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": 1,
        "what": what,
        "written_by": f"diffopt {engine.__version__}",
        "timesteps": list(student.grid.timesteps),
        "alphas": list(student.grid.alphas),
        "sigmas": list(student.grid.sigmas),
        "grid": student.grid.name,
        "solver": "ddim",
        "prediction_type": student.prediction_type,
        "guidance": None,
        "certified": NOT_CERTIFIED,
        "base_weights_sha256": original.checkpoint.weights_sha256,
        "sha256": {str(path.relative_to(folder)): _sha256(path) for path in files},
        "software": {"python": platform.python_version()}
        | {name: _version(name) for name in _SOFTWARE},
        **facts,
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
