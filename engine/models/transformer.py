"""A transformer between the residual blocks: pixels attend to each other, then to the prompt.

Attribute names are diffusers' own, so a parameter's path in the module tree is its key on disk.
"""

import mlx.core as mx
import mlx.nn as nn

from engine.models.layers import attend, group_norm
from engine.models.recompute import Recomputing

_NORM_EPS = 1e-6  # of the GroupNorm, whatever the network's norm_eps says
_LAYER_NORM_EPS = 1e-5


class Transformer2D(Recomputing):
    """Normalise, project, attend `depth` times, project back, and add: diffusers' Transformer2D."""

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        depth: int,
        context_dim: int,
        groups: int,
        has_linear_projections: bool,
        is_upcast: bool,
    ) -> None:
        super().__init__()
        inner = heads * (channels // heads)
        self._is_linear = has_linear_projections
        self.norm = group_norm(groups, channels, _NORM_EPS)
        self.proj_in = _projection(channels, inner, self._is_linear)
        self.transformer_blocks = [
            TransformerBlock(inner, heads=heads, context_dim=context_dim, is_upcast=is_upcast)
            for _ in range(depth)
        ]
        self.proj_out = _projection(inner, channels, self._is_linear)

    def __call__(self, x: mx.array, context: mx.array) -> mx.array:
        """Return an array of the shape of x, (B, H, W, C); `context` is (B, L, context_dim)."""
        B, H, W, C = x.shape
        h = self.norm(x)
        tokens = self.proj_in(h.reshape(B, H * W, C) if self._is_linear else h)
        tokens = tokens.reshape(B, H * W, -1)  # (B, HW, inner)
        for block in self.transformer_blocks:
            tokens = self._run(block, tokens, context)
        h = self.proj_out(tokens if self._is_linear else tokens.reshape(B, H, W, -1))
        return x + h.reshape(B, H, W, C)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward; each normalised before, added after.

    diffusers' BasicTransformerBlock.
    """

    def __init__(self, dim: int, *, heads: int, context_dim: int, is_upcast: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_LAYER_NORM_EPS)
        self.attn1 = TokenAttention(dim, heads=heads, context_dim=dim, is_upcast=is_upcast)
        self.norm2 = nn.LayerNorm(dim, eps=_LAYER_NORM_EPS)
        self.attn2 = TokenAttention(dim, heads=heads, context_dim=context_dim, is_upcast=is_upcast)
        self.norm3 = nn.LayerNorm(dim, eps=_LAYER_NORM_EPS)
        self.ff = FeedForward(dim)

    def __call__(self, tokens: mx.array, context: mx.array) -> mx.array:
        """Return an array of the shape of `tokens`, (B, L, dim)."""
        normed = self.norm1(tokens)
        tokens = tokens + self.attn1(normed, normed)
        tokens = tokens + self.attn2(self.norm2(tokens), context)
        return tokens + self.ff(self.norm3(tokens))


class TokenAttention(nn.Module):
    """Queries from one sequence of tokens, keys and values from another (or the same)."""

    def __init__(self, dim: int, *, heads: int, context_dim: int, is_upcast: bool) -> None:
        super().__init__()
        self._heads = heads
        self._is_upcast = is_upcast  # whether scores are made in float32 in any case
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim, dim, bias=False)
        self.to_out = [nn.Linear(dim, dim)]  # a list, for diffusers keeps its dropout there

    def __call__(self, tokens: mx.array, context: mx.array) -> mx.array:
        """Return an array of the shape of `tokens`, (B, L, dim); `context` is (B, S, ...)."""
        query, key, value = self.to_q(tokens), self.to_k(context), self.to_v(context)
        if self._is_upcast:
            query, key, value = (part.astype(mx.float32) for part in (query, key, value))
        h = attend(query, key, value, heads=self._heads)
        return self.to_out[0](h.astype(tokens.dtype))


class FeedForward(nn.Module):
    """Four times wider, gated by GELU, and back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        # the middle stands for diffusers' dropout, which counts in the names and is never applied
        self.net = [GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)]

    def __call__(self, tokens: mx.array) -> mx.array:
        """Return an array of the shape of `tokens`."""
        for layer in self.net:
            tokens = layer(tokens)
        return tokens


class GEGLU(nn.Module):
    """A linear layer whose first half is multiplied by the GELU of its second (Shazeer 2020)."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * out_dim)

    def __call__(self, tokens: mx.array) -> mx.array:
        """Return (..., out_dim)."""
        value, gate = mx.split(self.proj(tokens), 2, axis=-1)
        return value * nn.gelu(gate)


def _projection(inputs: int, outputs: int, is_linear: bool) -> nn.Module:
    return nn.Linear(inputs, outputs) if is_linear else nn.Conv2d(inputs, outputs, 1)
