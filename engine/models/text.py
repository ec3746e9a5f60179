"""CLIP's text encoders, one for Stable Diffusion 1.x and 2.x, two for SDXL. Used by pipeline.py.

Attribute names are those of transformers without the prefix `text_model.`, which some files carry
and others do not: `text_key` takes a key on disk to a path in the tree.
"""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.errors import DataError
from engine.models.config_checks import (
    COUNT,
    POSITIVE,
    Check,
    is_int,
    one_of,
    read_settings,
    refuse,
    refuse_other_kind,
    refuse_unless_default,
)
from engine.models.layers import attend

_PREFIX = "text_model."
# what files hold beside parameters: a table of positions that old releases saved
_NO_PARAMETERS = ("embeddings.position_ids",)
_LEGACY_EOS = 2  # what config.json said for years; the end is then the token of the highest id


@dataclass(frozen=True, slots=True)
class CLIPTextConfig:
    """What a CLIP text encoder is made of; names and defaults of transformers' CLIPTextConfig."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, source: str) -> "CLIPTextConfig":
        """Return the settings in `config`; `source` is the file that errors name.

        Raises:
            CheckpointError: a value is of the wrong type, not supported, or contradicts another.
        """
        others = "Other text encoders are not supported"
        refuse_other_kind(config, "clip_text_model", key="model_type", source=source, others=others)
        refuse_unless_default(config, {"use_attention_mask": False}, source=source)
        settings = read_settings(cls, config, _CHECKS, nullable=frozenset(), source=source)
        if settings.hidden_size % settings.num_attention_heads:
            wanted = f"a divisor of hidden_size, {settings.hidden_size},"
            refuse(source, "num_attention_heads", settings.num_attention_heads, wanted)
        return settings


_CHECKS: dict[str, Check] = {
    "vocab_size": COUNT,
    "hidden_size": COUNT,
    "intermediate_size": COUNT,
    "projection_dim": COUNT,
    "num_hidden_layers": COUNT,
    "num_attention_heads": COUNT,
    "max_position_embeddings": COUNT,
    "hidden_act": one_of("quick_gelu", "gelu"),
    "layer_norm_eps": POSITIVE,
    "eos_token_id": (lambda value: is_int(value) and value >= 0, "a token's number"),
}


@dataclass(frozen=True, slots=True)
class EncodedText:
    """What an encoder makes of N prompts of L tokens.

    `last` (N, L, hidden) is normalised at the end; `penultimate` (N, L, hidden) is what the last
    layer reads, not normalised; `pooled` is `last` at the prompt's end, (N, hidden), or its
    projection (N, projection_dim) in an encoder with one.
    """

    last: mx.array
    penultimate: mx.array
    pooled: mx.array


class CLIPTextModel(nn.Module):
    """A causal transformer over the tokens of a prompt."""

    def __init__(self, config: CLIPTextConfig, *, has_projection: bool = False) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.text_projection = None
        if has_projection:
            self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def __call__(self, ids: mx.array) -> EncodedText:
        """Return what the prompts mean; `ids` are whole numbers (N, L).

        Raises:
            DataError: there are more tokens than positions.
        """
        positions = self.config.max_position_embeddings
        if ids.ndim != 2 or ids.shape[1] > positions:
            raise DataError(
                f"Token ids have shape {ids.shape}, but (N, L) with L at most {positions} is "
                "wanted. Use the tokenizer of the same model."
            )
        x = self.embeddings(ids)
        penultimate = x
        for layer in self.encoder.layers:
            penultimate, x = x, layer(x)
        last = self.final_layer_norm(x)

        is_end = ids if self.config.eos_token_id == _LEGACY_EOS else ids == self.config.eos_token_id
        end = mx.argmax(is_end, axis=1)  # the first of several
        pooled = mx.take_along_axis(last, end[:, None, None], axis=1)[:, 0]
        if self.text_projection is not None:
            pooled = self.text_projection(pooled)
        return EncodedText(last, penultimate, pooled)


class _Embeddings(nn.Module):
    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def __call__(self, ids: mx.array) -> mx.array:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class _Encoder(nn.Module):
    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layers = [_Layer(config) for _ in range(config.num_hidden_layers)]


class _Layer(nn.Module):
    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = _SelfAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _MLP(config)

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _SelfAttention(nn.Module):
    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self._heads = config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def __call__(self, x: mx.array) -> mx.array:
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return self.out_proj(attend(query, key, value, heads=self._heads, mask="causal"))


class _MLP(nn.Module):
    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self._is_quick = config.hidden_act == "quick_gelu"
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.fc1(x)
        return self.fc2(x * mx.sigmoid(1.702 * x) if self._is_quick else nn.gelu(x))


def text_key(key: str, *, has_projection: bool) -> str | None:
    """Return the path in a CLIPTextModel of a key on disk, or None for what is no parameter."""
    key = key.removeprefix(_PREFIX)
    if key in _NO_PARAMETERS or (key == "text_projection.weight" and not has_projection):
        return None
    return key
