"""What a run remembers of itself on disk, so that a killed one goes on where it was.

Used by `context` and the worker.

Every finished piece of work (chosen grids, a trained try, a verdict) is one record, with rows of
arrays beside it where they are too large for memory (teacher trajectories); a stage that is being
trained keeps one more, renewed as it goes. All draws follow from seeds, so work that was lost is
done again to the same bytes; only records of unfinished training have to hold everything (weights,
average, optimizer, states).
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from engine.files import sync_file, write_safetensors
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
        # safetensors has no file without a tensor
        write_safetensors(path, tensors or {"empty": np.zeros(1, np.uint8)}, metadata)
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
        """Remove a record, if there is one, and the rows kept beside it."""
        path = self.path_of(name)
        if path is None:
            return
        path.unlink(missing_ok=True)
        for file in path.parent.glob(f"{name}.*.npy"):
            file.unlink()

    def rows(
        self, name: str, shapes: Mapping[str, tuple[int, ...]], count: int, inputs: str
    ) -> "Rows":
        """Return the float32 rows of `name`, `count` in all, with those that are there already.

        `shapes` are of one row of each array. Rows made from other `inputs` (a hash, or whatever
        tells them apart), and those that are damaged, are begun again.
        """
        return Rows(self, name, shapes, count, inputs)


def _digest(tensors: Mapping[str, np.ndarray], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for key in sorted(tensors):
        array = tensors[key]
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class Rows:
    """Arrays too large for memory, kept a chunk of rows at a time and read from the disk.

    Each is a NumPy file beside the record of its name, which says how many rows are whole and
    hashes every chunk. A chunk counts once it is synced and the record says so; what a kill left
    after that is written over. Without a folder the rows are held in memory.
    """

    def __init__(
        self,
        memory: Memory,
        name: str,
        shapes: Mapping[str, tuple[int, ...]],
        count: int,
        inputs: str,
    ) -> None:
        self._memory, self._name, self._inputs = memory, name, inputs
        self._shapes, self._count = dict(shapes), count
        self._held: dict[str, list[np.ndarray]] = {key: [] for key in shapes}
        self._chunks: list[dict[str, Any]] = self._whole_chunks()

    @property
    def done(self) -> int:
        """Rows that are whole."""
        return sum(chunk["rows"] for chunk in self._chunks)

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the next rows of every array.

        Raises DiskFull or OSError with the rows before unharmed; it may then be tried again.
        """
        arrays = {key: np.ascontiguousarray(value, np.float32) for key, value in arrays.items()}
        assert arrays.keys() == self._shapes.keys(), "every array has its rows"
        size = len(next(iter(arrays.values())))
        if self._memory.path_of(self._name) is None:
            for key, value in arrays.items():
                self._held[key].append(value)
            self._chunks.append({"rows": size})
            return
        needed = sum(value.nbytes for value in arrays.values())
        hashes = {}
        for key, value in arrays.items():
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            ensure_room(path, 2 * needed + (1 << 20), "a cache")
            with path.open("r+b" if path.exists() else "w+b") as file:
                start = _write_header(file, (self._count, *self._shapes[key]))
                # plain writes, for on a full disk a memory map ends the process
                file.truncate(start + self.done * _row_bytes(self._shapes[key]))
                file.seek(0, 2)
                file.write(value.data)
                file.flush()
                sync_file(file.fileno())
            hashes[key] = hashlib.sha256(value.data).hexdigest()
        chunk = {"rows": size, "sha256": hashes}
        self._memory.keep(self._name, self._record([*self._chunks, chunk]))
        self._chunks.append(chunk)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all rows of each array, (count, ...) float32, mapped from the disk read-only."""
        assert self.done == self._count, f"{self.done} of {self._count} rows are there"
        if self._memory.path_of(self._name) is None:
            return {key: np.concatenate(parts) for key, parts in self._held.items()}
        return {key: np.asarray(np.load(self._path(key), mmap_mode="r")) for key in self._shapes}

    def _path(self, key: str) -> Path:
        record = self._memory.path_of(self._name)
        assert record is not None, "rows on the disk have a record beside them"
        return record.with_name(f"{self._name}.{key}.npy")

    def _record(self, chunks: list[dict[str, Any]]) -> Record:
        shapes = {key: list(shape) for key, shape in self._shapes.items()}
        facts = {"inputs": self._inputs, "count": self._count, "shapes": shapes, "chunks": chunks}
        return Record(facts=facts)

    def _whole_chunks(self) -> list[dict[str, Any]]:
        """Return the chunks on the disk that are of the same inputs and as they were written."""
        record, wanted = self._memory.recall(self._name), self._record([]).facts
        if record is None or any(record.facts.get(k) != v for k, v in wanted.items() if v != []):
            return []
        done, whole = 0, []
        for chunk in record.facts["chunks"]:
            for key, digest in chunk["sha256"].items():
                if self._digest(key, done, chunk["rows"]) != digest:
                    logger.warning(
                        "%s does not match its hash after %d rows; these are made again",
                        self._path(key),
                        done,
                    )
                    return whole
            whole.append(chunk)
            done += chunk["rows"]
        return whole

    def _digest(self, key: str, start: int, count: int) -> str | None:
        """Return the hash of rows on the disk, None where they are not all there."""
        row, path = _row_bytes(self._shapes[key]), self._path(key)
        try:
            with path.open("rb") as file:
                offset = _header_bytes((self._count, *self._shapes[key]))
                file.seek(offset + start * row)
                content = file.read(count * row)
        except OSError as error:
            logger.warning("%s cannot be read (%s); that work is done again", path, error)
            return None
        return hashlib.sha256(content).hexdigest() if len(content) == count * row else None


def _row_bytes(shape: tuple[int, ...]) -> int:
    return 4 * int(np.prod(shape))


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> int:
    """Write the header of a NumPy file of all rows at the beginning; return its length."""
    file.seek(0)
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    return file.tell()


def _header_bytes(shape: tuple[int, ...]) -> int:
    return _write_header(BytesIO(), shape)
