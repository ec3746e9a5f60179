"""Which noise and which conditions.

Disjoint, fixed, hashed, so that nothing is scored on what it was chosen by.

train is what students learn from (it follows the seed of the run). select is what choices on the
way are made by, final is what the reported score is measured on; both are the same for every run,
so that runs can be compared.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from engine.training.conditions import Conditions


class Purpose(IntEnum):
    """The stream a noise array is drawn from. No two purposes ever share a draw."""

    TRAIN = 1
    SELECT = 2
    SELECT_OTHER = 3  # fresh noise under the same conditions, the "other seed" of a score
    FINAL = 4
    FINAL_OTHER = 5
    ORDER = 6  # which states go into a batch
    DATA = 7  # noise added to images


def generator(purpose: Purpose, *parts: int) -> np.random.Generator:
    """Return the random generator of a purpose and the whole numbers that narrow it down.

    Such as seed, stage and step.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(purpose), *parts])))


def unit_noise(
    purpose: Purpose, count: int, shape: tuple[int, int, int], seed: int = 0
) -> np.ndarray:
    """Return (count, H, W, C) float32 of unit variance.

    A larger count begins with the smaller one's draws.
    """
    return generator(purpose, seed).standard_normal((count, *shape), dtype=np.float32)


@dataclass(frozen=True)
class NoiseSet:
    """Starting noise, fresh noise and conditions for one purpose.

    The same for every model that is compared.
    """

    name: str
    noise: np.ndarray  # (n, H, W, C)
    other_noise: np.ndarray  # (n, H, W, C)
    conditions: Conditions  # of n samples

    @classmethod
    def select(cls, count: int, shape: tuple[int, int, int], conditions: Conditions) -> "NoiseSet":
        """Return the set that choices are made by; samples take the distinct conditions in turn."""
        return cls._of("select", Purpose.SELECT, Purpose.SELECT_OTHER, count, shape, conditions)

    @classmethod
    def final(cls, count: int, shape: tuple[int, int, int], conditions: Conditions) -> "NoiseSet":
        """Return the set that the reported score is measured on, conditions in turn."""
        return cls._of("final", Purpose.FINAL, Purpose.FINAL_OTHER, count, shape, conditions)

    @classmethod
    def _of(
        cls,
        name: str,
        purpose: Purpose,
        other: Purpose,
        count: int,
        shape: tuple[int, int, int],
        conditions: Conditions,
    ) -> "NoiseSet":
        return cls(
            name,
            unit_noise(purpose, count, shape),
            unit_noise(other, count, shape),
            conditions.repeated(count),
        )

    @property
    def sha256(self) -> str:
        """A hash of the noise and the conditions, to be recorded beside a score."""
        digest = hashlib.sha256(self.noise.tobytes() + self.other_noise.tobytes())
        digest.update(self.conditions.digest())
        return digest.hexdigest()
