"""The levels of a UNet: the way down, the middle, the way up. Built by the networks from a config.

diffusers' block types differ in two things only, how they attend and how they resample, so one
class serves all of a kind; the network hands over the attentions. Attribute names are diffusers'
own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
import mlx.nn as nn

from engine.models.layers import (
    Downsample2D,
    ResnetBlock2D,
    Upsample2D,
    downsample_mean,
    upsample_nearest,
)
from engine.models.recompute import Recomputing

# called with x, and with the context where there is one; None in a level without attention
Attentions = list[nn.Module] | None


class ResnetSettings(Protocol):
    """What a config says of its residual blocks; without `embed_dim` they are told no time."""

    @property
    def embed_dim(self) -> int | None:
        """The width of the time embedding."""
        ...

    @property
    def norm_num_groups(self) -> int:
        """The groups of a norm."""
        ...

    @property
    def norm_eps(self) -> float:
        """What a norm adds to the variance."""
        ...

    @property
    def act_fn(self) -> str:
        """The activation's name."""
        ...

    @property
    def resnet_time_scale_shift(self) -> str:
        """How the time enters."""
        ...

    @property
    def downsample_padding(self) -> int:
        """Of the strided convolution; 0 pads below and to the right alone."""
        ...


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Where a level stands: its channels, its residual blocks, whether another level follows it."""

    in_channels: int
    out_channels: int
    is_last: bool
    layers: int
    previous_channels: int = 0  # on the way up: what the level below hands over
    resamples_by_resnet: bool = False


def plans_down(channels: Sequence[int], layers: Sequence[int]) -> list[BlockPlan]:
    """Return the plan of each level on the way down."""
    last = len(channels) - 1
    return [
        BlockPlan(channels[max(i - 1, 0)], channels[i], i == last, layers[i])
        for i in range(len(channels))
    ]


def plans_up(channels: Sequence[int], layers: Sequence[int]) -> list[BlockPlan]:
    """Return the plan of each level on the way up, the lowest first; arguments as on the way down.

    Each has one residual block more than on the way down, for the state before the level.
    """
    rising, rising_layers = channels[::-1], layers[::-1]
    last = len(channels) - 1
    return [
        BlockPlan(
            rising[min(i + 1, last)],
            rising[i],
            i == last,
            rising_layers[i] + 1,
            previous_channels=rising[max(i - 1, 0)],
        )
        for i in range(len(channels))
    ]


def make_resnet(
    config: ResnetSettings, in_channels: int, out_channels: int, **options: object
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


class DownBlock(Recomputing):
    """Residual blocks, each followed by an attention if there are any, then halve."""

    def __init__(self, config: ResnetSettings, plan: BlockPlan, attentions: Attentions) -> None:
        super().__init__()
        channels = plan.out_channels
        inputs = [plan.in_channels] + [channels] * (plan.layers - 1)
        self.resnets = [make_resnet(config, width, channels) for width in inputs]
        self.attentions = attentions

        self.downsamplers = None
        if not plan.is_last:
            self.downsamplers = [
                make_resnet(config, channels, channels, resample=downsample_mean)
                if plan.resamples_by_resnet
                else Downsample2D(channels, config.downsample_padding)
            ]

    def __call__(
        self, x: mx.array, time: mx.array | None, context: mx.array | None = None
    ) -> tuple[mx.array, list[mx.array]]:
        """Return the output and everything that the way up will read."""
        states = []
        for index, resnet in enumerate(self.resnets):
            x = self._run(resnet, x, time)
            x = _attend(self, index, x, context)
            states.append(x)
        if self.downsamplers is not None:
            layer = self.downsamplers[0]
            x = layer(x, time) if isinstance(layer, ResnetBlock2D) else layer(x)
            states.append(x)
        return x, states


class MidBlock(Recomputing):
    """A residual block, then an attention if there is one and a residual block, `layers` times."""

    def __init__(
        self,
        config: ResnetSettings,
        channels: int,
        attentions: Attentions,
        *,
        layers: int = 1,
        scale_factor: float = 1,
    ) -> None:
        super().__init__()
        self.resnets = [
            make_resnet(config, channels, channels, output_scale_factor=scale_factor)
            for _ in range(layers + 1)
        ]
        self.attentions = attentions

    def __call__(
        self, x: mx.array, time: mx.array | None, context: mx.array | None = None
    ) -> mx.array:
        """Return an array of the shape of x."""
        x = self._run(self.resnets[0], x, time)
        for index, resnet in enumerate(self.resnets[1:]):
            x = self._run(resnet, _attend(self, index, x, context), time)
        return x


class UpBlock(Recomputing):
    """Residual blocks, each followed by an attention if there are any, then double.

    Every residual block also reads one state of the way down.
    """

    def __init__(self, config: ResnetSettings, plan: BlockPlan, attentions: Attentions) -> None:
        super().__init__()
        channels = plan.out_channels
        hidden = [plan.previous_channels] + [channels] * (plan.layers - 1)
        skips = [channels] * (plan.layers - 1) + [plan.in_channels]
        self.resnets = [
            make_resnet(config, h + skip, channels) for h, skip in zip(hidden, skips, strict=True)
        ]
        self.attentions = attentions

        self.upsamplers = None
        if not plan.is_last:
            self.upsamplers = [
                make_resnet(config, channels, channels, resample=upsample_nearest)
                if plan.resamples_by_resnet
                else Upsample2D(channels)
            ]

    def __call__(
        self,
        x: mx.array,
        states: list[mx.array],
        time: mx.array | None,
        context: mx.array | None = None,
    ) -> mx.array:
        """Return the output; one of `states` is popped for every residual block.

        It is as large as the next of the `states`, where an odd length was halved.
        """
        for index, resnet in enumerate(self.resnets):
            x = self._run(resnet, mx.concatenate([x, states.pop()], axis=-1), time)
            x = _attend(self, index, x, context)
        if self.upsamplers is None:
            return x
        layer = self.upsamplers[0]
        if isinstance(layer, ResnetBlock2D):
            return layer(x, time)
        _, H, W, _ = states[-1].shape
        return layer(x, (H, W))


def _attend(
    block: DownBlock | MidBlock | UpBlock, index: int, x: mx.array, context: mx.array | None
) -> mx.array:
    if block.attentions is None:
        return x
    attention = block.attentions[index]
    if context is not None:  # a transformer, which looks after its own blocks
        return attention(x, context)
    return block._run(attention, x)
