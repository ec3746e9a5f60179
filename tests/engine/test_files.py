"""Files and folders are replaced whole or not at all."""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from engine import files
from engine.files import (
    replacing,
    replacing_folder,
    sync_path,
    temporary_name,
    write_json,
    write_safetensors,
    write_text,
)

try:
    import resource
except ImportError:  # not on every system
    resource = None


class CutOffError(Exception):
    """The work ends in the middle."""


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path  # a rename across file systems would be a copy
        assert temporary.suffix == ".png"
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert names_in(tmp_path) == ["picture.png"]


def test_work_that_ends_in_the_middle_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    with suppress(CutOffError), replacing(path) as temporary:
        temporary.write_text("half")
        raise CutOffError
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["notes.txt"]


def test_nothing_written_is_an_error_and_not_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_json_is_written_so_that_every_reader_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"name": "Zürich", "values": [1, 2.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "name": "Zürich",
        "values": [1, 2.5, None],
    }
    assert path.read_text(encoding="utf-8").endswith("\n")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert "Zürich" in json.loads(path.read_text(encoding="utf-8")).values()


def test_a_folder_takes_the_place_of_an_old_one_with_nothing_left_of_it(tmp_path: Path) -> None:
    path = tmp_path / "export"
    for content in ("one", "two"):
        with replacing_folder(path) as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / content).write_text(content)
            assert not path.exists() or names_in(path / "inner") == ["one"]
    assert names_in(path / "inner") == ["two"]
    assert names_in(tmp_path) == ["export"]


@pytest.mark.parametrize("is_there_before", [False, True])
def test_a_folder_cut_off_in_the_middle_is_not_seen(is_there_before: bool, tmp_path: Path) -> None:
    path = tmp_path / "export"
    if is_there_before:
        path.mkdir()
        (path / "old").write_text("old")
    with suppress(CutOffError), replacing_folder(path) as temporary:
        (temporary / "new").write_text("half")
        raise CutOffError
    assert names_in(tmp_path) == (["export"] if is_there_before else [])
    if is_there_before:
        assert names_in(path) == ["old"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "export"
    path.mkdir()
    (path / "old").write_text("old")
    rename = Path.replace

    def refuse_new(self: Path, target: Path) -> Path:
        if self == temporary_name(path):
            raise OSError("device is busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse_new)
    with pytest.raises(OSError, match="busy"), replacing_folder(path) as temporary:
        (temporary / "new").write_text("new")
    assert names_in(path) == ["old"]
    assert names_in(tmp_path) == ["export"]


def test_the_old_folder_is_not_deleted_where_it_cannot_even_be_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "export"
    path.mkdir()
    (path / "old").write_text("old")
    rename = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == path:
            raise OSError("device is busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="busy"), replacing_folder(path) as temporary:
        (temporary / "new").write_text("new")
    assert [file.read_text() for file in tmp_path.rglob("old")] == ["old"]


def test_a_folder_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("years of work")
    with pytest.raises(NotADirectoryError), replacing_folder(path):
        raise AssertionError("there is nothing to fill")
    assert path.read_text() == "years of work"
    assert names_in(tmp_path) == ["thesis.txt"]


def test_what_came_to_the_place_meanwhile_is_left_as_it_is_where_the_check_refuses(
    tmp_path: Path,
) -> None:
    path = tmp_path / "export"

    def refuse() -> None:
        assert names_in(path) == ["thesis"]
        raise CutOffError

    def fill() -> None:
        with replacing_folder(path, refuse) as temporary:
            (temporary / "new").write_text("new")
            path.mkdir()
            (path / "thesis").write_text("years of work")

    with pytest.raises(CutOffError):
        fill()
    assert names_in(path) == ["thesis"]
    assert names_in(tmp_path) == ["export"]


def test_a_file_that_came_to_the_place_of_a_folder_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    with pytest.raises(NotADirectoryError), replacing_folder(path):
        path.write_text("years of work")
    assert path.read_text() == "years of work"
    assert names_in(tmp_path) == ["thesis.txt"]


def test_a_link_to_a_folder_stays_and_leads_to_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.mkdir()
    (path / "old").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("there")
    with replacing_folder(link) as temporary:
        (temporary / "new").write_text("new")
    assert link.is_symlink()
    assert names_in(path) == ["new"]
    assert names_in(tmp_path) == ["link", "there"]


def test_a_file_that_cannot_be_written_is_named_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 300}.txt"
    with pytest.raises(OSError, match="too long") as refusal:
        write_text(path, "x")
    assert refusal.value.filename == str(path)


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "export"
    left = temporary_name(path)
    left.mkdir()
    (left / "half").write_text("half")
    with replacing_folder(path) as temporary:
        assert names_in(temporary) == []
        (temporary / "new").write_text("new")
    assert names_in(path) == ["new"]


def test_everything_is_on_the_medium_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "a.txt", []
    real = files.sync_path

    def watch(what: Path) -> None:
        synced.append((what.name, path.exists()))
        real(what)

    monkeypatch.setattr(files, "sync_path", watch)
    write_text(path, "x")
    assert synced == [(temporary_file_name(path), False), (tmp_path.name, True)]


def temporary_file_name(path: Path) -> str:
    return f".{path.stem}{files.TEMPORARY_MARK}{os.getpid()}{path.suffix}"


def test_folders_can_be_synced_too(tmp_path: Path) -> None:
    sync_path(tmp_path)


def test_tensors_are_written_whole_and_read_by_everybody(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.arange(6.0).reshape(2, 3)}, {"format": "pt"})
    np.testing.assert_array_equal(load_file(path)["x"], np.arange(6.0).reshape(2, 3))
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(resource is None, reason="needs a limit on files")
def test_tensors_without_room_are_an_error_with_its_number_and_leave_the_old_file(
    tmp_path: Path,
) -> None:
    assert resource is not None
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.ones(3)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as refusal:
            write_safetensors(path, {"x": np.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refusal.value.errno == errno.EFBIG
    assert load_file(path)["x"].shape == (3,)
    assert names_in(tmp_path) == ["a.safetensors"]
