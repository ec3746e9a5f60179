"""UNet2DConditionModel, the network of Stable Diffusion 1.x, 2.x and SDXL: a UNet that reads text.

Not its files: see checkpoint.py. One door, as for every network: `model(z, t, condition)`.
"""

import mlx.core as mx
import mlx.nn as nn

from engine.errors import DataError
from engine.models.blocks import DownBlock, MidBlock, UpBlock, plans_down, plans_up
from engine.models.layers import SinusoidalEmbedding, TimestepEmbedding
from engine.models.transformer import Transformer2D
from engine.models.unet_base import (
    UNetBase,
    check_labels,
    check_names,
    check_state,
    make_class_embedding,
    spread_timesteps,
)
from engine.models.unet_condition_config import UNet2DConditionConfig

__all__ = ["UNet2DConditionConfig", "UNet2DConditionModel"]

_NAMES = ("encoder_hidden_states", "text_embeds", "time_ids", "class_labels", "timestep_cond")


class UNet2DConditionModel(UNetBase):
    """A UNet whose levels attend to a prompt; SDXL's is also told of sizes and of the prompt whole.

    Parameters sit under diffusers' names, so a path in the parameter tree is a key on disk.
    """

    def __init__(self, config: UNet2DConditionConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        kernel = config.conv_in_kernel
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], kernel, padding=(kernel - 1) // 2)
        self.time_proj = self._sinusoid(channels[0])
        self.time_embedding = TimestepEmbedding(
            channels[0],
            config.embed_dim,
            act_fn=config.act_fn,
            cond_proj_dim=config.time_cond_proj_dim,
        )
        self.class_embedding = make_class_embedding(config, act_fn=config.act_fn)
        self.add_embedding = None
        if config.has_text_time:
            assert config.addition_time_embed_dim is not None
            assert config.projection_class_embeddings_input_dim is not None
            self.add_time_proj = self._sinusoid(config.addition_time_embed_dim)
            self.add_embedding = TimestepEmbedding(
                config.projection_class_embeddings_input_dim, config.embed_dim
            )

        layers = config.layers_per_block
        self.down_blocks = [
            DownBlock(config, plan, self._attentions(kind, level, config.depths_down(level)))
            for level, (kind, plan) in enumerate(
                zip(config.down_block_types, plans_down(channels, layers), strict=True)
            )
        ]
        self.mid_block = None
        if config.mid_block_type is not None:
            depths = (config.depth_middle,) if "CrossAttn" in config.mid_block_type else ()
            self.mid_block = MidBlock(
                config,
                channels[-1],
                self._attentions(config.mid_block_type, -1, depths),
                layers=len(depths),  # without attention a single residual block, as in diffusers
                scale_factor=config.mid_block_scale_factor,
            )
        self.up_blocks = [
            UpBlock(config, plan, self._attentions(kind, -1 - index, config.depths_up(index)))
            for index, (kind, plan) in enumerate(
                zip(config.up_block_types, plans_up(channels, layers), strict=True)
            )
        ]
        self._make_head(config, kernel=config.conv_out_kernel)

    def __call__(
        self, z: mx.array, t: mx.array | float, condition: dict[str, mx.array] | None = None
    ) -> mx.array:
        """Return the prediction for z_t, (B, H, W, out_channels), in the dtype of z.

        Args:
            z: (B, H, W, in_channels), any float dtype, which is computed in, and any size.
            t: a scalar or (B,), whole or not, in [0, 1000] as the network was trained.
            condition: `encoder_hidden_states` (B, L, context_dim), the prompt by tokens. Where the
                config has them: `text_embeds` (B, P) and `time_ids` (B, N), the prompt as a whole
                and the sizes of SDXL; `class_labels` as in UNet2DModel. `timestep_cond`
                (B, time_cond_proj_dim) may be left out.

        Raises:
            DataError: z, t or the condition does not fit the network.
        """
        config, batch = self.config, z.shape[0]
        check_state(z, config.in_channels)
        condition = condition or {}
        check_names(condition, _NAMES)
        labels = check_labels(config, condition, batch)
        self._check_text(condition, batch)
        x, dtype = z, z.dtype
        condition = {
            key: value.astype(dtype) if key in ("encoder_hidden_states", "timestep_cond") else value
            for key, value in condition.items()
        }
        if config.center_input_sample:
            x = 2.0 * x - 1.0

        # tell it the time, the class, the prompt as a whole
        time = self.time_embedding(
            self._time_features(spread_timesteps(t, batch), dtype), condition.get("timestep_cond")
        )
        if labels is not None:
            time = time + self._embed_class(config, labels, dtype).astype(dtype)  # (B, embed_dim)
        if self.add_embedding is not None:
            sizes = self.add_time_proj(condition["time_ids"].reshape(-1)).reshape(batch, -1)
            told = mx.concatenate([condition["text_embeds"].astype(mx.float32), sizes], axis=-1)
            time = time + self.add_embedding(told.astype(dtype))

        context = condition.get("encoder_hidden_states")
        return self._walk(x, time, context, config.act_fn).astype(z.dtype)

    def _sinusoid(self, channels: int) -> SinusoidalEmbedding:
        config = self.config
        return SinusoidalEmbedding(
            channels, flip_sin_to_cos=config.flip_sin_to_cos, freq_shift=config.freq_shift
        )

    def _attentions(
        self, block_type: str, level: int, depths: tuple[int, ...]
    ) -> list[nn.Module] | None:
        """Return the attentions of a level, or None if its type has none."""
        if "CrossAttn" not in block_type:
            return None
        config = self.config
        return [
            Transformer2D(
                config.block_out_channels[level],
                heads=config.attention_head_dim[level],
                depth=depth,
                context_dim=config.context_dim,
                groups=config.norm_num_groups,
                has_linear_projections=config.use_linear_projection,
                is_upcast=config.upcast_attention,
            )
            for depth in depths
        ]

    def _check_text(self, condition: dict[str, mx.array], batch: int) -> None:
        """Refuse a prompt that is missing or misshapen."""
        config = self.config
        if config.reads_text:
            wanted = f"({batch}, L, {config.context_dim})"
            text = _required(condition, "encoder_hidden_states", wanted)
            if text.ndim != 3 or text.shape[::2] != (batch, config.context_dim):
                _misfit("encoder_hidden_states", text, wanted)

        has = [key for key in ("text_embeds", "time_ids") if key in condition]
        if not config.has_text_time and has:
            raise DataError(
                f"{' and '.join(has)} were given, but this network has no use for them."
            )
        if config.has_text_time:
            text = _required(condition, "text_embeds", f"({batch}, P)")
            ids = _required(condition, "time_ids", f"({batch}, N)")
            step, width = (
                config.addition_time_embed_dim,
                config.projection_class_embeddings_input_dim,
            )
            assert step is not None
            assert width is not None
            if text.ndim != 2 or text.shape[0] != batch:
                _misfit("text_embeds", text, f"({batch}, P)")
            if ids.ndim != 2 or ids.shape[0] != batch:
                _misfit("time_ids", ids, f"({batch}, N)")
            found = text.shape[1] + step * ids.shape[1]
            if found != width:
                raise DataError(
                    f"text_embeds {text.shape} and time_ids {ids.shape} make {text.shape[1]} + "
                    f"{ids.shape[1]} x {step} = {found} numbers for each sample, but {width} are "
                    "wanted. SDXL reads (B, 1280) and (B, 6)."
                )

        told = condition.get("timestep_cond")
        if told is not None:
            if config.time_cond_proj_dim is None:
                raise DataError("timestep_cond was given, but this network has no use for it.")
            if told.shape != (batch, config.time_cond_proj_dim):
                _misfit("timestep_cond", told, f"({batch}, {config.time_cond_proj_dim})")


def _required(condition: dict[str, mx.array], key: str, wanted: str) -> mx.array:
    if key not in condition:
        raise DataError(f"The condition has no {key}: give them with shape {wanted}.")
    return condition[key]


def _misfit(key: str, found: mx.array, wanted: str) -> None:
    raise DataError(f"{key} have shape {found.shape}, but {wanted} is wanted.")
