"""What every UNet of diffusers shares: time, classes, the walk down and up, the checks at the door.

Not a network by itself: see unet.py and unet_condition.py.
"""

from typing import Protocol

import mlx.core as mx
import mlx.nn as nn

from engine.errors import DataError
from engine.models.blocks import DownBlock, MidBlock, ResnetSettings, UpBlock
from engine.models.layers import (
    ACTIVATIONS,
    TimestepEmbedding,
    group_norm,
)


class UNetSettings(ResnetSettings, Protocol):
    """What a config says of the ends of the network and of its classes."""

    @property
    def in_channels(self) -> int:
        """Of a state."""
        ...

    @property
    def out_channels(self) -> int:
        """Of a prediction."""
        ...

    @property
    def block_out_channels(self) -> tuple[int, ...]:
        """Of each level, the finest first."""
        ...

    @property
    def center_input_sample(self) -> bool:
        """Whether a state in [0, 1] is stretched to [-1, 1]."""
        ...

    @property
    def class_embed_type(self) -> str | None:
        """How labels are embedded; None is by a table, if there are any."""
        ...

    @property
    def is_class_conditional(self) -> bool:
        """Whether there are labels."""
        ...

    @property
    def label_width(self) -> int | None:
        """The numbers in one label; None is one number for a sample."""
        ...


class UNetBase(nn.Module):
    """The ends of a UNet. A network adds its blocks and embeddings, under diffusers' names."""

    conv_in: nn.Conv2d
    time_proj: nn.Module
    class_embedding: nn.Module | None
    down_blocks: list[DownBlock]
    mid_block: MidBlock | None
    up_blocks: list[UpBlock]

    def _make_head(self, config: UNetSettings, *, kernel: int = 3) -> None:
        channels = config.block_out_channels[0]
        self.conv_norm_out = group_norm(config.norm_num_groups, channels, config.norm_eps)
        self.conv_out = nn.Conv2d(channels, config.out_channels, kernel, padding=(kernel - 1) // 2)

    def _walk(
        self, x: mx.array, time: mx.array, context: mx.array | None = None, act_fn: str = "silu"
    ) -> mx.array:
        """Return the prediction (B, H, W, out_channels) from x (B, H, W, in_channels)."""
        x = self.conv_in(x)
        states = [x]
        for down_block in self.down_blocks:
            x, block_states = down_block(x, time, context)
            states += block_states
        if self.mid_block is not None:
            x = self.mid_block(x, time, context)
        for up_block in self.up_blocks:
            x = up_block(x, states, time, context)
        return self.conv_out(ACTIVATIONS[act_fn](self.conv_norm_out(x)))

    def _time_features(self, t: mx.array, dtype: mx.Dtype) -> mx.array:
        """Return what the time embedding reads, (B, channels of the first level)."""
        if isinstance(self.time_proj, nn.Embedding):  # a learned table wants rows
            t = t.astype(mx.int32)
        return self.time_proj(t).astype(dtype)

    def _embed_class(self, config: UNetSettings, labels: mx.array, dtype: mx.Dtype) -> mx.array:
        """Return (B, embed_dim), to be added to the time embedding."""
        if config.class_embed_type == "timestep":
            labels = self._time_features(labels, dtype)
        return labels if self.class_embedding is None else self.class_embedding(labels)


def make_class_embedding(config: UNetSettings, *, act_fn: str = "silu") -> nn.Module | None:
    """Return the layer from labels to (B, embed_dim); None where they are added as they are."""
    kind, embed_dim = config.class_embed_type, config.embed_dim
    assert embed_dim is not None
    if kind == "timestep":
        return TimestepEmbedding(config.block_out_channels[0], embed_dim, act_fn=act_fn)
    if kind == "projection":
        assert config.label_width is not None
        return TimestepEmbedding(config.label_width, embed_dim)
    if kind == "simple_projection":
        assert config.label_width is not None
        return nn.Linear(config.label_width, embed_dim)
    count = getattr(config, "num_class_embeds", None)
    return nn.Embedding(count, embed_dim) if kind is None and count is not None else None


def spread_timesteps(t: mx.array | float, batch: int) -> mx.array:
    """Return t as (batch,).

    Raises:
        DataError: it is neither one timestep nor one for each sample.
    """
    t = t if isinstance(t, mx.array) else mx.array(t)
    if t.ndim > 1 or t.size not in (1, batch):
        raise DataError(f"t has shape {t.shape}, but a scalar or ({batch},), as z, is wanted.")
    return mx.broadcast_to(t, (batch,))


def check_state(z: mx.array, channels: int, multiple: int = 1) -> None:
    """Check that z is (B, H, W, channels), its sides divisible by `multiple`.

    Raises:
        DataError: it is not.
    """
    if z.ndim != 4 or z.shape[3] != channels:
        raise DataError(f"z has shape {z.shape}, but (B, H, W, {channels}) is wanted.")
    if z.shape[1] % multiple or z.shape[2] % multiple:
        raise DataError(
            f"z has height {z.shape[1]} and width {z.shape[2]}, but this network halves them "
            f"{multiple.bit_length() - 1} times: multiples of {multiple} are wanted."
        )


def check_names(condition: dict[str, mx.array], known: tuple[str, ...]) -> None:
    """Check that the condition names nothing that the network does not read.

    Raises:
        DataError: it does.
    """
    if unknown := sorted(condition.keys() - set(known)):
        raise DataError(
            f"The condition names {', '.join(unknown)}, but this network reads "
            f"{', '.join(known)} at most: leave the others out."
        )


def check_labels(
    config: UNetSettings, condition: dict[str, mx.array], batch: int
) -> mx.array | None:
    """Return the class labels of a condition, or None without classes, once they fit.

    Raises:
        DataError: they are missing, or not wanted, or of another shape or type.
    """
    labels = condition.get("class_labels")
    if not config.is_class_conditional:
        if labels is not None:
            raise DataError("class_labels were given, but this network has no classes: omit them.")
        return None

    wanted = (batch,) if config.label_width is None else (batch, config.label_width)
    if labels is None:
        raise DataError(f"This network is class-conditional: give class_labels of shape {wanted}.")
    if labels.shape != wanted:
        raise DataError(f"class_labels have shape {labels.shape}, but {wanted} is wanted.")
    if config.class_embed_type is None and not mx.issubdtype(labels.dtype, mx.integer):
        raise DataError(f"class_labels are {labels.dtype}, but whole numbers (int32) are wanted.")
    return labels
