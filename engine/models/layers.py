"""The pieces of a UNet: time embedding, residual block, attention, resampling. Used by blocks.py.

Attention over tokens and its feed-forward are in transformer.py.

Attribute names are diffusers' own, so a parameter's path in the module tree is its key on disk.
Everything is NHWC.
"""

import math
from collections.abc import Callable
from typing import Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from engine.activations import silu

ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "silu": silu,
    "swish": silu,
    "mish": nn.mish,
    "gelu": nn.gelu,
    "relu": nn.relu,
}


class SinusoidalEmbedding(nn.Module):
    """Embed a timestep t as sin(t f_i), cos(t f_i) with f_i = 10000**(-i / (half - freq_shift)).

    A frequency rounded to float32 puts the wave at t = 999 off by 3e-5. Here the angle is counted
    in turns, and whole turns are dropped before anything is rounded: f / 2 pi, made in float64, is
    cut into float32 pieces of at most 12 bits, whose products with the whole part of t are exact.
    Measured against float64, the embedding is within 6e-7 for every t in [0, 4000], whole or not,
    eager or compiled.
    """

    def __init__(self, channels: int, *, flip_sin_to_cos: bool, freq_shift: float) -> None:
        super().__init__()
        half = channels // 2
        exponent = np.arange(half, dtype=np.float64) / (half - freq_shift)
        turns = np.exp(-math.log(10000.0) * exponent) / (2.0 * math.pi)
        # a NumPy array is no parameter: it enters a compiled graph as a constant and is not saved
        self._turns_parts = _split_into_12_bits(turns, count=3)  # (3, half)
        self._is_cos_first = flip_sin_to_cos
        self._is_odd = channels % 2 == 1

    def __call__(self, t: mx.array) -> mx.array:
        """Return float32 (B, channels) for t (B,), of any real dtype."""
        t = t.astype(mx.float32)[:, None]  # (B, 1)
        whole = mx.floor(t)
        high, middle, low = mx.array(self._turns_parts)  # (half,) each
        turns = _drop_whole_turns(whole * high) + _drop_whole_turns(whole * middle)
        turns = turns + (whole * low + (t - whole) * (high + middle + low))
        angle = (2.0 * math.pi) * _drop_whole_turns(turns)  # (B, half), in [-pi, pi]

        waves = (
            [mx.cos(angle), mx.sin(angle)] if self._is_cos_first else [mx.sin(angle), mx.cos(angle)]
        )
        if self._is_odd:
            waves.append(mx.zeros_like(t))
        return mx.concatenate(waves, axis=-1)


def _split_into_12_bits(values: np.ndarray, *, count: int) -> np.ndarray:
    """Return float32 rows that add up to `values`; all but the last have at most 12 bits."""
    parts = []
    rest = values.astype(np.float64)
    for _ in range(count - 1):
        mantissa, exponent = np.frexp(rest)
        part = np.ldexp(np.round(mantissa * 4096.0) / 4096.0, exponent)
        parts.append(part.astype(np.float32))
        rest = rest - part
    return np.stack([*parts, rest.astype(np.float32)])


def _drop_whole_turns(turns: mx.array) -> mx.array:
    return turns - mx.round(turns)


class TimestepEmbedding(nn.Module):
    """A two-layer perceptron from a timestep's embedding to what every residual block reads.

    With `cond_proj_dim` it can also be told something of that width, such as a guidance scale.
    """

    def __init__(
        self,
        in_channels: int,
        time_embed_dim: int,
        *,
        act_fn: str = "silu",
        cond_proj_dim: int | None = None,
    ) -> None:
        super().__init__()
        self._act_fn = act_fn
        self.linear_1 = nn.Linear(in_channels, time_embed_dim)
        self.linear_2 = nn.Linear(time_embed_dim, time_embed_dim)
        self.cond_proj = None
        if cond_proj_dim is not None:
            self.cond_proj = nn.Linear(cond_proj_dim, in_channels, bias=False)

    def __call__(self, x: mx.array, condition: mx.array | None = None) -> mx.array:
        """Return (B, time_embed_dim) for (B, in_channels) and perhaps (B, cond_proj_dim)."""
        if condition is not None:
            assert self.cond_proj is not None
            x = x + self.cond_proj(condition)
        return self.linear_2(ACTIVATIONS[self._act_fn](self.linear_1(x)))


def group_norm(groups: int, channels: int, eps: float) -> nn.GroupNorm:
    """Return a GroupNorm that counts groups as PyTorch does."""
    return nn.GroupNorm(groups, channels, eps=eps, pytorch_compatible=True)


def downsample_mean(x: mx.array) -> mx.array:
    """Halve height and width by the mean of 2x2 pixels."""
    B, H, W, C = x.shape
    return x.reshape(B, H // 2, 2, W // 2, 2, C).mean(axis=(2, 4))


def upsample_nearest(x: mx.array) -> mx.array:
    """Double height and width by repeating pixels."""
    B, H, W, C = x.shape
    x = mx.broadcast_to(x[:, :, None, :, None, :], (B, H, 2, W, 2, C))
    return x.reshape(B, 2 * H, 2 * W, C)


class Downsample2D(nn.Module):
    """Halve height and width by a strided 3x3 convolution."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)
        self._is_asymmetric = padding == 0

    def __call__(self, x: mx.array) -> mx.array:
        """Return (B, H / 2, W / 2, C)."""
        if self._is_asymmetric:  # the original DDPM pads only below and to the right
            x = mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
        return self.conv(x)


class Upsample2D(nn.Module):
    """Double height and width by repeating pixels, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def __call__(self, x: mx.array, size: tuple[int, int] | None = None) -> mx.array:
        """Return (B, 2 H, 2 W, C), or cut to `size`, where an odd length was halved."""
        x = upsample_nearest(x)
        return self.conv(x if size is None else x[:, : size[0], : size[1]])


class ResnetBlock2D(nn.Module):
    """Two normalised convolutions around a shortcut, told the time between them.

    `resample` is applied to both branches before the first convolution; it has no parameters.
    Without a `time_embed_dim`, as in an autoencoder, there is no time to be told.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        time_embed_dim: int | None,
        groups: int,
        eps: float,
        act_fn: str,
        time_scale_shift: str = "default",
        groups_out: int | None = None,
        output_scale_factor: float = 1.0,
        resample: Callable[[mx.array], mx.array] | None = None,
        use_shortcut: bool | None = None,
    ) -> None:
        super().__init__()
        self._act_fn = (
            act_fn  # the name, for MLX's activations cannot be deep-copied and networks must be
        )
        self._is_scale_shift = time_scale_shift == "scale_shift"
        self._output_scale_factor = output_scale_factor
        self._resample = resample

        self.norm1 = group_norm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = None
        if time_embed_dim is not None:
            time_channels = 2 * out_channels if self._is_scale_shift else out_channels
            self.time_emb_proj = nn.Linear(time_embed_dim, time_channels)
        self.norm2 = group_norm(groups_out or groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = None
        if in_channels != out_channels if use_shortcut is None else use_shortcut:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def __call__(self, x: mx.array, time: mx.array | None) -> mx.array:
        """Return (B, H', W', out_channels); `time` is (B, time_embed_dim) or None."""
        activation = ACTIVATIONS[self._act_fn]
        h = activation(self.norm1(x))
        if self._resample is not None:
            x, h = self._resample(x), self._resample(h)
        h = self.conv1(h)

        if self.time_emb_proj is None or time is None:
            h = self.norm2(h)
        else:
            told = self.time_emb_proj(activation(time))[:, None, None, :]
            if self._is_scale_shift:
                scale, shift = mx.split(told, 2, axis=-1)
                h = self.norm2(h) * (1 + scale) + shift
            else:
                h = self.norm2(h + told)
        h = self.conv2(activation(h))

        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        h = x + h
        return h if self._output_scale_factor == 1 else h / self._output_scale_factor


def attend(
    query: mx.array,
    key: mx.array,
    value: mx.array,
    *,
    heads: int,
    mask: mx.array | Literal["causal"] | None = None,
) -> mx.array:
    """Return softmax(q k / sqrt(head_dim)) v, (B, L, heads x head_dim), of each head by itself.

    Args:
        query: (B, L, heads x head_dim).
        key: (B, S, heads x head_dim).
        value: as `key`.
        heads: how many there are.
        mask: which keys a query sees; "causal" are those before it and itself.
    """
    B, L, inner = query.shape
    query, key, value = (
        tokens.reshape(B, -1, heads, inner // heads).transpose(0, 2, 1, 3)
        for tokens in (query, key, value)
    )  # (B, heads, L or S, head_dim)
    scale = (inner // heads) ** -0.5
    h = mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask=mask)
    return h.transpose(0, 2, 1, 3).reshape(B, L, inner)


class Attention(nn.Module):
    """Self-attention over all pixels, with a residual connection."""

    def __init__(
        self,
        channels: int,
        *,
        head_dim: int,
        groups: int | None,
        eps: float,
        output_scale_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self._heads = channels // head_dim
        self._output_scale_factor = output_scale_factor
        inner = self._heads * head_dim

        self.group_norm = None if groups is None else group_norm(groups, channels, eps)
        self.to_q = nn.Linear(channels, inner)
        self.to_k = nn.Linear(channels, inner)
        self.to_v = nn.Linear(channels, inner)
        self.to_out = [nn.Linear(inner, channels)]  # a list, for diffusers keeps its dropout there

    def __call__(self, x: mx.array) -> mx.array:
        """Return an array of the shape of x, (B, H, W, C)."""
        B, H, W, C = x.shape
        h = x if self.group_norm is None else self.group_norm(x)
        tokens = h.reshape(B, H * W, C)  # (B, HW, C)

        h = attend(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), heads=self._heads)
        h = x + self.to_out[0](h).reshape(B, H, W, C)
        return h if self._output_scale_factor == 1 else h / self._output_scale_factor
