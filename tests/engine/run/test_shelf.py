"""Runs are put away and come back whole; nothing that works is moved, nothing is lost."""

import os
import shutil
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.run import JournalReader, RunFolder, RunState, find_run, list_runs, shelf
from engine.run.disk import write_atomically
from engine.run.schema import open_to_write

pytestmark = pytest.mark.usefixtures("run")


@pytest.fixture
def root(run: RunFolder) -> Path:
    return run.path.parent


def throw(run: RunFolder) -> shelf.TrashedRun:
    return shelf.trash(run, client="a test")


def test_an_archived_run_stays_where_it_is(run: RunFolder, root: Path) -> None:
    assert not shelf.is_archived(run)
    shelf.archive(run, client="a test")
    shelf.archive(run, client="a test")  # twice is once
    assert shelf.is_archived(run)
    assert find_run(root, "digits") == run
    assert shelf.unarchive(run)
    assert not shelf.unarchive(run)
    assert not shelf.is_archived(run)


def test_a_thrown_run_leaves_the_list_and_comes_back_as_it_was(run: RunFolder, root: Path) -> None:
    before = {path.name: path.stat().st_ino for path in run.path.iterdir()}
    thrown = throw(run)
    assert list_runs(root) == []
    assert shelf.list_trash(root) == [thrown]
    assert thrown.path == root / ".trash" / "digits"
    back = shelf.restore(shelf.find_in_trash(root, "digits"))
    assert back == run
    assert not (run.path / "trashed.json").exists()
    after = {path.name: path.stat().st_ino for path in run.path.iterdir()}
    assert before.items() <= after.items(), "moved, not copied"
    assert list_runs(root) == [run]
    assert shelf.list_trash(root) == []
    with JournalReader(run.journal_path) as reader:
        assert reader.integrity_check() == []


def test_a_run_that_is_worked_on_is_neither_archived_nor_thrown(run: RunFolder) -> None:
    with run.own():
        for put_away in (shelf.archive, shelf.trash):
            with pytest.raises(RunError, match=rf"process {os.getpid()} works on it.*diffopt stop"):
                put_away(run, client="a test")
    assert run.path.is_dir()
    assert not shelf.is_archived(run)


def test_a_run_whose_worker_is_about_to_begin_is_not_thrown(run: RunFolder) -> None:
    write_atomically(run.path / "launch.json", f'{{"pid": {os.getpid()}}}')
    assert run.state() is RunState.QUEUED
    with pytest.raises(RunError, match="about to begin"):
        throw(run)
    write_atomically(run.path / "launch.json", '{"pid": 999999999}')
    throw(run)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0 cut off"])
def test_a_damaged_run_is_put_away_unless_a_process_holds_it(
    run: RunFolder, root: Path, content: bytes
) -> None:
    run.journal_path.write_bytes(content)
    with pytest.raises(RunError):
        run.status()
    with run.own():
        for put_away in (shelf.archive, shelf.trash):
            with pytest.raises(RunError, match=rf"process {os.getpid()} works on it"):
                put_away(run, client="a test")
    write_atomically(run.path / "launch.json", f'{{"pid": {os.getpid()}}}')
    with pytest.raises(RunError, match="about to begin"):
        throw(run)
    (run.path / "launch.json").unlink()
    shelf.archive(run, client="a test")
    assert shelf.is_archived(run)
    thrown = throw(run)
    assert shelf.restore(thrown) == run
    assert run.journal_path.read_bytes() == content
    throw(run)
    assert shelf.empty_trash(root)[0] == 1


def test_runs_of_one_name_lie_in_the_trash_side_by_side(run: RunFolder, root: Path) -> None:
    throw(run)
    throw(RunFolder.create(root, "seed: 1\n", name="digits", mounts=[]))
    assert [one.path.name for one in shelf.list_trash(root)] == ["digits-2", "digits"]
    assert [one.name for one in shelf.list_trash(root)] == ["digits", "digits"]
    back = shelf.restore(shelf.find_in_trash(root, "digits-2"))
    assert back.config_path.read_text() == "seed: 1\n"
    with pytest.raises(RunError, match="exists by now"):
        shelf.restore(shelf.find_in_trash(root, "digits"))
    assert (root / ".trash" / "digits" / "journal.sqlite").is_file()


def test_what_is_not_in_the_trash_cannot_come_back(run: RunFolder, root: Path) -> None:
    with pytest.raises(RunError, match=r"no run digits.*In it: nothing"):
        shelf.find_in_trash(root, "digits")
    thrown = throw(run)
    shelf.restore(thrown)
    shelf.trash(run, client="another")
    shelf.empty_trash(root)
    with pytest.raises(RunError, match="not in the trash any more"):
        shelf.restore(thrown)


def test_a_run_that_is_gone_is_told_so(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "elsewhere")
    for put_away in (shelf.archive, shelf.trash):
        with pytest.raises(RunError):
            put_away(run, client="a test")


def test_emptying_deletes_only_what_is_in_the_trash(run: RunFolder, root: Path) -> None:
    kept = RunFolder.create(root, "seed: 0\n", name="kept", mounts=[])
    throw(run)
    assert shelf.folder_bytes(root / ".trash") > 4 << 20  # the ballast
    count, freed = shelf.empty_trash(root)
    assert count == 1
    assert freed > 4 << 20
    assert shelf.empty_trash(root) == (0, 0)
    assert list_runs(root) == [kept]


def test_a_run_worked_on_in_the_trash_is_not_deleted(run: RunFolder, root: Path) -> None:
    thrown = throw(run)
    with RunFolder.open(thrown.path).own():
        assert shelf.empty_trash(root) == (0, 0)
    assert shelf.empty_trash(root)[0] == 1


def test_a_run_moved_there_by_hand_comes_back_under_its_folders_name(
    run: RunFolder, root: Path
) -> None:
    thrown = throw(run)
    (thrown.path / "trashed.json").write_text('{"name": "../../escape", "time": 1}')
    assert [one.name for one in shelf.list_trash(root)] == ["digits"]
    (thrown.path / "trashed.json").write_text("{")
    assert shelf.restore(shelf.find_in_trash(root, "digits")) == run


def test_a_folder_that_cannot_be_written_is_told(run: RunFolder, root: Path) -> None:
    (root / ".trash").write_text("a file in the way")
    with pytest.raises(RunError, match="cannot be moved to the trash"):
        throw(run)
    assert run.path.is_dir()
    assert shelf.list_trash(root) == []


def test_an_emptying_cut_off_leaves_no_run_and_the_next_one_deletes_the_rest(
    run: RunFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(path: Path) -> None:
        assert shelf.list_trash(root) == []
        with pytest.raises(RunError, match="not in the trash any more"):
            shelf.restore(thrown)
        (path / "journal.sqlite").unlink()
        raise KeyboardInterrupt

    thrown = throw(run)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            shelf.empty_trash(root)
    (left,) = (root / ".trash").iterdir()
    other = left.with_name(left.name.replace(f"-{os.getpid()}", f"-{os.getppid()}"))
    left.rename(other)
    assert shelf.empty_trash(root) == (0, 0), "another process is at it"
    other.rename(left.with_name(left.name.replace(f"-{os.getpid()}", "-999999999")))
    count, freed = shelf.empty_trash(root)
    assert count == 0
    assert freed > 4 << 20  # the ballast
    assert list((root / ".trash").iterdir()) == []


def test_what_was_thrown_after_the_question_is_not_deleted(run: RunFolder, root: Path) -> None:
    throw(run)
    asked = shelf.list_trash(root)
    later = throw(RunFolder.create(root, "seed: 1\n", name="later", mounts=[]))
    assert shelf.empty_trash(root, only=asked)[0] == 1
    assert shelf.list_trash(root) == [later]
    assert shelf.empty_trash(root, only=[])[0] == 0


def test_of_a_linked_run_the_link_is_deleted_alone(
    run: RunFolder, root: Path, tmp_path: Path
) -> None:
    throw(run)
    far = RunFolder.create(tmp_path / "far", "seed: 0\n", name="far", mounts=[])
    (root / ".trash" / "a-link").symlink_to(far.path)
    assert shelf.empty_trash(root)[0] == 2
    assert list((root / ".trash").iterdir()) == []
    assert list_runs(tmp_path / "far") == [far]
    assert far.ballast_path.is_file()


def test_one_that_cannot_be_deleted_does_not_keep_the_others(
    run: RunFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    throw(run)
    throw(RunFolder.create(root, "seed: 1\n", name="stubborn", mounts=[]))
    rmtree = shutil.rmtree

    def refuse(path: Path) -> None:
        if "stubborn" in path.name:
            raise OSError("without a number")
        rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(RunError, match="without a number"):
            shelf.empty_trash(root)
    (left,) = (root / ".trash").iterdir()
    assert left.name.startswith(".deleting-stubborn-")
    assert shelf.empty_trash(root)[1] > 0


def test_a_run_of_senseless_values_is_put_away_unless_a_process_holds_it(
    run: RunFolder, root: Path
) -> None:
    with open_to_write(run.journal_path) as connection:
        connection.execute("insert or replace into latest values ('progress', '5')")
    connection.close()
    with pytest.raises(TypeError):
        run.status()
    with run.own(), pytest.raises(RunError, match=rf"process {os.getpid()} works on it"):
        throw(run)
    assert throw(run).path.is_dir()
