"""What samples are conditioned on: class labels, or the embeddings of prompts. NumPy until asked.

Each distinct condition is held once, however many samples share it: a prompt's embedding is
77 x 768 numbers, and a thousand samples of it are a thousand row numbers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from engine.models.diffusion import Condition


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of n samples under the names that a network reads.

    `tables` holds (m, ...) distinct rows under each name; a table of one row serves every sample.
    `rows` (n,) says which row each sample takes; states of K points have (K, n). Names are
    class_labels, encoder_hidden_states, text_embeds and time_ids, and with ``uncond_`` before them
    what guidance leads away from. A model without conditions has no tables, but samples all the
    same.
    """

    rows: np.ndarray
    tables: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        most = int(self.rows.max()) + 1 if self.rows.size else 0
        for name, table in self.tables.items():
            if len(table) != 1 and len(table) < most:
                raise ValueError(f"{name} has {len(table)} rows; row {most - 1} is asked for")

    @classmethod
    def none(cls, count: int) -> "Conditions":
        """Return the conditions of `count` samples of a model that takes none."""
        return cls(np.zeros(count, np.int32))

    @classmethod
    def of_labels(cls, labels: np.ndarray | None, count: int | None = None) -> "Conditions":
        """Return the conditions of samples with class labels (n,).

        None, for a model without classes, needs a `count`.
        """
        if labels is None:
            assert count is not None, "a count where there are no labels"
            return cls.none(count)
        distinct, rows = np.unique(labels, return_inverse=True)
        return cls(
            rows.reshape(labels.shape).astype(np.int32), {"class_labels": distinct.astype(np.int32)}
        )

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Conditions":
        """Return the conditions whose arrays have one row for each sample, or one for all."""
        count = max((len(value) for value in arrays.values()), default=1)
        return cls(np.arange(count, dtype=np.int32), dict(arrays))

    def __len__(self) -> int:
        return self.rows.shape[-1]

    def __getitem__(self, chosen: slice | np.ndarray | tuple[np.ndarray, ...]) -> "Conditions":
        """Return the conditions of some samples, by slice or by index of any shape."""
        return Conditions(self.rows[chosen], self.tables)

    def repeated(self, count: int) -> "Conditions":
        """Return these conditions in turn for `count` samples: 0, 1, ..., n - 1, 0, 1, ..."""
        return self[np.arange(count) % len(self)]

    def at_points(self, points: int) -> "Conditions":
        """Return the same conditions at each of a grid's points, rows (points, n)."""
        return Conditions(np.broadcast_to(self.rows, (points, *self.rows.shape)), self.tables)

    def values(self, name: str) -> np.ndarray:
        """Return (n, ...) of one name, a row for each sample."""
        table = self.tables[name]
        rows = np.zeros_like(self.rows) if len(table) == 1 else self.rows
        return table[rows]

    @property
    def labels(self) -> np.ndarray | None:
        """Class labels (n,) int32, None for a model without classes."""
        return self.values("class_labels") if "class_labels" in self.tables else None

    def to_condition(self) -> Condition:
        """Return what a network is given for these samples."""
        return {name: mx.array(self.values(name)) for name in self.tables}

    def digest(self) -> bytes:
        """Return bytes that two bundles share only if they say the same to a network.

        Class labels are digested as they always were, so that published hashes stay true.
        """
        if self.tables.keys() == {"class_labels"}:
            return self.values("class_labels").tobytes()
        if not self.tables:
            return b""
        whole = hashlib.sha256(self.rows.astype(np.int32).tobytes())
        for name in sorted(self.tables):
            table = np.ascontiguousarray(self.tables[name])
            whole.update(f"{name} {table.dtype} {table.shape}".encode())
            whole.update(table.tobytes())
        return whole.digest()


@dataclass(frozen=True)
class ConditionSets:
    """The distinct conditions of each purpose; for classes all three are the same."""

    train: Conditions
    select: Conditions
    final: Conditions

    @classmethod
    def same(cls, conditions: Conditions) -> "ConditionSets":
        """Return sets that learn and measure under the same conditions."""
        return cls(conditions, conditions, conditions)


def classes(class_count: int | None) -> Conditions:
    """Return every class once; one empty condition for a model without classes."""
    if class_count is None:
        return Conditions.none(1)
    return Conditions.of_labels(np.arange(class_count, dtype=np.int32))
