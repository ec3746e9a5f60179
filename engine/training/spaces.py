"""What samples are compared as: pixels, decoded pixels or latents."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx
import numpy as np

from engine.models.pipeline import LatentPipeline
from engine.training.quality import to_unit_range

Mode = Literal["pixels", "latents"]
Decode = Callable[[np.ndarray], np.ndarray]  # latents (n, H, W, C) to pictures in [-1, 1]


@dataclass(frozen=True)
class Space:
    """A way from samples (n, H, W, C) to the float64 features that a score compares.

    Scores of different `mode` are never compared.
    """

    mode: Mode
    features: Callable[[np.ndarray], np.ndarray]


PIXELS = Space("pixels", to_unit_range)
LATENTS = Space("latents", lambda samples: samples.astype(np.float64))


def decoded_pixels(decode: Decode) -> Space:
    """Return the space of the pictures that `decode` makes of latents."""
    return Space("pixels", lambda latents: to_unit_range(decode(latents)))


def decoder_of(pipeline: LatentPipeline, batch_size: int = 8) -> Decode:
    """Return the function that makes pictures of latents, a few at a time."""

    def decode(latents: np.ndarray) -> np.ndarray:
        parts = [
            np.array(pipeline.pictures(mx.array(latents[start : start + batch_size])))
            for start in range(0, len(latents), batch_size)
        ]
        return np.concatenate(parts) * 2 - 1

    return decode


def spaces_of(
    mode: Literal["auto", "pixels", "latents"], decode: Decode | None
) -> tuple[Space, Space]:
    """Return the spaces of the select and of the final look.

    A model of latents, which has a decoder, is looked at in latents on the way and in decoded
    pixels at the end, or in one of them throughout as `mode` says.
    """
    if decode is None:
        return PIXELS, PIXELS
    if mode == "latents":
        return LATENTS, LATENTS
    pixels = decoded_pixels(decode)
    return (pixels if mode == "pixels" else LATENTS), pixels
