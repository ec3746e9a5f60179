"""AutoencoderKL: pictures to latents and back. Used by pipeline.py.

Attribute names are diffusers' own, so a parameter's path in the module tree is its key on disk.
Everything is NHWC and float32, whatever `force_upcast` says: half precision overflows in the
decoders of SDXL.
"""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.activations import silu
from engine.errors import DataError
from engine.models.blocks import BlockPlan, DownBlock, MidBlock, make_resnet, plans_down
from engine.models.config_checks import (
    COUNT,
    COUNTS,
    FLAG,
    NUMBER,
    POSITIVE,
    SIZE,
    Check,
    check_groups,
    check_levels,
    list_of,
    one_of,
    read_settings,
    refuse_other_kind,
    refuse_unless_default,
)
from engine.models.layers import ACTIVATIONS, Attention, Upsample2D, group_norm
from engine.models.tiling import decode_in_tiles

_NORM_EPS = 1e-6
_LOGVAR_RANGE = (-30.0, 20.0)
_WHOLE_LATENTS = 128 * 128  # decoded at once, a picture of 1024 x 1024; more goes by tiles


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """What an AutoencoderKL is made of; names and defaults of diffusers'."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    act_fn: str = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int | tuple[int, int] = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, source: str) -> "AutoencoderConfig":
        """Return the settings in `config`; `source` is the file that errors name.

        Raises:
            CheckpointError: a value is of the wrong type, not supported, or contradicts another.
        """
        others = "Other autoencoders are not supported"
        refuse_other_kind(config, "AutoencoderKL", source=source, others=others)
        refuse_unless_default(config, {"latents_mean": None, "latents_std": None}, source=source)
        nullable = frozenset({"shift_factor"})
        settings = read_settings(cls, config, _CHECKS, nullable=nullable, source=source)
        check_levels(settings, source=source)
        check_groups(settings, source=source)
        return settings

    @property
    def embed_dim(self) -> None:
        """There is no time to be told."""
        return

    @property
    def norm_eps(self) -> float:
        """What a norm adds to the variance."""
        return _NORM_EPS

    @property
    def resnet_time_scale_shift(self) -> str:
        """How the time would enter."""
        return "default"

    @property
    def downsample_padding(self) -> int:
        """The strided convolutions pad below and to the right alone."""
        return 0

    @property
    def reduction(self) -> int:
        """How many pixels a latent stands for, along each side."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def tile_size(self) -> int:
        """The side of a tile in latents: what the autoencoder was trained on."""
        size = self.sample_size if isinstance(self.sample_size, int) else self.sample_size[0]
        return max(size // self.reduction, 4)


_CHECKS: dict[str, Check] = {
    "in_channels": COUNT,
    "out_channels": COUNT,
    "down_block_types": list_of("DownEncoderBlock2D"),
    "up_block_types": list_of("UpDecoderBlock2D"),
    "block_out_channels": COUNTS,
    "layers_per_block": COUNT,
    "act_fn": one_of(*ACTIVATIONS),
    "latent_channels": COUNT,
    "norm_num_groups": COUNT,
    "sample_size": SIZE,
    "scaling_factor": POSITIVE,
    "shift_factor": NUMBER,
    "force_upcast": FLAG,
    "use_quant_conv": FLAG,
    "use_post_quant_conv": FLAG,
    "mid_block_add_attention": FLAG,
}


class AutoencoderKL(nn.Module):
    """A picture as a smaller grid of latents, and back.

    `encode` and `decode` speak of latents as the autoencoder makes them; `latents_of` and
    `pictures_of` of those that a diffusion network sees, shifted and scaled to variance one, and of
    pictures in [0, 1].
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        latents = config.latent_channels
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)
        self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1) if config.use_quant_conv else None
        self.post_quant_conv = None
        if config.use_post_quant_conv:
            self.post_quant_conv = nn.Conv2d(latents, latents, 1)

    def encode(self, pictures: mx.array) -> tuple[mx.array, mx.array]:
        """Return mean and log-variance of the latents, (B, H / r, W / r, latent_channels) each.

        `pictures` are (B, H, W, in_channels) in [-1, 1]; r is the config's reduction.

        Raises:
            DataError: the pictures do not fit.
        """
        config = self.config
        if pictures.ndim != 4 or pictures.shape[3] != config.in_channels:
            raise DataError(
                f"Pictures have shape {pictures.shape}, but (B, H, W, {config.in_channels}) is "
                "wanted."
            )
        if pictures.shape[1] % config.reduction or pictures.shape[2] % config.reduction:
            raise DataError(
                f"Pictures have height {pictures.shape[1]} and width {pictures.shape[2]}, but "
                f"multiples of {config.reduction} are wanted."
            )
        x = self.encoder(pictures.astype(mx.float32))
        if self.quant_conv is not None:
            x = self.quant_conv(x)
        mean, logvar = mx.split(x, 2, axis=-1)
        return mean, mx.clip(logvar, *_LOGVAR_RANGE)

    def decode(self, latents: mx.array) -> mx.array:
        """Return pictures (B, r H, r W, out_channels), about in [-1, 1].

        Raises:
            DataError: the latents do not fit.
        """
        channels = self.config.latent_channels
        if latents.ndim != 4 or latents.shape[3] != channels:
            raise DataError(
                f"Latents have shape {latents.shape}, but (B, H, W, {channels}) is wanted."
            )
        x = latents.astype(mx.float32)
        if self.post_quant_conv is not None:
            x = self.post_quant_conv(x)
        return self.decoder(x)

    def latents_of(self, pictures: mx.array, key: mx.array | None = None) -> mx.array:
        """Return latents as a diffusion network sees them, of pictures in [0, 1].

        Drawn from their distribution with `key`; without one they are its mean.
        """
        parts = []
        for chunk in self._in_chunks(pictures, self.config.reduction**2):
            mean, logvar = self.encode(2.0 * chunk - 1.0)
            if key is not None:
                key, draw = mx.random.split(key)
                mean = mean + mx.exp(0.5 * logvar) * mx.random.normal(mean.shape, key=draw)
            mx.eval(mean)
            parts.append(mean)
        shift = self.config.shift_factor or 0.0
        return (mx.concatenate(parts) - shift) * self.config.scaling_factor

    def pictures_of(self, latents: mx.array, *, tile_above: int = _WHOLE_LATENTS) -> mx.array:
        """Return pictures in [0, 1] of latents as a diffusion network makes them.

        Where a picture has more latents than `tile_above`, it is decoded by overlapping tiles.
        """
        latents = latents / self.config.scaling_factor + (self.config.shift_factor or 0.0)
        parts = []
        for chunk in self._in_chunks(latents, 1):
            if chunk.shape[1] * chunk.shape[2] > tile_above:
                tile = self.config.tile_size
                pictures = decode_in_tiles(self.decode, chunk, tile, self.config.reduction)
            else:
                pictures = self.decode(chunk)
            pictures = mx.clip(0.5 * pictures + 0.5, 0.0, 1.0)
            mx.eval(pictures)
            parts.append(pictures)
        return mx.concatenate(parts)

    def _in_chunks(self, x: mx.array, pixels_per_latent: int) -> list[mx.array]:
        """Return the batch in parts that fit together where one large picture would."""
        per_picture = max(x.shape[1] * x.shape[2] // pixels_per_latent, 1)
        count = max(_WHOLE_LATENTS // per_picture, 1)
        return [x[start : start + count] for start in range(0, x.shape[0], count)]


class _Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        layers = (config.layers_per_block,) * len(channels)
        self.down_blocks = [DownBlock(config, plan, None) for plan in plans_down(channels, layers)]
        self.mid_block = _make_middle(config)
        self.conv_norm_out = group_norm(config.norm_num_groups, channels[-1], _NORM_EPS)
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x, _ = block(x, None)
        x = self.mid_block(x, None)
        return self.conv_out(silu(self.conv_norm_out(x)))


class _Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        rising = config.block_out_channels[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, rising[0], 3, padding=1)
        self.mid_block = _make_middle(config)
        layers = config.layers_per_block + 1
        self.up_blocks = [
            _UpBlock(config, BlockPlan(rising[max(i - 1, 0)], width, i == len(rising) - 1, layers))
            for i, width in enumerate(rising)
        ]
        self.conv_norm_out = group_norm(config.norm_num_groups, rising[-1], _NORM_EPS)
        self.conv_out = nn.Conv2d(rising[-1], config.out_channels, 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.mid_block(self.conv_in(x), None)
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(silu(self.conv_norm_out(x)))


class _UpBlock(nn.Module):
    """Residual blocks, then double; unlike in a UNet nothing of the way down is read."""

    def __init__(self, config: AutoencoderConfig, plan: BlockPlan) -> None:
        super().__init__()
        inputs = [plan.in_channels] + [plan.out_channels] * (plan.layers - 1)
        self.resnets = [make_resnet(config, width, plan.out_channels) for width in inputs]
        self.upsamplers = None if plan.is_last else [Upsample2D(plan.out_channels)]

    def __call__(self, x: mx.array) -> mx.array:
        for resnet in self.resnets:
            x = resnet(x, None)
        return x if self.upsamplers is None else self.upsamplers[0](x)


def _make_middle(config: AutoencoderConfig) -> MidBlock:
    channels = config.block_out_channels[-1]
    attentions: list[nn.Module] | None = None
    if config.mid_block_add_attention:
        attentions = [
            Attention(channels, head_dim=channels, groups=config.norm_num_groups, eps=_NORM_EPS)
        ]
    return MidBlock(config, channels, attentions)
