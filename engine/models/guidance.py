"""Classifier-free guidance (Ho & Salimans 2022): two conditions in one forward of twice the batch.

What a condition leads away from stands beside it under the same name with ``uncond_`` before it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

Condition = dict[str, mx.array]
UNCONDITIONAL = "uncond_"


@dataclass(frozen=True)
class Guidance:
    """How far a prediction is led from the unconditional one, in diffusers' convention.

    ``u + scale (c - u)``; `scale` 1 is the conditional prediction alone (w + 1 in Meng et al.
    2023). `rescale` in [0, 1] is the share of the guided prediction that is brought back to the
    conditional one's standard deviation (Lin et al. 2024, section 3.4).
    """

    scale: float
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if self.scale < 1 or not 0 <= self.rescale <= 1:
            raise ValueError(f"{self}: wanted a scale from 1 and a rescale in [0, 1]")

    def __call__(
        self,
        predict: Callable[[mx.array, mx.array, Condition], mx.array],
        z: mx.array,
        t: mx.array,
        condition: Condition,
    ) -> mx.array:
        """Return the guided prediction (B, H, W, C), float32, from one call on 2 B states."""
        names = [name for name in condition if UNCONDITIONAL + name in condition]
        if not names:
            raise ValueError(
                f"guidance of {self.scale:g} without an {UNCONDITIONAL}... condition to lead "
                f"away from; given are {', '.join(condition) or 'none'}"
            )
        both = {
            name: mx.concatenate([condition.get(UNCONDITIONAL + name, value), value])
            for name, value in conditional(condition).items()
        }
        u, c = mx.split(predict(mx.concatenate([z, z]), mx.concatenate([t, t]), both), 2)
        guided = u + self.scale * (c - u)
        if self.rescale == 0:
            return guided
        ratio = _deviation(c) / _deviation(guided)  # (B, 1, 1, 1)
        return guided * (self.rescale * ratio + 1 - self.rescale)


def conditional(condition: Condition) -> Condition:
    """Return the condition without what guidance leads away from: what a single forward reads."""
    return {n: value for n, value in condition.items() if not n.startswith(UNCONDITIONAL)}


def _deviation(prediction: mx.array) -> mx.array:
    return mx.sqrt(mx.var(prediction, axis=(1, 2, 3), keepdims=True, ddof=1))
