"""The settings of an unconditional or class-conditional UNet, checked. No arrays; read by unet.py.

Names, defaults and meanings are those of diffusers' UNet2DModel and its config.json. What would
change the network and is not supported is refused by key; keys that UNet2DModel does not know are
left alone. Not supported are the variance-exploding networks (Skip blocks, fourier embedding),
whose time is a noise level of a kind that no schedule here has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, NoReturn, TypeGuard

from engine.errors import CheckpointError
from engine.models.layers import ACTIVATIONS

DOWN_BLOCK_TYPES = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
UP_BLOCK_TYPES = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")
_MOST = 1_000_000  # of channels, classes or timesteps: more is a slip, and could overflow a shape


@dataclass(frozen=True, slots=True)
class UNet2DConfig:
    """What a UNet2DModel is made of.

    None has a meaning of its own in places: `attention_head_dim` (one head), `mid_block_type` (no
    middle), `attn_norm_num_groups` (see MidBlock), `class_embed_type` (then `num_class_embeds`
    decides; None in both is no classes) and `time_embedding_dim` (four times the first level's
    channels). `dropout` is accepted and never applied: distillation wants the teacher as it answers
    when it samples.
    """

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False
    time_embedding_type: str = "positional"
    time_embedding_dim: int | None = None
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = ("DownBlock2D", *("AttnDownBlock2D",) * 3)
    mid_block_type: str | None = "UNetMidBlock2D"
    up_block_types: tuple[str, ...] = (*("AttnUpBlock2D",) * 3, "UpBlock2D")
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1
    downsample_padding: int = 1
    downsample_type: str = "conv"
    upsample_type: str = "conv"
    dropout: float = 0.0
    act_fn: str = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"
    add_attention: bool = True
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    num_train_timesteps: int | None = None

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, source: str) -> "UNet2DConfig":
        """Return the settings in `config`; `source` is the file that errors name.

        An absent key, or null where None has no meaning of its own, is diffusers' default.

        Raises:
            CheckpointError: a value is of the wrong type, not supported, or contradicts another.
        """
        class_name = config.get("_class_name", "UNet2DModel")
        if class_name != "UNet2DModel":
            remedy = "Other networks are not supported yet: choose another model."
            _refuse(source, "_class_name", class_name, "UNet2DModel", remedy)

        settings = {}
        for field in fields(cls):
            if field.name not in config:
                continue
            value = config[field.name]
            if value is None and field.name not in _NULLABLE:
                continue
            is_right, wanted = _CHECKS[field.name]
            if value is not None and not is_right(value):
                _refuse(source, field.name, value, wanted)
            settings[field.name] = tuple(value) if _is_list(value) else value
        for key in ("down_block_types", "up_block_types"):
            if key in settings:  # a prefix that early releases wrote
                settings[key] = tuple(name.removeprefix("UNetRes") for name in settings[key])

        checked = cls(**settings)
        _check_together(checked, source)
        return checked

    @property
    def embed_dim(self) -> int:
        """The width of the time embedding that every residual block reads."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def is_class_conditional(self) -> bool:
        """Whether the network must be given `class_labels`."""
        return self.class_embed_type is not None or self.num_class_embeds is not None


def _refuse(
    source: str, key: str, found: object, wanted: str, remedy: str = "Correct the file."
) -> NoReturn:
    raise CheckpointError(f"{source}: {key} is {found!r}, but {wanted} is wanted. {remedy}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_int(value) and 1 <= value <= _MOST


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _is_size(value: object) -> bool:
    return _is_count(value) or (
        _is_list(value) and len(value) == 2 and all(_is_count(side) for side in value)
    )


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in names), f"one of {', '.join(names)} (others are not supported)"


def _list_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    def is_right(value: Any) -> bool:
        return _is_list(value) and all(
            isinstance(name, str) and name.removeprefix("UNetRes") in names for name in value
        )

    return is_right, f"a list of {', '.join(names)} (others are not supported)"


_COUNT = (_is_count, f"a whole number from 1 to {_MOST}")
_NUMBER = (_is_number, "a number")
_POSITIVE = (lambda value: _is_number(value) and value > 0, "a number above 0")
_FLAG = (lambda value: isinstance(value, bool), "true or false")

_NULLABLE = frozenset(
    {
        "sample_size",
        "time_embedding_dim",
        "mid_block_type",
        "attention_head_dim",
        "attn_norm_num_groups",
        "class_embed_type",
        "num_class_embeds",
        "num_train_timesteps",
    }
)
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "sample_size": (_is_size, "a whole number, or a list of height and width"),
    "in_channels": _COUNT,
    "out_channels": _COUNT,
    "center_input_sample": _FLAG,
    "time_embedding_type": _one_of("positional", "learned"),
    "time_embedding_dim": _COUNT,
    "freq_shift": _NUMBER,
    "flip_sin_to_cos": _FLAG,
    "down_block_types": _list_of(*DOWN_BLOCK_TYPES),
    "mid_block_type": _one_of("UNetMidBlock2D"),
    "up_block_types": _list_of(*UP_BLOCK_TYPES),
    "block_out_channels": (
        lambda value: _is_list(value) and len(value) > 0 and all(map(_is_count, value)),
        f"a list of whole numbers from 1 to {_MOST}",
    ),
    "layers_per_block": _COUNT,
    "mid_block_scale_factor": _POSITIVE,
    "downsample_padding": (lambda value: _is_int(value) and value in (0, 1), "0 or 1"),
    "downsample_type": _one_of("conv", "resnet"),
    "upsample_type": _one_of("conv", "resnet"),
    "dropout": (lambda value: _is_number(value) and 0 <= value < 1, "a number from 0 up to 1"),
    "act_fn": _one_of(*ACTIVATIONS),
    "attention_head_dim": _COUNT,
    "norm_num_groups": _COUNT,
    "attn_norm_num_groups": _COUNT,
    "norm_eps": _POSITIVE,
    "resnet_time_scale_shift": _one_of("default", "scale_shift"),
    "add_attention": _FLAG,
    "class_embed_type": _one_of("timestep", "identity"),
    "num_class_embeds": _COUNT,
    "num_train_timesteps": _COUNT,
}


def _check_together(config: UNet2DConfig, source: str) -> None:
    """Refuse settings that are right alone and wrong together."""
    levels = len(config.block_out_channels)
    for key in ("down_block_types", "up_block_types"):
        found = getattr(config, key)
        if len(found) != levels:
            _refuse(source, key, found, f"one entry for each of the {levels} block_out_channels")

    for channels in config.block_out_channels:
        if channels % config.norm_num_groups:
            wanted = f"a divisor of all block_out_channels, {list(config.block_out_channels)},"
            _refuse(source, "norm_num_groups", config.norm_num_groups, wanted)
    if config.attn_norm_num_groups and config.block_out_channels[-1] % config.attn_norm_num_groups:
        wanted = f"a divisor of the last of block_out_channels, {config.block_out_channels[-1]},"
        _refuse(source, "attn_norm_num_groups", config.attn_norm_num_groups, wanted)

    down, up = config.down_block_types, config.up_block_types[::-1]
    attended = [
        channels
        for level, channels in enumerate(config.block_out_channels)
        if "Attn" in down[level] or "Attn" in up[level]
    ]
    if config.mid_block_type is not None and config.add_attention:
        attended.append(config.block_out_channels[-1])
    if config.attention_head_dim and attended and config.attention_head_dim > min(attended):
        wanted = f"at most the {min(attended)} channels of the narrowest level with attention"
        _refuse(source, "attention_head_dim", config.attention_head_dim, wanted)

    half = config.block_out_channels[0] // 2
    if config.time_embedding_type == "positional" and half <= config.freq_shift:
        wanted = f"a number below {half}, half the first of block_out_channels,"
        _refuse(source, "freq_shift", config.freq_shift, wanted)
    if config.time_embedding_type == "learned" and config.num_train_timesteps is None:
        wanted = 'the number of rows of the learned table (time_embedding_type is "learned")'
        _refuse(source, "num_train_timesteps", None, wanted)
