"""A journal that is newer is watched, one that is damaged is refused: in one clear line each."""

import os
import sqlite3
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.run import Command, CommandKind, CommandQueue, JournalReader, JournalWriter, RunFolder
from engine.run.events import LogLine, UnknownEvent
from engine.run.schema import FORMAT_VERSION


@pytest.fixture
def full(run: RunFolder) -> Path:
    """A journal of some hundred pages."""
    with JournalWriter(run.journal_path) as writer:
        for step in range(200):
            writer.record(
                LogLine(level="INFO", text="x" * 500),
                step=step,
                metrics={"loss": 1.0, "score": 0.5},
            )
    return run.journal_path


def make_newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"pragma user_version={FORMAT_VERSION + 1}")
    connection.execute("alter table event add column mood text")
    connection.execute(
        "insert into event(t, kind, stage, body) values (0, 'StageDreamt', 3, '{\"depth\":2}')"
    )
    connection.commit()
    connection.close()


def read_everything(path: Path) -> None:
    with JournalReader(path) as reader:
        reader.poll(limit=10_000)
        reader.facts()
        reader.log_lines(10_000)
        reader.last_values()
        reader.metrics("loss", 10_000)
        reader.commands()
        if problems := reader.integrity_check():
            raise RunError(problems[0])


def test_a_newer_journal_is_shown_and_not_touched(full: Path) -> None:
    make_newer(full)
    before = full.read_bytes()
    with JournalReader(full) as reader:
        assert reader.is_newer
        assert reader.notice is not None
        assert "Update diffopt" in reader.notice
        assert "\n" not in reader.notice
        assert reader.facts()[-1].event == UnknownEvent(kind="StageDreamt", body='{"depth":2}')
        assert len(reader.metrics("loss", 10)) == 7
    for opened in (JournalWriter, CommandQueue):
        with pytest.raises(RunError, match="Update diffopt"):
            opened(full)
    assert full.read_bytes() == before


def test_our_own_journal_has_no_notice(full: Path) -> None:
    with JournalReader(full) as reader:
        assert not reader.is_newer
        assert reader.notice is None


def test_a_newer_journal_that_is_laid_out_otherwise_says_so(full: Path) -> None:
    connection = sqlite3.connect(full)
    connection.execute(f"pragma user_version={FORMAT_VERSION + 1}")
    connection.execute("alter table event rename column body to content")
    connection.close()
    with JournalReader(full) as reader, pytest.raises(RunError, match="Update diffopt"):
        reader.poll()


@pytest.mark.parametrize("keep", [0, 1, 99, 100, 511, 4095, 4096, 5000, 20_000, 0.5, 0.9])
def test_a_truncated_journal_is_refused(full: Path, keep: float) -> None:
    content = full.read_bytes()
    full.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(RunError, match=r"journal\.sqlite"):
        read_everything(full)


def test_a_journal_of_noise_is_refused(full: Path) -> None:
    full.write_bytes(os.urandom(10_000))
    for opened in (JournalReader, JournalWriter, CommandQueue):
        with pytest.raises(RunError, match="is damaged"):
            opened(full)


def test_a_journal_with_a_torn_middle_is_refused(full: Path) -> None:
    content = bytearray(full.read_bytes())
    content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
    full.write_bytes(content)
    with pytest.raises(RunError):
        read_everything(full)


def test_a_torn_wal_costs_only_what_was_torn(run: RunFolder, tmp_path: Path) -> None:
    """As a power cut leaves it: the commits before the tear are there, the rest never was."""
    torn = tmp_path / "torn"
    torn.mkdir()
    with JournalWriter(run.journal_path) as writer:
        for step in range(50):
            writer.record_metrics(step, {"loss": step})
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            (torn / name).write_bytes((run.path / name).read_bytes())
    wal = torn / "journal.sqlite-wal"
    wal.write_bytes(wal.read_bytes()[:-20_000] + os.urandom(10_000))
    with JournalReader(torn / "journal.sqlite") as reader:
        assert reader.integrity_check() == []
        last, value = reader.last_values()["loss"]
        assert 0 < last == value < 49


def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("create table cookies(name)")
    connection.close()
    with pytest.raises(RunError, match="not a diffopt journal"):
        JournalReader(path)


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        JournalReader(tmp_path / "journal.sqlite")
    assert not any(tmp_path.iterdir())


def test_a_locked_journal_says_so(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.run.schema.BUSY_TIMEOUT_MS", 1)
    other = sqlite3.connect(full, isolation_level=None)
    other.execute("begin immediate")
    with CommandQueue(full) as queue, pytest.raises(RunError, match="locked by another program"):
        queue.send(Command.new(CommandKind.PAUSE, client="test"))
    other.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_finished_run_in_a_read_only_folder_can_be_read(full: Path) -> None:
    full.parent.chmod(0o500)
    try:
        read_everything(full)
    finally:
        full.parent.chmod(0o700)


def test_a_transaction_that_sqlite_ended_by_itself_is_no_error_of_its_own(full: Path) -> None:
    """As it does where the disk fails under a read: it hid that failure behind another."""
    with JournalReader(full) as reader:
        with reader.snapshot():
            reader._connection.execute("rollback")
        assert reader.last_id == 201


def test_a_check_finds_what_facts_do_not_read(full: Path) -> None:
    with JournalReader(full) as reader:
        reader.check()
    sqlite3.connect(full).execute("pragma wal_checkpoint(truncate)")
    content = bytearray(full.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    full.write_bytes(content)
    with JournalReader(full) as reader, pytest.raises(RunError, match="is damaged"):
        reader.check()
