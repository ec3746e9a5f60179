"""The WAL: kept short by a thread that nobody waits for, and commits that wait for no client."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.run import (
    Command,
    CommandKind,
    CommandQueue,
    Heartbeat,
    JournalReader,
    JournalWriter,
    RunFolder,
)
from engine.run.events import LogLine, RunStarted, StageAccepted
from engine.run.schema import BUSY_TIMEOUT_MS

STARTED = RunStarted(pid=1, host="here", device="cpu")


@pytest.fixture
def client(run: RunFolder) -> Iterator[sqlite3.Connection]:
    """Another program, which is writing just now."""
    other = sqlite3.connect(run.journal_path, isolation_level=None)
    other.execute("begin immediate")
    yield other
    other.close()


def salts_of(run: RunFolder) -> bytes:
    """Return what is drawn anew where a WAL starts over, from its header."""
    return Path(f"{run.journal_path}-wal").read_bytes()[16:24]


def patience_of(writer: JournalWriter) -> int:
    return writer._connection.execute("pragma busy_timeout").fetchone()[0]


def test_metrics_wait_for_the_next_commit_rather_than_for_a_client(
    writer: JournalWriter, reader: JournalReader, client: sqlite3.Connection
) -> None:
    writer.add_metrics(1, {"loss": 0.5})
    writer.flush_soon()
    assert not writer.heartbeat()
    assert reader.last_values() == {}
    client.execute("rollback")
    writer.add_metrics(2, {"loss": 0.4})
    writer.flush_soon()
    assert reader.last_values()["loss"] == (2, 0.4)
    assert [point.mean for point in reader.metrics("loss", 10)] == [0.5, 0.4]


def test_an_event_outwaits_a_client_that_was_halted_as_it_wrote(writer: JournalWriter) -> None:
    writer.emit(STARTED)
    assert patience_of(writer) == BUSY_TIMEOUT_MS
    writer.begin_engine()
    writer.emit(STARTED)
    assert patience_of(writer) == 60_000
    writer.shrink_wal()
    writer.emit(STARTED)
    assert patience_of(writer) == 60_000


def test_a_client_leaves_the_wal_to_the_worker(run: RunFolder, writer: JournalWriter) -> None:
    """More than SQLite would let pass by itself, a thousand pages."""
    for _ in range(12):
        writer.emit(*(LogLine(level="INFO", text="x" * 4000) for _ in range(100)))
    before, main = salts_of(run), run.journal_path.stat().st_size
    with CommandQueue(run.journal_path) as queue:
        queue.send(Command.new(CommandKind.PAUSE, client="a test"))
    assert run.journal_path.stat().st_size == main, "nothing was moved"
    writer.emit(STARTED)
    assert salts_of(run) == before


def test_no_commit_is_the_first_of_a_wal_that_starts_over(
    run: RunFolder, writer: JournalWriter
) -> None:
    """That one is synced; the thread that checkpoints makes it."""
    for step in range(1, 120):
        writer.record_metrics(step, {"loss": 1.0})
    before = salts_of(run)
    assert writer.checkpoint()
    after = salts_of(run)
    assert after != before
    writer.record_metrics(120, {"loss": 1.0})
    assert salts_of(run) == after


def test_the_wal_is_cut_at_a_stage_s_end_unless_a_reader_stands_in_it(run: RunFolder) -> None:
    wal = run.path / "journal.sqlite-wal"
    end = StageAccepted(stage=1, attempt=1, score=1.0, lower_bound=1.0, threshold=0.95)
    with JournalWriter(run.journal_path) as writer, JournalReader(run.journal_path) as reader:
        writer.record_metrics(1, {"loss": 1.0})
        assert wal.stat().st_size > 0
        writer.emit(end)
        assert wal.stat().st_size == 0
        with reader.snapshot():
            assert reader.last_id
            writer.record_metrics(2, {"loss": 1.0})
            writer.emit(end)
            assert wal.stat().st_size > 0
        writer.emit(end)
        assert wal.stat().st_size == 0


def test_the_wal_stays_small_while_another_thread_checkpoints(run: RunFolder) -> None:
    wal = run.path / "journal.sqlite-wal"
    with JournalWriter(run.journal_path) as writer, Heartbeat(writer, every_seconds=0.02):
        for step in range(3000):
            writer.record_metrics(step, {"a": 1.0, "b": 2.0})
        assert wal.stat().st_size < 64e6
        while writer.checkpoint():
            pass
    with JournalReader(run.journal_path) as reader:
        assert reader.integrity_check() == []
        assert reader.last_values()["a"] == (2999, 1.0)


def test_a_journal_that_has_no_room_to_be_opened_is_full_not_damaged(
    run: RunFolder, spawn: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """The first to open it makes the WAL's shared index."""
    process = spawn(
        """
        import resource, sys
        from pathlib import Path
        from engine.run import JournalFull, JournalWriter

        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
        try:
            JournalWriter(Path(sys.argv[1]))
        except JournalFull:
            print("full")
        """,
        run.journal_path,
    )
    assert process.communicate()[0] == "full\n"
