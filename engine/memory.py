"""What a run remembers of itself on disk, so that a killed one goes on where it was.

Used by `context` and the worker.

Every finished piece of work (teacher trajectories, chosen grids, a trained try, a verdict) is one
record; a stage that is being trained keeps one more, renewed as it goes. All draws follow from
seeds, so work that was lost is done again to the same bytes; only records of unfinished training
have to hold everything (weights, average, optimizer, states).
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engine.files import replacing
from engine.run import ensure_room

logger = logging.getLogger(__name__)

_FORMAT = "1"


@dataclass(frozen=True)
class Record:
    """Arrays and facts (JSON-ready) under one name."""

    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Memory:
    """Records in one folder.

    Each is a safetensors file with its facts and a hash of both in the header.
    Written to a temporary name, synced and renamed; free space is checked before (twice the size).
    Without a folder nothing is kept and nothing recalled.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def path_of(self, name: str) -> Path | None:
        """Return where a record is kept, or None without a folder."""
        return self._folder / f"{name}.safetensors" if self._folder else None

    def keep(self, name: str, record: Record) -> Path | None:
        """Write a record, replacing an older one of its name.

        Raises DiskFull or OSError with the old one unharmed.
        """
        path = self.path_of(name)
        if path is None:
            return None
        tensors = {key: np.ascontiguousarray(value) for key, value in record.tensors.items()}
        facts = json.dumps(record.facts)
        size = sum(value.nbytes for value in tensors.values()) + len(facts)
        ensure_room(path, 2 * size + (1 << 20), "a checkpoint")
        metadata = {"format": _FORMAT, "facts": facts, "sha256": _digest(tensors, facts)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            # safetensors has no file without a tensor
            save_file(tensors or {"empty": np.zeros(1, np.uint8)}, temporary, metadata=metadata)
        return path

    def recall(self, name: str) -> Record | None:
        """Return a record, or None if there is none that is whole."""
        path = self.path_of(name)
        if path is None or not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys() if key != "empty"}  # noqa: SIM118
            facts = metadata["facts"]
            is_whole = metadata["format"] == _FORMAT and metadata["sha256"] == _digest(
                tensors, facts
            )
        except (SafetensorError, OSError, KeyError) as error:
            logger.warning("%s cannot be read (%s); that work is done again", path, error)
            return None
        if not is_whole:
            logger.warning("%s does not match its hash; that work is done again", path)
            return None
        return Record(tensors, json.loads(facts))

    def names(self) -> list[str]:
        """Return the names of all records."""
        if self._folder is None:
            return []
        return sorted(path.stem for path in self._folder.glob("[!.]*.safetensors"))

    def forget(self, name: str) -> None:
        """Remove a record, if there is one."""
        path = self.path_of(name)
        if path is not None:
            path.unlink(missing_ok=True)


def _digest(tensors: Mapping[str, np.ndarray], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for key in sorted(tensors):
        array = tensors[key]
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
