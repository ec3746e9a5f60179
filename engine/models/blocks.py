"""The levels of a UNet: the way down, the middle, the way up. Built by unet.py from a config.

diffusers' block types differ in two things only, whether they attend and how they resample, so one
class serves all of a kind. Attribute names are diffusers' own.
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from engine.models.layers import (
    Attention,
    Downsample2D,
    ResnetBlock2D,
    Upsample2D,
    downsample_mean,
    upsample_nearest,
)
from engine.models.unet_config import UNet2DConfig


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Where a level stands: its channels, and whether another level follows it."""

    block_type: str
    in_channels: int
    out_channels: int
    is_last: bool
    previous_channels: int = 0  # on the way up: what the level below hands over


def make_resnet(
    config: UNet2DConfig, in_channels: int, out_channels: int, **options: object
) -> ResnetBlock2D:
    """Return a residual block with the config's norm, activation and time conditioning."""
    return ResnetBlock2D(
        in_channels,
        out_channels,
        time_embed_dim=config.embed_dim,
        groups=config.norm_num_groups,
        eps=config.norm_eps,
        act_fn=config.act_fn,
        time_scale_shift=config.resnet_time_scale_shift,
        **options,  # pyright: ignore[reportArgumentType]
    )


def make_attention(config: UNet2DConfig, channels: int) -> Attention:
    """Return a self-attention with the config's head size; without one, a single head."""
    return Attention(
        channels,
        head_dim=config.attention_head_dim or channels,
        groups=config.norm_num_groups,
        eps=config.norm_eps,
    )


class DownBlock(nn.Module):
    """DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D: residual blocks, then halve."""

    def __init__(self, config: UNet2DConfig, plan: BlockPlan) -> None:
        super().__init__()
        inputs = [plan.in_channels] + [plan.out_channels] * (config.layers_per_block - 1)
        self.resnets = [make_resnet(config, channels, plan.out_channels) for channels in inputs]
        has_attention = plan.block_type == "AttnDownBlock2D"
        self.attentions = (
            [make_attention(config, plan.out_channels) for _ in inputs] if has_attention else None
        )

        self.downsamplers = None
        if not plan.is_last:
            by_resnet = plan.block_type == "ResnetDownsampleBlock2D" or (
                has_attention and config.downsample_type == "resnet"
            )
            self.downsamplers = [
                make_resnet(config, plan.out_channels, plan.out_channels, resample=downsample_mean)
                if by_resnet
                else Downsample2D(plan.out_channels, config.downsample_padding)
            ]

    def __call__(self, x: mx.array, time: mx.array) -> tuple[mx.array, list[mx.array]]:
        """Return the output and everything that the way up will read."""
        states = []
        for index, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if self.attentions is not None:
                x = self.attentions[index](x)
            states.append(x)
        if self.downsamplers is not None:
            x = _resample(self.downsamplers[0], x, time)
            states.append(x)
        return x, states


class MidBlock(nn.Module):
    """UNetMidBlock2D: a residual block, attention unless the config says no, a residual block."""

    def __init__(self, config: UNet2DConfig) -> None:
        super().__init__()
        channels = config.block_out_channels[-1]
        scale = config.mid_block_scale_factor
        self.resnets = [
            make_resnet(config, channels, channels, output_scale_factor=scale) for _ in range(2)
        ]
        self.attentions = None
        if config.add_attention:
            # as in diffusers, scale_shift leaves this attention without a norm unless asked for
            groups = config.norm_num_groups if config.resnet_time_scale_shift == "default" else None
            self.attentions = [
                Attention(
                    channels,
                    head_dim=config.attention_head_dim or channels,
                    groups=config.attn_norm_num_groups or groups,
                    eps=config.norm_eps,
                    output_scale_factor=scale,
                )
            ]

    def __call__(self, x: mx.array, time: mx.array) -> mx.array:
        """Return an array of the shape of x."""
        x = self.resnets[0](x, time)
        if self.attentions is not None:
            x = self.attentions[0](x)
        return self.resnets[1](x, time)


class UpBlock(nn.Module):
    """UpBlock2D, AttnUpBlock2D, ResnetUpsampleBlock2D: residual blocks, then double.

    Every residual block also reads one state of the way down.
    """

    def __init__(self, config: UNet2DConfig, plan: BlockPlan) -> None:
        super().__init__()
        layers = config.layers_per_block + 1
        hidden = [plan.previous_channels] + [plan.out_channels] * (layers - 1)
        skips = [plan.out_channels] * (layers - 1) + [plan.in_channels]
        self.resnets = [
            make_resnet(config, h + skip, plan.out_channels)
            for h, skip in zip(hidden, skips, strict=True)
        ]
        has_attention = plan.block_type == "AttnUpBlock2D"
        self.attentions = (
            [make_attention(config, plan.out_channels) for _ in hidden] if has_attention else None
        )

        self.upsamplers = None
        if not plan.is_last:
            by_resnet = plan.block_type == "ResnetUpsampleBlock2D" or (
                has_attention and config.upsample_type == "resnet"
            )
            self.upsamplers = [
                make_resnet(config, plan.out_channels, plan.out_channels, resample=upsample_nearest)
                if by_resnet
                else Upsample2D(plan.out_channels)
            ]

    def __call__(self, x: mx.array, states: list[mx.array], time: mx.array) -> mx.array:
        """Return the output; one of `states` is popped for every residual block."""
        for index, resnet in enumerate(self.resnets):
            x = resnet(mx.concatenate([x, states.pop()], axis=-1), time)
            if self.attentions is not None:
                x = self.attentions[index](x)
        return x if self.upsamplers is None else _resample(self.upsamplers[0], x, time)


def _resample(layer: nn.Module, x: mx.array, time: mx.array) -> mx.array:
    return layer(x, time) if isinstance(layer, ResnetBlock2D) else layer(x)
