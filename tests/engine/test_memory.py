"""What a run remembers: whole records or none, and the old one where the new one fails."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import memory as memory_module
from engine.memory import Memory, Record
from engine.run import DiskFull

RECORD = Record({"a": np.arange(600, dtype=np.float32)}, {"step": 7, "losses": [[1, 0.5]]})
NEWER = Record({"a": np.zeros(600, np.float32)}, {"step": 8})


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "checkpoints")


def kept_path(memory: Memory, name: str = "stage-1") -> Path:
    path = memory.path_of(name)
    assert path is not None
    return path


def test_a_record_comes_back_as_it_was_kept(memory: Memory) -> None:
    memory.keep("stage-1", RECORD)
    found = memory.recall("stage-1")
    assert found is not None
    assert found.facts == RECORD.facts
    assert found.tensors["a"].tobytes() == RECORD.tensors["a"].tobytes()


def test_a_record_may_hold_facts_alone(memory: Memory) -> None:
    memory.keep("plan", Record(facts={"grid": [3, 1]}))
    assert memory.recall("plan") == Record({}, {"grid": [3, 1]})


def test_what_was_never_kept_is_not_recalled(memory: Memory) -> None:
    assert memory.recall("stage-1") is None
    assert memory.names() == []


def test_without_a_folder_nothing_is_kept() -> None:
    memory = Memory()
    assert memory.keep("plan", RECORD) is None
    assert memory.recall("plan") is None
    assert memory.names() == []


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_truncated_record_is_not_recalled_and_is_warned_of(
    memory: Memory, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = memory.keep("stage-1", RECORD)
    assert path is not None
    path.write_bytes(path.read_bytes()[:size])
    assert memory.recall("stage-1") is None
    assert "done again" in caplog.text


@pytest.mark.parametrize("place", [-1, -1000])
def test_an_altered_record_is_not_recalled_and_is_warned_of(
    memory: Memory, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = memory.keep("stage-1", RECORD)
    assert path is not None
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert memory.recall("stage-1") is None
    assert "does not match its hash" in caplog.text


def test_altered_facts_are_noticed(memory: Memory) -> None:
    path = memory.keep("stage-1", RECORD)
    assert path is not None
    path.write_bytes(path.read_bytes().replace(b'step\\": 7', b'step\\": 9'))
    assert memory.recall("stage-1") is None


def test_a_write_that_fails_half_way_leaves_the_old_record_and_no_litter(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.keep("stage-1", RECORD)

    def fail(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(memory_module, "save_file", fail)
    with pytest.raises(OSError, match="No space"):
        memory.keep("stage-1", NEWER)
    found = memory.recall("stage-1")
    assert found is not None
    assert found.facts == RECORD.facts
    assert [path.name for path in kept_path(memory).parent.iterdir()] == ["stage-1.safetensors"]


def test_a_record_that_has_no_room_is_refused_before_the_old_one_is_touched(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.keep("stage-1", RECORD)
    before = kept_path(memory).read_bytes()

    def refuse(path: Path, needed_bytes: int, what: str) -> None:
        assert needed_bytes >= 2 * NEWER.tensors["a"].nbytes
        raise DiskFull(f"{what} has no room")

    monkeypatch.setattr(memory_module, "ensure_room", refuse)
    with pytest.raises(DiskFull):
        memory.keep("stage-1", NEWER)
    assert kept_path(memory).read_bytes() == before


def test_names_are_those_of_whole_records(memory: Memory) -> None:
    memory.keep("plan", RECORD)
    memory.keep("stage-1", RECORD)
    (kept_path(memory).parent / ".stage-2.tmp-1.safetensors").write_bytes(b"half")
    assert memory.names() == ["plan", "stage-1"]
    memory.forget("plan")
    memory.forget("plan")
    assert memory.names() == ["stage-1"]
