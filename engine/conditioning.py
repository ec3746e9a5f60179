"""What a run of a model of latents needs beside its network: size, guidance, embeddings, latents.

Made once and kept in the run's memory, hashed by what they were made from, so that a killed run
does not make them again. A model of pixels passes through untouched.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engine.config import DiffusionOptimizationConfig
from engine.context import RunContext
from engine.errors import CheckpointError, ConfigError, DataError
from engine.files import expanded
from engine.memory import Record
from engine.models.diffusion import DiffusionModel
from engine.models.guidance import UNCONDITIONAL, Condition, Guidance
from engine.models.loading import LoadedModel
from engine.models.pipeline import LatentPipeline
from engine.models.unet_condition import UNet2DConditionModel
from engine.run.events import LogLine
from engine.training.conditions import Conditions, ConditionSets
from engine.training.images import decoded_images, load_images, refuse_unreadable
from engine.training.prompts import captioned_images, load_prompts, split_prompts
from engine.training.spaces import decoder_of

logger = logging.getLogger(__name__)

_NAMED = 3  # images that are told by name
_SCALE, _SCALE_XL = 7.5, 5.0  # diffusers' own defaults


def pipeline_of(original: LoadedModel) -> LatentPipeline | None:
    """Return what stands around the network of a model of latents, None for a model of pixels.

    Raises CheckpointError where a network of prompts stands alone or its parts do not fit.
    """
    if not isinstance(original.checkpoint.network, UNet2DConditionModel):
        return None
    return LatentPipeline(original.checkpoint)


def as_configured(
    original: LoadedModel, pipeline: LatentPipeline | None, config: DiffusionOptimizationConfig
) -> LoadedModel:
    """Return the model under the guidance and at the size that the settings ask for.

    Raises ConfigError where these are asked of a model that has neither.
    """
    guidance, data = config.guidance, config.data
    if pipeline is None:
        for key, value in (("guidance.scale", guidance.scale), ("data.height", data.height),
                           ("data.width", data.width)):  # fmt: skip
            if value is not None:
                raise ConfigError(
                    f"{key} is {value:g}, but {config.model_path} reads no prompts and has one "
                    "size; leave it null."
                )
        return original
    model, reduction = original.model, pipeline.reduction
    size = {"data.height": data.height, "data.width": data.width}
    for key, value in size.items():
        if value is not None and value % reduction:
            raise ConfigError(
                f"{key} is {value}; wanted a multiple of {reduction}, the pixels of a latent."
            )
    height, width, channels = model.sample_shape
    shape = (
        (data.height or height * reduction) // reduction,
        (data.width or width * reduction) // reduction,
        channels,
    )
    network = original.checkpoint.network
    is_xl = isinstance(network, UNet2DConditionModel) and network.config.has_text_time
    scale = guidance.scale or (_SCALE_XL if is_xl else _SCALE)
    led = Guidance(scale, guidance.rescale)
    return replace(original, model=model.with_sample_shape(shape).guided(led))


def picture_size(original: LoadedModel, pipeline: LatentPipeline) -> tuple[int, int]:
    """Return height and width in pixels of the pictures of a model of latents."""
    height, width, _ = original.model.sample_shape
    return height * pipeline.reduction, width * pipeline.reduction


def check_data(
    original: LoadedModel,
    pipeline: LatentPipeline | None,
    config: DiffusionOptimizationConfig,
    *,
    is_thorough: bool = False,
) -> None:
    """Raise DataError or ConfigError if the prompts or images of a run cannot be used.

    A model of latents' images, encoders and autoencoder are looked at by their headers, and read to
    the end only where the check shall be thorough: before a run is made, for it reads them itself.
    """
    if pipeline is not None:
        _prompts(config)
        try:
            pipeline.check(is_thorough=is_thorough)
        except OSError as error:
            raise CheckpointError(f"{error.filename} cannot be read: {error}.") from error
    if config.training.states == "data" and config.data.images is not None:
        if pipeline is None:
            load_images(config.data.images, original.model.sample_shape, original.model.class_count)
        else:
            folder = _images_folder(config)
            captioned = captioned_images(folder, config.data.prompt_column)
            refuse_unreadable([one.path for one in captioned], folder, is_thorough=is_thorough)


def condition_sets(run: RunContext) -> ConditionSets:
    """Return the embeddings of the run's prompts, parted into learned and measured ones.

    Text encoders are let go of afterwards.
    """
    pipeline, config = run.pipeline, run.config
    assert pipeline is not None, "a model of pixels has no prompts"
    parts = split_prompts(_prompts(config), config.data.held_out_share)
    prompts = [*parts.train, *parts.select, *parts.final]
    tables = _embedded(run, "embeddings", prompts)
    whole = Conditions(np.arange(len(prompts), dtype=np.int32), tables)
    first, second = len(parts.train), len(parts.train) + len(parts.select)
    return ConditionSets(whole[:first], whole[first:second], whole[second:])


def data_latents(run: RunContext) -> tuple[np.ndarray, Conditions]:
    """Return latents (n, H, W, C) of the run's captioned images, and the captions' embeddings.

    An image that does not decode is left out and counted; above a tenth the folder is refused.
    """
    pipeline, config = run.pipeline, run.config
    assert pipeline is not None, "a model of pixels learns from pixels"
    folder = _images_folder(config)
    captioned = captioned_images(folder, config.data.prompt_column)
    height, width = picture_size(run.original, pipeline)
    pictures, kept = decoded_images([one.path for one in captioned], (height, width, 3), folder)
    left_out = set(range(len(captioned))) - set(kept)
    tell_left_out(run, [captioned[i].path for i in sorted(left_out)], len(captioned))
    shape, batch_size = run.base_model.sample_shape, max(1, run.hardware.evaluation_batch_size // 8)
    inputs = hashlib.sha256(pictures.tobytes() + _digest_of_files(run, "vae").encode()).hexdigest()
    rows = run.hooks.memory.rows("latents", {"latents": shape}, len(pictures), inputs)
    if rows.done < len(pictures):
        with run.phase("cache") as progress:
            for start in range(rows.done, len(pictures), batch_size):
                part = pictures[start : start + batch_size]
                # a key for each chunk, so that a resumed cache draws what it would have drawn
                key = mx.random.key(config.training.seed * 1_000_003 + start)
                latents = np.array(pipeline.latents(mx.array(part / 2 + 0.5), key))
                _refuse_infinite("latents", latents, [captioned[i].path.name for i in kept], start)
                run.hooks.with_room(partial(rows.append, {"latents": latents}))
                progress(start + len(part), len(pictures))
    captions = [captioned[i].caption for i in kept]
    distinct = list(dict.fromkeys(captions))
    tables = _embedded(run, "caption-embeddings", distinct)
    numbers = {text: i for i, text in enumerate(distinct)}
    taken = np.array([numbers[text] for text in captions], np.int32)
    return rows.arrays()["latents"], Conditions(taken, tables)


def tell_left_out(run: RunContext, left_out: Sequence[Path], count: int) -> None:
    """Say in journal and report which of `count` images cannot be decoded, if any cannot."""
    run.images = {"count": count, "left_out": [path.name for path in left_out]}
    if left_out:
        names = ", ".join(run.images["left_out"][:_NAMED]) + (", ..." if left_out[_NAMED:] else "")
        text = f"{len(left_out)} of {count} images cannot be decoded and are left out ({names})"
        run.hooks.emit(LogLine(level="WARNING", text=f"data.images: {text}"))


def surroundings(run: RunContext) -> dict[str, Callable[..., Any]]:
    """Return what `measure_cost` puts around sampling: encoding prompts, decoding pictures."""
    pipeline = run.pipeline
    if pipeline is None:
        return {}
    size, negative = picture_size(run.original, pipeline), run.config.guidance.negative_prompt
    final = split_prompts(_prompts(run.config), run.config.data.held_out_share).final

    def begin(model: DiffusionModel, count: int) -> Condition:
        prompts = [final[i % len(final)] for i in range(count)]
        is_guided = model.guidance is not None
        return pipeline.condition(prompts, negative or None, size=size, is_guided=is_guided)

    return {"begin": begin, "finish": partial(_decoded, pipeline)}


def _decoded(pipeline: LatentPipeline, latents: mx.array) -> mx.array:
    return mx.array(decoder_of(pipeline)(np.array(latents)))


def _prompts(config: DiffusionOptimizationConfig) -> list[str]:
    data = config.data
    return load_prompts(data.prompts, column=data.prompt_column, count=data.prompt_count)


def _images_folder(config: DiffusionOptimizationConfig) -> Path:
    folder = expanded(config.data.images or "")
    if not folder.is_dir():
        raise DataError(
            f"data.images: {folder} is not a folder; wanted a folder of captioned images."
        )
    return folder


def _embedded(run: RunContext, name: str, prompts: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return a table of (m, ...) for each name that the network reads of m distinct prompts."""
    pipeline, negative = run.pipeline, run.config.guidance.negative_prompt
    assert pipeline is not None
    size = picture_size(run.original, pipeline)
    encoders = _digest_of_files(run, "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    facts = json.dumps([list(prompts), negative, size, encoders])
    inputs = hashlib.sha256(facts.encode()).hexdigest()
    kept = run.recall(name)
    if kept is not None and kept.facts["inputs"] == inputs:
        return kept.tensors
    with run.phase("cache", unit="prompts") as progress:
        condition = pipeline.encode(prompts, size=size)
        led = pipeline.condition(prompts[:1], negative or None, size=size)
        away = {key: value for key, value in led.items() if key.startswith(UNCONDITIONAL)}
        tables = {key: np.array(value) for key, value in (condition | away).items()}
        progress(len(prompts), len(prompts))
    pipeline.release()
    for table in tables.values():
        _refuse_infinite("embedding", table, prompts, 0)
    # The same for every prompt is held once (sizes, and what guidance leads away from).
    tables = {k: v[:1] if (v == v[:1]).all() and len(v) > 1 else v for k, v in tables.items()}
    run.keep(name, Record(tables, {"inputs": inputs}))
    return tables


def _refuse_infinite(what: str, values: np.ndarray, names: Sequence[str], start: int) -> None:
    """Refuse NaN anywhere, in rows of padding too: masked rows reach a network all the same."""
    broken = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    if len(broken):
        name = names[start + broken[0]] if len(values) > 1 or start else names[0]
        raise DataError(
            f"the {what} of {name!r} is not finite. Weights in half precision overflow in some "
            "encoders: give the model's float32 files."
        )


def _digest_of_files(run: RunContext, *folders: str) -> str:
    """Return a hash of the files in some folders of the model."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted((run.original.checkpoint.path / folder).glob("*")):
            if file.is_file():
                digest.update(f"{folder}/{file.name}".encode())
                with file.open("rb") as content:
                    while block := content.read(1 << 24):
                        digest.update(block)
    return digest.hexdigest()
