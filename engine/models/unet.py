"""UNet2DModel, the unconditional or class-conditional network of DDPM, DDIM and ADM.

Not its files: see checkpoint.py. One door, as for every network: `model(z, t, condition)`.
"""

import mlx.core as mx
import mlx.nn as nn

from engine.activations import silu
from engine.errors import DataError
from engine.models.blocks import BlockPlan, DownBlock, MidBlock, UpBlock
from engine.models.layers import SinusoidalEmbedding, TimestepEmbedding, group_norm
from engine.models.unet_config import UNet2DConfig

__all__ = ["UNet2DConfig", "UNet2DModel"]


class UNet2DModel(nn.Module):
    """Residual blocks on a ladder of resolutions, joined by skip connections, told time and class.

    Parameters sit under diffusers' names, so a path in the parameter tree is a key on disk.
    """

    def __init__(self, config: UNet2DConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)

        if config.time_embedding_type == "learned":
            assert config.num_train_timesteps is not None
            self.time_proj = nn.Embedding(config.num_train_timesteps, channels[0])
        else:
            self.time_proj = SinusoidalEmbedding(
                channels[0], flip_sin_to_cos=config.flip_sin_to_cos, freq_shift=config.freq_shift
            )
        self.time_embedding = TimestepEmbedding(channels[0], config.embed_dim)

        self.class_embedding = None
        if config.class_embed_type == "timestep":
            self.class_embedding = TimestepEmbedding(channels[0], config.embed_dim)
        elif config.class_embed_type is None and config.num_class_embeds is not None:
            self.class_embedding = nn.Embedding(config.num_class_embeds, config.embed_dim)

        last = len(channels) - 1
        self.down_blocks = [
            DownBlock(config, BlockPlan(kind, channels[max(i - 1, 0)], channels[i], i == last))
            for i, kind in enumerate(config.down_block_types)
        ]
        self.mid_block = None if config.mid_block_type is None else MidBlock(config)
        rising = channels[::-1]
        self.up_blocks = [
            UpBlock(
                config,
                BlockPlan(
                    kind,
                    rising[min(i + 1, last)],
                    rising[i],
                    i == last,
                    previous_channels=rising[max(i - 1, 0)],
                ),
            )
            for i, kind in enumerate(config.up_block_types)
        ]

        self.conv_norm_out = group_norm(config.norm_num_groups, channels[0], config.norm_eps)
        self.conv_out = nn.Conv2d(channels[0], config.out_channels, 3, padding=1)

    def __call__(
        self, z: mx.array, t: mx.array | float, condition: dict[str, mx.array] | None = None
    ) -> mx.array:
        """Return the prediction for z_t, (B, H, W, out_channels), in the dtype of z.

        Args:
            z: (B, H, W, in_channels), any float dtype; computed in the dtype of the weights.
            t: a scalar or (B,), whole or not, in [0, 1000] as the network was trained. A learned
                embedding wants whole numbers, and reads out of bounds past its table.
            condition: {"class_labels": ...} for a class-conditional network and nothing for others.
                (B,) whole numbers in [0, num_class_embeds); any numbers (B,) where
                class_embed_type is "timestep"; (B, embed_dim) where it is "identity".

        Raises:
            DataError: z, t or the condition does not fit the network.
        """
        labels = self._check(z, condition)
        dtype = self.conv_in.weight.dtype
        x = z.astype(dtype)
        if self.config.center_input_sample:
            x = 2.0 * x - 1.0

        # tell it the time and the class
        batch = z.shape[0]
        t = t if isinstance(t, mx.array) else mx.array(t)
        if t.ndim > 1 or t.size not in (1, batch):
            raise DataError(f"t has shape {t.shape}, but a scalar or ({batch},), as z, is wanted.")
        time = self.time_embedding(self._embed(mx.broadcast_to(t, (batch,))).astype(dtype))
        if labels is not None:
            time = time + self._embed_class(labels).astype(dtype)  # (B, embed_dim)

        # down, through the middle, and up
        x = self.conv_in(x)
        states = [x]
        for down_block in self.down_blocks:
            x, block_states = down_block(x, time)
            states += block_states
        if self.mid_block is not None:
            x = self.mid_block(x, time)
        for up_block in self.up_blocks:
            x = up_block(x, states, time)
        return self.conv_out(silu(self.conv_norm_out(x))).astype(z.dtype)

    def _embed(self, t: mx.array) -> mx.array:
        if self.config.time_embedding_type == "learned":
            t = t.astype(mx.int32)
        return self.time_proj(t)

    def _embed_class(self, labels: mx.array) -> mx.array:
        if self.config.class_embed_type == "timestep":
            labels = self._embed(labels).astype(self.conv_in.weight.dtype)
        return labels if self.class_embedding is None else self.class_embedding(labels)

    def _check(self, z: mx.array, condition: dict[str, mx.array] | None) -> mx.array | None:
        """Return the class labels, or None without classes, once they and z are known to fit."""
        config = self.config
        halvings = len(config.block_out_channels) - 1
        if z.ndim != 4 or z.shape[3] != config.in_channels:
            raise DataError(
                f"z has shape {z.shape}, but (B, H, W, {config.in_channels}) is wanted."
            )
        if z.shape[1] % 2**halvings or z.shape[2] % 2**halvings:
            raise DataError(
                f"z has height {z.shape[1]} and width {z.shape[2]}, but this network halves them "
                f"{halvings} times: multiples of {2**halvings} are wanted."
            )

        condition = condition or {}
        if unknown := sorted(condition.keys() - {"class_labels"}):
            raise DataError(
                f"The condition names {', '.join(unknown)}, but this network reads class_labels at "
                "most: leave the others out."
            )
        labels = condition.get("class_labels")
        if not config.is_class_conditional:
            if labels is not None:
                raise DataError(
                    "class_labels were given, but this network has no classes: omit them."
                )
            return None

        wanted = (
            (z.shape[0], config.embed_dim)
            if config.class_embed_type == "identity"
            else (z.shape[0],)
        )
        if labels is None:
            raise DataError(
                f"This network is class-conditional: give class_labels of shape {wanted}."
            )
        if labels.shape != wanted:
            raise DataError(f"class_labels have shape {labels.shape}, but {wanted} is wanted.")
        if config.class_embed_type is None and not mx.issubdtype(labels.dtype, mx.integer):
            raise DataError(
                f"class_labels are {labels.dtype}, but whole numbers (int32) are wanted."
            )
        return labels
