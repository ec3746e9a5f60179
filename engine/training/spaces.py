"""What samples are compared as: pixels, decoded pixels or latents."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import mlx.core as mx
import numpy as np

from engine.models.pipeline import LatentPipeline
from engine.training.features import Features
from engine.training.quality import to_unit_range

Mode = Literal["pixels", "latents"]
Decode = Callable[[np.ndarray], np.ndarray]  # latents (n, H, W, C) to pictures in [-1, 1]
_DECODED_PIXELS = 2**18  # at one time: a picture of 512 x 512, or eight that are small
_MOST_DECODED = 8


class Keep(Protocol):
    """Where pictures are put that were decoded once and are read again and again."""

    def __call__(self, name: str, latents: np.ndarray, decode: Decode) -> np.ndarray:
        """Return the pictures (n, H, W, C) float32 of `latents`, decoded a few at a time."""
        ...


def in_memory(name: str, latents: np.ndarray, decode: Decode) -> np.ndarray:
    """Keep pictures in memory, for a caller without a folder."""
    return decode(latents).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Space:
    """A way from samples (n, H, W, C) to the float64 features that a score compares.

    `values` makes features number by number, of samples or, where there is a `decode`, of the
    pictures that it makes. Scores of different `mode` are never compared.
    """

    mode: Mode
    values: Callable[[np.ndarray], np.ndarray]
    decode: Decode | None = None

    def features(self, samples: np.ndarray) -> Features:
        """Return features that are made a block at a time, when they are read, and not kept."""
        decode = self.decode
        if decode is None:
            return Features(samples, self.values, samples.shape[1:])
        shape = decode(samples[:1]).shape[1:]
        return Features(samples, lambda some: self.values(decode(some)), shape)

    def kept(self, name: str, samples: np.ndarray, keep: Keep = in_memory) -> Features:
        """Return features that are read more than once: what had to be decoded is kept."""
        if self.decode is not None:
            samples = keep(name, samples, self.decode)
        return Features(samples, self.values, samples.shape[1:])


PIXELS = Space("pixels", to_unit_range)
LATENTS = Space("latents", lambda samples: samples.astype(np.float64))


def decoded_pixels(decode: Decode) -> Space:
    """Return the space of the pictures that `decode` makes of latents."""
    return Space("pixels", to_unit_range, decode)


def decoder_of(pipeline: LatentPipeline, between: Callable[[], object] = lambda: None) -> Decode:
    """Return the function that makes pictures of latents, as many at a time as are not too large.

    `between` is called before each time.
    """

    def decode(latents: np.ndarray) -> np.ndarray:
        pixels = int(np.prod(latents.shape[1:3])) * pipeline.reduction**2
        at_once = max(1, min(_MOST_DECODED, _DECODED_PIXELS // pixels))
        parts = []
        for start in range(0, len(latents), at_once):
            between()
            parts.append(np.array(pipeline.pictures(mx.array(latents[start : start + at_once]))))
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
