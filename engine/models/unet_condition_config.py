"""The settings of a UNet that reads a prompt, checked. No arrays; read by unet_condition.py.

Names, defaults and meanings are those of diffusers' UNet2DConditionModel and its config.json; keys
given as one number for all levels are spread to one for each. What would change the network and is
not supported is refused by key. Supported is what Stable Diffusion 1.x, 2.x and SDXL, their
fine-tunes and their pruned forms use.
"""

from dataclasses import dataclass
from typing import Any

from engine.models.config_checks import (
    BLOCK_TYPES,
    COUNT,
    COUNT_OR_COUNTS,
    COUNTS,
    FLAG,
    MOST,
    NUMBER,
    POSITIVE,
    SHARE,
    SIZE,
    Check,
    LabelledUNet,
    check_groups,
    check_levels,
    is_count,
    is_int,
    is_list,
    list_of,
    one_of,
    read_settings,
    refuse,
    refuse_other_kind,
    refuse_unless_default,
)
from engine.models.layers import ACTIVATIONS

DOWN_BLOCK_TYPES = ("CrossAttnDownBlock2D", "DownBlock2D")
UP_BLOCK_TYPES = ("CrossAttnUpBlock2D", "UpBlock2D")

# keys of which one value is supported, and which
_ONLY = {
    "only_cross_attention": False,
    "mid_block_only_cross_attention": False,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "num_attention_heads": None,
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "class_embeddings_concat": False,
    "cross_attention_norm": None,
    "attention_type": "default",
}
_PER_LEVEL = (
    "layers_per_block",
    "cross_attention_dim",
    "attention_head_dim",
    "transformer_layers_per_block",
)
Depths = tuple[int | tuple[int, ...], ...]  # of each level, or of each attention of each level
_LABEL_KINDS = ("timestep", "identity", "projection", "simple_projection")


@dataclass(frozen=True, slots=True)
class UNet2DConditionConfig(LabelledUNet):
    """What a UNet2DConditionModel is made of.

    `attention_head_dim` is the number of heads, whatever its name says. None has a meaning of its
    own in `mid_block_type` (no middle), `class_embed_type` (then `num_class_embeds` decides),
    `addition_embed_type` (none), `time_cond_proj_dim` (none) and `time_embedding_dim` (four times
    the first level's channels). `transformer_layers_per_block` may hold a list for each level, one
    depth for each of its attentions; then `reverse_transformer_layers_per_block` says them for the
    way up. `dropout` is accepted and never applied.
    """

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 4
    out_channels: int = 4
    center_input_sample: bool = False
    flip_sin_to_cos: bool = True
    freq_shift: float = 0
    down_block_types: tuple[str, ...] = (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D")
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    up_block_types: tuple[str, ...] = ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: tuple[int, ...] = (2,) * 4
    downsample_padding: int = 1
    mid_block_scale_factor: float = 1
    dropout: float = 0.0
    act_fn: str = "silu"
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: tuple[int, ...] = (1280,) * 4
    transformer_layers_per_block: Depths = (1,) * 4
    reverse_transformer_layers_per_block: Depths | None = None
    attention_head_dim: tuple[int, ...] = (8,) * 4
    use_linear_projection: bool = False
    upcast_attention: bool = False
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    projection_class_embeddings_input_dim: int | None = None
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    resnet_time_scale_shift: str = "default"
    time_embedding_dim: int | None = None
    time_cond_proj_dim: int | None = None
    conv_in_kernel: int = 3
    conv_out_kernel: int = 3

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, source: str) -> "UNet2DConditionConfig":
        """Return the settings in `config`; `source` is the file that errors name.

        An absent key, or null where None has no meaning of its own, is diffusers' default.

        Raises:
            CheckpointError: a value is of the wrong type, not supported, or contradicts another.
        """
        others = "Other networks are not supported"
        refuse_other_kind(config, "UNet2DConditionModel", source=source, others=others)
        refuse_unless_default(config, _ONLY, source=source)
        settings = read_settings(cls, _spread(config), _CHECKS, nullable=_NULLABLE, source=source)
        _check_levels(settings, source)
        _check_attention(settings, source)
        _check_embeddings(settings, source)
        return settings

    @property
    def label_width(self) -> int | None:
        """The numbers in one label; None is one number for a sample."""
        if self.class_embed_type == "identity":
            return self.embed_dim
        if self.class_embed_type in ("projection", "simple_projection"):
            return self.projection_class_embeddings_input_dim
        return None

    @property
    def reads_text(self) -> bool:
        """Whether any block attends to `encoder_hidden_states`."""
        kinds = (*self.down_block_types, self.mid_block_type or "", *self.up_block_types)
        return any("CrossAttn" in kind for kind in kinds)

    @property
    def context_dim(self) -> int:
        """The width of `encoder_hidden_states`."""
        return self.cross_attention_dim[0]

    @property
    def has_text_time(self) -> bool:
        """Whether it is told `text_embeds` and `time_ids`, as SDXL is."""
        return self.addition_embed_type == "text_time"

    def depths_down(self, level: int) -> tuple[int, ...]:
        """Return the depth of each attention of a level on the way down."""
        return _each(self.transformer_layers_per_block[level], self.layers_per_block[level])

    def depths_up(self, index: int) -> tuple[int, ...]:
        """Return the depth of each attention of the level `index` steps above the middle."""
        rising = self.reverse_transformer_layers_per_block
        if rising is None:
            rising = self.transformer_layers_per_block[::-1]
        return _each(rising[index], self.layers_per_block[::-1][index] + 1)

    @property
    def depth_middle(self) -> int:
        """The depth of the middle's attention."""
        return _each(self.transformer_layers_per_block[-1], 1)[0]


def _each(depth: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    return depth if isinstance(depth, tuple) else (depth,) * count


def _spread(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with one entry for each level where it says one number for all."""
    channels = config.get("block_out_channels")
    levels = len(channels) if is_list(channels) else len(UNet2DConditionConfig().layers_per_block)
    spread = dict(config)
    for key in _PER_LEVEL:
        value = config.get(key)
        if value is None:
            value = _DEFAULTS[key]
        if is_int(value):
            spread[key] = [value] * levels
    return spread


def _is_depth(value: object) -> bool:
    return isinstance(value, int) and is_int(value) and 0 <= value <= MOST


def _is_depths(value: object) -> bool:
    return is_list(value) and all(
        _is_depth(entry) or (is_list(entry) and all(map(_is_depth, entry))) for entry in value
    )


_DEFAULTS = {
    "layers_per_block": 2,
    "cross_attention_dim": 1280,
    "attention_head_dim": 8,
    "transformer_layers_per_block": 1,
}
_DEPTHS: Check = (
    _is_depths,
    "a whole number, or for each level one or a list of one for each of its attentions",
)
_KERNEL: Check = (lambda value: is_count(value) and value % 2 == 1, "an odd whole number")
_NULLABLE = frozenset(
    {
        "sample_size",
        "mid_block_type",
        "reverse_transformer_layers_per_block",
        "class_embed_type",
        "num_class_embeds",
        "projection_class_embeddings_input_dim",
        "addition_embed_type",
        "addition_time_embed_dim",
        "time_embedding_dim",
        "time_cond_proj_dim",
    }
)
_CHECKS: dict[str, Check] = {
    "sample_size": SIZE,
    "in_channels": COUNT,
    "out_channels": COUNT,
    "center_input_sample": FLAG,
    "flip_sin_to_cos": FLAG,
    "freq_shift": NUMBER,
    "down_block_types": list_of(*DOWN_BLOCK_TYPES),
    "mid_block_type": one_of("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"),
    "up_block_types": list_of(*UP_BLOCK_TYPES),
    "block_out_channels": COUNTS,
    "layers_per_block": COUNT_OR_COUNTS,
    "downsample_padding": (lambda value: is_int(value) and value in (0, 1), "0 or 1"),
    "mid_block_scale_factor": POSITIVE,
    "dropout": SHARE,
    "act_fn": one_of(*ACTIVATIONS),
    "norm_num_groups": COUNT,
    "norm_eps": POSITIVE,
    "cross_attention_dim": COUNT_OR_COUNTS,
    "transformer_layers_per_block": _DEPTHS,
    "reverse_transformer_layers_per_block": _DEPTHS,
    "attention_head_dim": COUNT_OR_COUNTS,
    "use_linear_projection": FLAG,
    "upcast_attention": FLAG,
    "class_embed_type": one_of(*_LABEL_KINDS),
    "num_class_embeds": COUNT,
    "projection_class_embeddings_input_dim": COUNT,
    "addition_embed_type": one_of("text_time"),
    "addition_time_embed_dim": COUNT,
    "resnet_time_scale_shift": one_of("default", "scale_shift"),
    "time_embedding_dim": COUNT,
    "time_cond_proj_dim": COUNT,
    "conv_in_kernel": _KERNEL,
    "conv_out_kernel": _KERNEL,
}


def _check_levels(config: UNet2DConditionConfig, source: str) -> None:
    keys = (*BLOCK_TYPES, *_PER_LEVEL)
    if config.reverse_transformer_layers_per_block is not None:
        keys = (*keys, "reverse_transformer_layers_per_block")
    check_levels(config, keys, source=source)
    check_groups(config, source=source)


def _check_attention(config: UNet2DConditionConfig, source: str) -> None:
    down, up = config.down_block_types, config.up_block_types[::-1]
    for level, channels in enumerate(config.block_out_channels):
        heads = config.attention_head_dim[level]
        if "CrossAttn" in down[level] + up[level] and heads > channels:
            wanted = f"at most {channels} heads, the channels of level {level + 1},"
            refuse(source, "attention_head_dim", config.attention_head_dim, wanted)
    if config.attention_head_dim[-1] > config.block_out_channels[-1]:
        wanted = f"at most {config.block_out_channels[-1]} heads in the last level"
        refuse(source, "attention_head_dim", config.attention_head_dim, wanted)
    if len(set(config.cross_attention_dim)) > 1:
        wanted = "one width for all levels, for one prompt is read by all,"
        refuse(source, "cross_attention_dim", config.cross_attention_dim, wanted)

    depths = config.transformer_layers_per_block
    is_nested = any(isinstance(depth, tuple) for depth in depths)
    if is_nested and config.reverse_transformer_layers_per_block is None:
        wanted = "the depths on the way up (transformer_layers_per_block holds lists)"
        refuse(source, "reverse_transformer_layers_per_block", None, wanted)
    for level, layers in enumerate(config.layers_per_block):
        if len(config.depths_down(level)) != layers:
            wanted = f"{layers} depths in level {level + 1}, as layers_per_block says,"
            refuse(source, "transformer_layers_per_block", depths, wanted)
    for index, layers in enumerate(config.layers_per_block[::-1]):
        if len(config.depths_up(index)) != layers + 1:
            key, wanted = "reverse_transformer_layers_per_block", f"{layers + 1} depths"
            found = config.reverse_transformer_layers_per_block
            refuse(source, key, found, f"{wanted} in entry {index + 1}")


def _check_embeddings(config: UNet2DConditionConfig, source: str) -> None:
    widths = {"block_out_channels": config.block_out_channels[0]}
    if config.has_text_time:
        for key in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
            if getattr(config, key) is None:
                wanted = 'a whole number (addition_embed_type is "text_time")'
                refuse(source, key, None, wanted)
        widths["addition_time_embed_dim"] = config.addition_time_embed_dim or 0
    for key, width in widths.items():
        if width // 2 <= config.freq_shift:
            wanted = f"a number below {width // 2}, half of {key},"
            refuse(source, "freq_shift", config.freq_shift, wanted)
    if config.class_embed_type in ("projection", "simple_projection") and not config.label_width:
        wanted = f'a whole number (class_embed_type is "{config.class_embed_type}")'
        refuse(source, "projection_class_embeddings_input_dim", None, wanted)
