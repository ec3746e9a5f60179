"""What a run remembers: whole records or none, and the old one where the new one fails."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import memory as memory_module
from engine.memory import Memory, Record, Rows
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

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
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


SHAPES = {"states": (3, 2), "x0": (2,)}


def rows_of(memory: Memory, inputs: str = "a") -> Rows:
    return memory.rows("paths", SHAPES, 7, inputs)


def chunk(start: int, stop: int) -> dict[str, np.ndarray]:
    return {
        key: np.arange(start, stop, dtype=np.float32).reshape(-1, *[1] * len(shape))
        * np.ones(shape, np.float32)
        for key, shape in SHAPES.items()
    }


@pytest.mark.parametrize("is_kept", [True, False])
def test_rows_come_back_whole_and_in_order(is_kept: bool, tmp_path: Path) -> None:
    rows = rows_of(Memory(tmp_path / "checkpoints" if is_kept else None))
    for start, stop in ((0, 3), (3, 6), (6, 7)):
        assert rows.done == start
        rows.append(chunk(start, stop))
    for key, value in rows.arrays().items():
        np.testing.assert_array_equal(value, chunk(0, 7)[key])
        assert not is_kept or not value.flags.owndata  # read from the disk, not held


def test_rows_go_on_at_the_chunk_where_they_were_left(memory: Memory) -> None:
    rows_of(memory).append(chunk(0, 3))
    again = rows_of(memory)
    assert again.done == 3
    again.append(chunk(3, 7))
    found = rows_of(memory)
    assert found.done == 7
    np.testing.assert_array_equal(found.arrays()["states"], chunk(0, 7)["states"])


def test_what_a_kill_left_after_the_last_whole_chunk_is_written_over(memory: Memory) -> None:
    rows_of(memory).append(chunk(0, 3))
    path = kept_path(memory, "paths").with_name("paths.states.npy")
    with path.open("ab") as file:
        file.write(b"half a chunk")
    again = rows_of(memory)
    again.append(chunk(3, 7))
    np.testing.assert_array_equal(again.arrays()["states"], chunk(0, 7)["states"])


def test_a_chunk_that_cannot_be_written_may_be_tried_again(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(memory)
    rows.append(chunk(0, 3))
    with monkeypatch.context() as broken:
        broken.setattr(memory, "keep", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "")))
        with pytest.raises(OSError, match=r"Errno 28"):
            rows.append(chunk(3, 7))
    assert rows.done == 3
    rows.append(chunk(3, 7))
    np.testing.assert_array_equal(rows.arrays()["x0"], chunk(0, 7)["x0"])


@pytest.mark.parametrize(("damaged", "left"), [(0, 0), (1, 3)])
def test_rows_are_made_again_from_the_first_chunk_that_is_damaged(
    damaged: int, left: int, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(memory)
    rows.append(chunk(0, 3))
    rows.append(chunk(3, 7))
    path = kept_path(memory, "paths").with_name("paths.x0.npy")
    content = bytearray(path.read_bytes())
    content[-1 if damaged else -4 * 2 * 7] ^= 255
    path.write_bytes(content)
    assert rows_of(memory).done == left
    assert "does not match its hash" in caplog.text


def test_rows_of_other_inputs_are_begun_again(memory: Memory) -> None:
    rows_of(memory).append(chunk(0, 3))
    assert rows_of(memory, "b").done == 0
    assert memory.rows("paths", SHAPES, 9, "a").done == 0
    assert rows_of(memory).done == 3


def test_forgetting_rows_takes_their_files_along(memory: Memory) -> None:
    rows_of(memory).append(chunk(0, 7))
    memory.forget("paths")
    assert list(kept_path(memory).parent.iterdir()) == []
