"""The settings of an unconditional or class-conditional UNet, checked. No arrays; read by unet.py.

Names, defaults and meanings are those of diffusers' UNet2DModel and its config.json. What would
change the network and is not supported is refused by key; keys that UNet2DModel does not know are
left alone. Not supported are the variance-exploding networks (Skip blocks, fourier embedding),
whose time is a noise level of a kind that no schedule here has.
"""

from dataclasses import dataclass, replace
from typing import Any

from engine.models.config_checks import (
    COUNT,
    COUNTS,
    FLAG,
    NUMBER,
    POSITIVE,
    SHARE,
    SIZE,
    Check,
    LabelledUNet,
    check_groups,
    check_levels,
    is_int,
    list_of,
    one_of,
    read_settings,
    refuse,
    refuse_other_kind,
)
from engine.models.layers import ACTIVATIONS

DOWN_BLOCK_TYPES = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
UP_BLOCK_TYPES = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")
_OLD_PREFIX = "UNetRes"  # of block types, in early releases


@dataclass(frozen=True, slots=True)
class UNet2DConfig(LabelledUNet):
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
        others = "Other networks are not supported yet"
        refuse_other_kind(config, "UNet2DModel", source=source, others=others)
        settings = read_settings(cls, config, _CHECKS, nullable=_NULLABLE, source=source)
        settings = replace(
            settings,
            down_block_types=_without_prefix(settings.down_block_types),
            up_block_types=_without_prefix(settings.up_block_types),
        )
        _check_together(settings, source)
        return settings

    @property
    def label_width(self) -> int | None:
        """The numbers in one label; None is one number for a sample."""
        return self.embed_dim if self.class_embed_type == "identity" else None


def _without_prefix(block_types: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.removeprefix(_OLD_PREFIX) for name in block_types)


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
_CHECKS: dict[str, Check] = {
    "sample_size": SIZE,
    "in_channels": COUNT,
    "out_channels": COUNT,
    "center_input_sample": FLAG,
    "time_embedding_type": one_of("positional", "learned"),
    "time_embedding_dim": COUNT,
    "freq_shift": NUMBER,
    "flip_sin_to_cos": FLAG,
    "down_block_types": list_of(*DOWN_BLOCK_TYPES, prefix=_OLD_PREFIX),
    "mid_block_type": one_of("UNetMidBlock2D"),
    "up_block_types": list_of(*UP_BLOCK_TYPES, prefix=_OLD_PREFIX),
    "block_out_channels": COUNTS,
    "layers_per_block": COUNT,
    "mid_block_scale_factor": POSITIVE,
    "downsample_padding": (lambda value: is_int(value) and value in (0, 1), "0 or 1"),
    "downsample_type": one_of("conv", "resnet"),
    "upsample_type": one_of("conv", "resnet"),
    "dropout": SHARE,
    "act_fn": one_of(*ACTIVATIONS),
    "attention_head_dim": COUNT,
    "norm_num_groups": COUNT,
    "attn_norm_num_groups": COUNT,
    "norm_eps": POSITIVE,
    "resnet_time_scale_shift": one_of("default", "scale_shift"),
    "add_attention": FLAG,
    "class_embed_type": one_of("timestep", "identity"),
    "num_class_embeds": COUNT,
    "num_train_timesteps": COUNT,
}


def _check_together(config: UNet2DConfig, source: str) -> None:
    """Refuse settings that are right alone and wrong together."""
    check_levels(config, source=source)
    check_groups(config, source=source)
    if config.attn_norm_num_groups and config.block_out_channels[-1] % config.attn_norm_num_groups:
        wanted = f"a divisor of the last of block_out_channels, {config.block_out_channels[-1]},"
        refuse(source, "attn_norm_num_groups", config.attn_norm_num_groups, wanted)

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
        refuse(source, "attention_head_dim", config.attention_head_dim, wanted)

    half = config.block_out_channels[0] // 2
    if config.time_embedding_type == "positional" and half <= config.freq_shift:
        wanted = f"a number below {half}, half the first of block_out_channels,"
        refuse(source, "freq_shift", config.freq_shift, wanted)
    if config.time_embedding_type == "learned" and config.num_train_timesteps is None:
        wanted = 'the number of rows of the learned table (time_embedding_type is "learned")'
        refuse(source, "num_train_timesteps", None, wanted)
