"""Decoding a large picture by overlapping tiles whose seams are blended. Used by autoencoder.py."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

_OVERLAP = 4  # a tile shares at least one part in so many with the next


def decode_in_tiles(
    decode: Callable[[mx.array], mx.array], latents: mx.array, tile: int, reduction: int
) -> mx.array:
    """Return what `decode` makes of `latents` (B, H, W, C), (B, r H, r W, ...), tile by tile.

    All tiles are `tile` x `tile` latents (or as large as the picture is), evenly spaced, and share
    a quarter or more with their neighbours, where one fades into the other. A thin last tile, which
    would see too little to get its colours right, does not occur. Memory is that of one tile and
    the picture.
    """
    B, H, W, _ = latents.shape
    height, width = min(tile, H), min(tile, W)
    tops, lefts = _starts(H, height), _starts(W, width)
    picture = weights = mx.zeros((1, reduction * H, reduction * W, 1))
    for top in tops:
        for left in lefts:
            part = decode(latents[:, top : top + height, left : left + width])
            if picture.shape[0::3] != part.shape[0::3]:  # known from the first tile on
                picture = mx.zeros((B, reduction * H, reduction * W, part.shape[3]))
            down = _fading(reduction * height, top > 0, top + height < H)
            across = _fading(reduction * width, left > 0, left + width < W)
            weight = mx.array(np.outer(down, across)[None, :, :, None])
            rows = slice(reduction * top, reduction * (top + height))
            columns = slice(reduction * left, reduction * (left + width))
            picture = picture.at[:, rows, columns].add(weight * part)
            weights = weights.at[:, rows, columns].add(weight)
            mx.eval(picture, weights)
    return picture / weights


def _starts(length: int, tile: int) -> list[int]:
    """Return where tiles begin, evenly spaced from 0 to length - tile."""
    overlap = tile // _OVERLAP
    count = -(-(length - overlap) // max(tile - overlap, 1))
    return np.round(np.linspace(0, length - tile, max(count, 1))).astype(int).tolist()


def _fading(length: int, has_before: bool, has_after: bool) -> np.ndarray:
    """Return weights (length,): 1, and falling to 0 over a quarter towards a neighbour."""
    ramp = (np.arange(length) + 0.5) / max(length // _OVERLAP, 1)
    weights = np.ones(length)
    if has_before:
        weights = np.minimum(weights, ramp)
    if has_after:
        weights = np.minimum(weights, ramp[::-1])
    return weights.astype(np.float32)
