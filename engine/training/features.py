"""Samples as a score reads them: float64, a block at a time, however many and however large.

128 pictures of 512 x 512 are 805 MB in float64; a score looks at them in blocks of 16 MiB. NumPy
only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.model_size import SCORING_BLOCK_BYTES

_AT_ONCE = 8  # pictures that are decoded together: a block holds a multiple of them, or fewer


@dataclass(frozen=True, eq=False)
class Features:
    """n samples and what makes float64 features (n, H, W, C) of some of them.

    `samples` may be mapped from a disk. `shape` is (H, W, C) of the features of one.
    """

    samples: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]

    @classmethod
    def plain(cls, values: "np.ndarray | Features") -> "Features":
        """Return features that are there already as one array (n, H, W, C)."""
        if isinstance(values, Features):
            return values
        return cls(values, lambda some: some.astype(np.float64), values.shape[1:])

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def block_rows(self) -> int:
        """How many samples a block holds; it depends on their shape alone."""
        rows = max(1, SCORING_BLOCK_BYTES // (8 * int(np.prod(self.shape))))
        return rows - rows % _AT_ONCE if rows > _AT_ONCE else rows

    @property
    def is_one_block(self) -> bool:
        """Whether all samples are looked at at once."""
        return len(self) <= self.block_rows

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (which samples, their features) until all were seen."""
        for start in range(0, len(self), self.block_rows):
            part = slice(start, min(start + self.block_rows, len(self)))
            yield part, self.of(self.samples[part])

    def columns(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (which numbers of a sample, these of all samples (n, d)) until all were seen.

        For features that are made of a sample number by number.
        """
        flat = self.samples.reshape(len(self), -1)
        width = max(1, SCORING_BLOCK_BYTES // (8 * len(self)))
        for start in range(0, flat.shape[1], width):
            part = slice(start, min(start + width, flat.shape[1]))
            yield part, self.of(flat[:, part])
