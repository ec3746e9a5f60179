"""The log's lines, in the order of their times, however late they come."""

from __future__ import annotations

from pathlib import Path

from tui.logbook import LogBook, WorkerLog
from tui.telling import Line


def line(time: float, text: str = "") -> Line:
    return Line(time, "INFO", text or f"at {time:g}")


def test_what_is_new_is_told_to_whoever_has_seen_the_rest() -> None:
    book = LogBook()
    book.add([line(1), line(2)])
    seen = book.added
    assert book.since(seen) == []
    book.add([line(3)])
    book.add([line(4), line(5)])
    assert book.since(seen) == [line(3), line(4), line(5)]


def test_a_line_that_went_between_others_makes_all_be_looked_at_again() -> None:
    book = LogBook()
    book.add([line(2)])
    seen = book.added
    book.add([line(1)])
    assert book.lines == [line(1), line(2)]
    assert book.since(seen) is None
    seen = book.added
    book.add([line(5), line(4)])  # out of order among themselves
    assert book.since(seen) is None
    assert book.lines == [line(1), line(2), line(4), line(5)]
    assert book.since(book.added) == []


def test_a_line_of_the_worker_s_log_has_its_time_to_the_millisecond(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text(
        "2026-11-25 18:00:00,120 INFO engine.blas: MLX computes with OpenBLAS\n"
        "2026-11-25 18:00:00,625 INFO engine.worker: begun\n"
    )
    first, second = WorkerLog(path).read()
    assert round(second.time - first.time, 3) == 0.505
