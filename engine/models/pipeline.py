"""What stands around a latent network in a pipeline folder: prompts in, pictures out.

Not the network and not the sampler: those are a DiffusionModel, which reads the conditions made
here. Text encoders and the autoencoder are loaded when they are first needed and can be let go
again, so that a network trains without them in memory.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import mlx.nn as nn

from engine.errors import CheckpointError, DataError, UnsupportedError
from engine.models.autoencoder import AutoencoderConfig, AutoencoderKL
from engine.models.checkpoint import Checkpoint
from engine.models.folder import CONFIG_NAME, TEXT_WEIGHTS_NAME, find_weights, read_json_object
from engine.models.guidance import UNCONDITIONAL, Condition
from engine.models.layers import SinusoidalEmbedding
from engine.models.text import CLIPTextConfig, CLIPTextModel, text_key
from engine.models.tokenizer import CLIPTokenizer
from engine.models.unet_condition import UNet2DConditionModel
from engine.models.weights import Rename, check_weights, load_weights, scan_weights

_log = logging.getLogger(__name__)
_ENCODERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
_PROMPTS_AT_ONCE = 16
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class _EncoderPlan:
    """A text encoder that is not loaded yet."""

    folder: Path
    tokenizer_folder: Path
    config: CLIPTextConfig
    has_projection: bool


class LatentPipeline:
    """The text encoders and the autoencoder of a pipeline folder, loaded when needed.

    `reduction` is how many pixels a latent stands for along each side.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Find the components beside the checkpoint's network; weights are not read yet.

        Raises:
            CheckpointError: a component is missing, not supported, or not made for this network.
            OSError: a file cannot be read.
        """
        assert isinstance(checkpoint.network, UNet2DConditionModel)
        self._network_config = checkpoint.network.config
        self._index = checkpoint.model_index
        self._index_path = checkpoint.path / "model_index.json"
        components = [name for name in _ENCODERS if self._has(name)]
        self._plans = [self._plan_encoder(checkpoint.path, name) for name in components]
        self._autoencoder_folder = self._folder(checkpoint.path, "vae")
        config_path = _config_path(self._autoencoder_folder)
        self.autoencoder_config = AutoencoderConfig.from_dict(
            read_json_object(config_path), source=str(config_path)
        )
        self._check_fit()
        self._encoders: list[tuple[CLIPTokenizer, CLIPTextModel]] | None = None
        self._autoencoder: AutoencoderKL | None = None

    @property
    def reduction(self) -> int:
        """How many pixels a latent stands for along each side."""
        return self.autoencoder_config.reduction

    @property
    def _is_xl(self) -> bool:
        return self._network_config.has_text_time

    def condition(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str] | str | None = None,
        *,
        size: tuple[int, int],
        is_guided: bool = True,
        told_guidance: float | None = None,
    ) -> Condition:
        """Return the condition of one sample for each prompt, with what guidance leads away from.

        Args:
            prompts: what to see.
            negative_prompts: what not to see: one for each prompt, or one for all. None is the
                empty prompt; where the pipeline says so (SDXL), it is zeros instead.
            size: height and width of the pictures in pixels.
            is_guided: without it there is no unconditional part.
            told_guidance: the scale that a network is told instead of being led by it, if it has
                an embedding for that (time_cond_proj_dim), as students with one do.

        Raises:
            CheckpointError: a text encoder or tokenizer is damaged or does not fit.
            DataError: a prompt cannot be encoded, or the numbers of prompts differ.
            OSError: a file cannot be read.
        """
        condition = self.encode(prompts, size=size)
        width = self._network_config.time_cond_proj_dim
        if told_guidance is not None and width is not None:
            condition["timestep_cond"] = guidance_embedding(told_guidance, width, len(prompts))
        if not is_guided:
            return condition
        if isinstance(negative_prompts, str):
            negative_prompts = [negative_prompts] * len(prompts)
        if negative_prompts is not None and len(negative_prompts) != len(prompts):
            raise DataError(
                f"There are {len(negative_prompts)} negative prompts for {len(prompts)} prompts: "
                "give one for each, or one for all."
            )
        negative = self.encode(negative_prompts or [""] * len(prompts), size=size)
        if negative_prompts is None and self._is_xl and self._zeroes_empty_prompt:
            for name in ("encoder_hidden_states", "text_embeds"):
                negative[name] = mx.zeros_like(negative[name])
        return condition | {UNCONDITIONAL + name: value for name, value in negative.items()}

    def encode(self, prompts: Sequence[str], *, size: tuple[int, int]) -> Condition:
        """Return what the network reads of each prompt, a row for each; see `condition`."""
        encoded: dict[str, Condition] = {}
        distinct = list(dict.fromkeys(prompts))
        for start in range(0, len(distinct), _PROMPTS_AT_ONCE):
            chunk = distinct[start : start + _PROMPTS_AT_ONCE]
            rows = self._encode(chunk)
            mx.eval(rows)
            for index, prompt in enumerate(chunk):
                encoded[prompt] = {name: value[index] for name, value in rows.items()}
        names = next(iter(encoded.values())).keys() if encoded else ()
        condition = {name: mx.stack([encoded[p][name] for p in prompts]) for name in names}
        if self._is_xl:  # sizes of the original, of the crop's corner, and wanted
            sizes = mx.array([*size, 0, 0, *size], mx.float32)
            condition["time_ids"] = mx.broadcast_to(sizes, (len(prompts), 6))
        return condition

    def pictures(self, latents: mx.array) -> mx.array:
        """Return pictures (B, H, W, 3) in [0, 1] of latents as the network makes them."""
        return self._load_autoencoder().pictures_of(latents)

    def latents(self, pictures: mx.array, key: mx.array | None = None) -> mx.array:
        """Return latents as the network sees them, of pictures in [0, 1]; see `latents_of`."""
        return self._load_autoencoder().latents_of(pictures, key)

    def check(self, *, is_thorough: bool = False) -> None:
        """Read tokenizers, and the headers of encoders' and autoencoder's weights; keep nothing.

        The weights themselves are read only where the check shall be thorough.

        Raises:
            CheckpointError: one of them is damaged or does not fit.
            OSError: a file cannot be read.
        """
        for plan in self._plans:
            _load_tokenizer(plan)
            encoder, rename = _bare_encoder(plan)
            weights = find_weights(plan.folder, TEXT_WEIGHTS_NAME)
            check_weights(encoder, weights, plan.folder / CONFIG_NAME, rename)
        folder = self._autoencoder_folder
        autoencoder = AutoencoderKL(self.autoencoder_config)
        check_weights(autoencoder, find_weights(folder), folder / CONFIG_NAME)
        if is_thorough:
            for plan in self._plans:
                scan_weights(find_weights(plan.folder, TEXT_WEIGHTS_NAME))
            scan_weights(find_weights(folder))

    def release(self) -> None:
        """Let go of text encoders and autoencoder; they are loaded again when needed."""
        self._encoders = self._autoencoder = None
        mx.clear_cache()

    @property
    def _zeroes_empty_prompt(self) -> bool:
        return self._index.get("force_zeros_for_empty_prompt", True) is not False

    def _encode(self, prompts: list[str]) -> Condition:
        outputs = []
        for tokenizer, encoder in self._load_encoders():
            for prompt in prompts:
                if dropped := tokenizer.dropped(prompt):
                    _log.warning("%d tokens at the end of a prompt are cut: %r", dropped, prompt)
            outputs.append(encoder(mx.array(tokenizer(prompts))))
        if not self._is_xl:
            return {"encoder_hidden_states": outputs[0].last}
        states = mx.concatenate([output.penultimate for output in outputs], axis=-1)
        return {"encoder_hidden_states": states, "text_embeds": outputs[-1].pooled}

    def _load_encoders(self) -> list[tuple[CLIPTokenizer, CLIPTextModel]]:
        if self._encoders is None:
            self._encoders = [_load_encoder(plan) for plan in self._plans]
        return self._encoders

    def _load_autoencoder(self) -> AutoencoderKL:
        if self._autoencoder is None:
            folder = self._autoencoder_folder
            autoencoder = AutoencoderKL(self.autoencoder_config)
            load_weights(autoencoder, find_weights(folder), folder / CONFIG_NAME)
            self._autoencoder = _frozen(autoencoder)
        return self._autoencoder

    def _has(self, component: str) -> bool:
        entry = self._index.get(component)
        return isinstance(entry, list) and bool(entry) and entry[-1] is not None

    def _folder(self, root: Path, component: str) -> Path:
        if not self._has(component):
            raise CheckpointError(
                f"{self._index_path} names no {component}, but prompts and pictures need one. Give "
                "a whole pipeline folder."
            )
        if not (root / component).is_dir():
            raise CheckpointError(
                f"{root}: there is no folder {component}, which model_index.json names. Fetch it."
            )
        return root / component

    def _plan_encoder(self, root: Path, name: str) -> _EncoderPlan:
        folder = self._folder(root, name)
        config_path = _config_path(folder)
        config = CLIPTextConfig.from_dict(read_json_object(config_path), source=str(config_path))
        has_projection = self._index[name][-1] == "CLIPTextModelWithProjection"
        tokenizer_folder = self._folder(root, _ENCODERS[name])
        return _EncoderPlan(folder, tokenizer_folder, config, has_projection)

    def _check_fit(self) -> None:
        """Refuse encoders that do not make what the network reads."""
        config, source = self._network_config, self._index_path
        if not self._plans:
            raise CheckpointError(
                f"{source} names no text_encoder, but prompts need one. Give a whole pipeline "
                "folder, or conditions that were computed elsewhere."
            )
        plans = self._plans if self._is_xl else self._plans[:1]
        widths = [plan.config.hidden_size for plan in plans]
        if sum(widths) != config.context_dim:
            raise CheckpointError(
                f"{source}: the text encoders make {' + '.join(map(str, widths))} numbers for each "
                f"token, but the unet reads {config.context_dim} (cross_attention_dim). Use the "
                "components of one and the same model."
            )
        if self._is_xl:
            if self._index.get("requires_aesthetics_score"):
                raise UnsupportedError(
                    f"{source}: requires_aesthetics_score is true, but false is wanted: refiners "
                    "are not supported. Choose the base model."
                )
            last = plans[-1]
            pooled = last.config.projection_dim if last.has_projection else last.config.hidden_size
            found = pooled + 6 * (config.addition_time_embed_dim or 0)
            if found != config.projection_class_embeddings_input_dim:
                raise CheckpointError(
                    f"{source}: prompt and sizes make {found} numbers, but the unet reads "
                    f"{config.projection_class_embeddings_input_dim} "
                    "(projection_class_embeddings_input_dim). Use the components of one and the "
                    "same model."
                )
        if self.autoencoder_config.latent_channels != config.in_channels:
            raise CheckpointError(
                f"{source}: the vae makes {self.autoencoder_config.latent_channels} channels, but "
                f"the unet reads {config.in_channels}. Use the components of one and the same "
                "model."
            )


def _config_path(folder: Path) -> Path:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder}: there is no {CONFIG_NAME}. Fetch the folder again.")
    return path


def guidance_embedding(scale: float, width: int, count: int) -> mx.array:
    """Return what a network is told of a guidance scale, (count, width): 1000 w, w = scale - 1.

    sin and cos of it, as a timestep's (Meng et al. 2023).
    """
    embed = SinusoidalEmbedding(width, flip_sin_to_cos=False, freq_shift=1)
    return embed(mx.full((count,), 1000.0 * (scale - 1.0)))


def _load_tokenizer(plan: _EncoderPlan) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer(plan.tokenizer_folder)
    if tokenizer.highest_id >= plan.config.vocab_size:
        raise CheckpointError(
            f"{plan.tokenizer_folder}: the tokenizer has ids up to {tokenizer.highest_id}, but "
            f"{plan.folder.name} knows {plan.config.vocab_size} tokens (vocab_size). Use the "
            "tokenizer of the same model."
        )
    if tokenizer.max_length > plan.config.max_position_embeddings:
        raise CheckpointError(
            f"{plan.tokenizer_folder}: model_max_length is {tokenizer.max_length}, but "
            f"{plan.folder.name} has {plan.config.max_position_embeddings} positions. Use the "
            "tokenizer of the same model."
        )
    return tokenizer


def _bare_encoder(plan: _EncoderPlan) -> tuple[CLIPTextModel, Rename]:
    """Return an encoder without its weights, and how these are called on the disk."""
    encoder = CLIPTextModel(plan.config, has_projection=plan.has_projection)
    return encoder, partial(text_key, has_projection=plan.has_projection)


def _load_encoder(plan: _EncoderPlan) -> tuple[CLIPTokenizer, CLIPTextModel]:
    tokenizer, (encoder, rename) = _load_tokenizer(plan), _bare_encoder(plan)
    weights = find_weights(plan.folder, TEXT_WEIGHTS_NAME)
    load_weights(encoder, weights, plan.folder / CONFIG_NAME, rename)
    return tokenizer, _frozen(encoder)


def _frozen(component: _Module) -> _Module:
    component.freeze()
    return component
