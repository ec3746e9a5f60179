"""UNet2DModel, the unconditional or class-conditional network of DDPM, DDIM and ADM.

Not its files: see checkpoint.py. One door, as for every network: `model(z, t, condition)`.
"""

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn

from engine.models.blocks import (
    BlockPlan,
    DownBlock,
    MidBlock,
    UpBlock,
    plans_down,
    plans_up,
)
from engine.models.layers import Attention, SinusoidalEmbedding, TimestepEmbedding
from engine.models.unet_base import (
    UNetBase,
    check_labels,
    check_names,
    check_state,
    make_class_embedding,
    spread_timesteps,
)
from engine.models.unet_config import UNet2DConfig

__all__ = ["UNet2DConfig", "UNet2DModel"]


class UNet2DModel(UNetBase):
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
        self.class_embedding = make_class_embedding(config)

        layers = (config.layers_per_block,) * len(channels)
        self.down_blocks = [
            DownBlock(config, *_plan(config, kind, plan, config.downsample_type))
            for kind, plan in zip(
                config.down_block_types, plans_down(channels, layers), strict=True
            )
        ]
        self.mid_block = None if config.mid_block_type is None else _make_middle(config)
        self.up_blocks = [
            UpBlock(config, *_plan(config, kind, plan, config.upsample_type))
            for kind, plan in zip(config.up_block_types, plans_up(channels, layers), strict=True)
        ]
        self._make_head(config)

    def __call__(
        self, z: mx.array, t: mx.array | float, condition: dict[str, mx.array] | None = None
    ) -> mx.array:
        """Return the prediction for z_t, (B, H, W, out_channels), in the dtype of z.

        Args:
            z: (B, H, W, in_channels), any float dtype, which is computed in.
            t: a scalar or (B,), whole or not, in [0, 1000] as the network was trained. A learned
                embedding wants whole numbers, and reads out of bounds past its table.
            condition: {"class_labels": ...} for a class-conditional network and nothing for others.
                (B,) whole numbers in [0, num_class_embeds); any numbers (B,) where
                class_embed_type is "timestep"; (B, embed_dim) where it is "identity".

        Raises:
            DataError: z, t or the condition does not fit the network.
        """
        config, batch = self.config, z.shape[0]
        check_state(z, config.in_channels, 2 ** (len(config.block_out_channels) - 1))
        condition = condition or {}
        check_names(condition, ("class_labels",))
        labels = check_labels(config, condition, batch)
        x, dtype = z, z.dtype
        if config.center_input_sample:
            x = 2.0 * x - 1.0

        time = self.time_embedding(self._time_features(spread_timesteps(t, batch), dtype))
        if labels is not None:
            time = time + self._embed_class(config, labels, dtype).astype(dtype)  # (B, embed_dim)
        return self._walk(x, time).astype(z.dtype)


def _plan(
    config: UNet2DConfig, block_type: str, plan: BlockPlan, resample_type: str
) -> tuple[BlockPlan, list[nn.Module] | None]:
    """Return a level's plan and attentions, as its type has them."""
    attends = block_type.startswith("Attn")
    by_resnet = block_type.startswith("Resnet") or (attends and resample_type == "resnet")
    attentions = None
    if attends:
        attentions = [_make_attention(config, plan.out_channels) for _ in range(plan.layers)]
    return replace(plan, resamples_by_resnet=by_resnet), attentions


def _make_attention(config: UNet2DConfig, channels: int) -> nn.Module:
    """Return a self-attention with the config's head size; without one, a single head."""
    return Attention(
        channels,
        head_dim=config.attention_head_dim or channels,
        groups=config.norm_num_groups,
        eps=config.norm_eps,
    )


def _make_middle(config: UNet2DConfig) -> MidBlock:
    channels, scale = config.block_out_channels[-1], config.mid_block_scale_factor
    attentions = None
    if config.add_attention:
        # as in diffusers, scale_shift leaves this attention without a norm unless asked for
        groups = config.norm_num_groups if config.resnet_time_scale_shift == "default" else None
        attentions: list[nn.Module] | None = [
            Attention(
                channels,
                head_dim=config.attention_head_dim or channels,
                groups=config.attn_norm_num_groups or groups,
                eps=config.norm_eps,
                output_scale_factor=scale,
            )
        ]
    return MidBlock(config, channels, attentions, scale_factor=scale)
