"""Runs that change under the list: replaced, closed, locked, holding what no engine writes."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.run import JournalWriter, RunFolder
from engine.run.events import Event, PlannedStage, RunFailed, RunPlanned, RunStarted
from tui.comparison import read_compared
from tui.ends import Ends
from tui.listing import Listing, RunRow, mark_of

STARTED = RunStarted(pid=1, host="h", device="an old machine")
PLANNED = RunPlanned(
    original_steps=16, target_steps=4, threshold=0.9, stages=(PlannedStage(1, 16, 4),)
)
FAILED = RunFailed(error="E", message="it failed")


def make(root: Path, name: str, *events: Event) -> RunFolder:
    run = RunFolder.create(root, "seed: 0\n", name=name, mounts=[])
    with JournalWriter(run.journal_path) as journal:
        for event in events:
            journal.emit(event)
    return run


def read(listing: Listing, run: RunFolder) -> RunRow:
    while not listing.refresh():
        pass
    row = listing.row(run.path)
    assert row is not None
    return row


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    other = sqlite3.connect(run.journal_path, isolation_level=None)
    other.execute("pragma locking_mode=exclusive")
    other.execute("begin exclusive")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()


@contextmanager
def closed(path: Path, code: int) -> Iterator[None]:
    """Let every look at what is in a folder fail, as it does for others than its owner."""
    stat = Path.stat

    def refused(self: Path, **arguments: Any) -> os.stat_result:
        if path in self.parents:
            raise OSError(code, os.strerror(code), str(self))
        return stat(self, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", refused)
        yield


@pytest.mark.parametrize("events", [(STARTED, PLANNED, FAILED), (STARTED, PLANNED)])
def test_a_new_run_of_an_old_name_is_not_shown_as_the_old_one(
    tmp_path: Path, events: tuple[Event, ...]
) -> None:
    old = make(tmp_path, "a", *events)
    listing = Listing(tmp_path)
    assert read(listing, old).original_steps == 16
    old.path.rename(tmp_path.parent / f"{tmp_path.name}-away")
    new = make(tmp_path, "a")
    row = read(listing, new)
    assert (row.state, row.original_steps, row.device, row.reason) == ("queued", None, "", "")
    assert row.view is not None
    assert row.created == row.view.queued, "not when the old one was made"


@pytest.mark.parametrize("code", [errno.EACCES, errno.ESTALE, errno.EIO])
def test_a_folder_that_is_closed_to_us_shows_as_unreadable(tmp_path: Path, code: int) -> None:
    run, other = make(tmp_path, "a", FAILED), make(tmp_path, "b", FAILED)
    listing = Listing(tmp_path)
    assert read(listing, run).state == "failed"
    with closed(run.path, code):
        row = read(listing, run)
        assert (row.state, row.is_readable) == ("damaged", False)
        assert os.strerror(code) in row.reason
        assert read(listing, other).state == "failed"
        assert mark_of(run.path)[0] == 0
        assert os.strerror(code) in read_compared(run.path, 0).problem
        assert Listing(tmp_path).refresh()
    assert read(listing, run).state == "failed"


def test_a_locked_journal_is_read_when_the_lock_is_gone(tmp_path: Path) -> None:
    run, other = make(tmp_path, "a", FAILED), make(tmp_path, "b", STARTED)
    listing = Listing(tmp_path)
    with locked(other), locked(run):
        assert read(listing, run).state == ""
        assert not listing.is_pending, "the list waits for nobody"
    assert read(listing, run).state == "failed"
    with JournalWriter(run.journal_path) as journal:
        journal.emit(RunFailed(error="E", message="again"))
    with locked(run):
        assert read(listing, run).reason == "it failed", "what is known stays"
        assert read(listing, other).state != ""
    assert read(listing, run).reason == "again"


def test_one_locked_journal_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    runs = [make(tmp_path, name, FAILED) for name in "abc"]
    listing = Listing(tmp_path)
    with locked(runs[2]):  # the newest, which is read first
        for _ in range(4):
            listing.refresh(budget_seconds=0.0)
        assert [row.state for row in listing.rows()] == ["", "failed", "failed"]


def test_a_run_whose_journal_is_locked_is_still_looked_for(tmp_path: Path) -> None:
    run = make(tmp_path, "a", FAILED)
    ends = Ends()
    ends.has_ended(run.path, "running")
    with locked(run):
        assert ends.states_now(ends.at_work(None)) == []
    assert ends.states_now(ends.at_work(None)) == [(run.path.absolute(), "failed")]


@pytest.mark.parametrize("events", [(STARTED, FAILED), (STARTED,)])
def test_a_time_that_is_text_is_damage_and_no_end_of_the_list(
    tmp_path: Path, events: tuple[Event, ...]
) -> None:
    run, other = make(tmp_path, "a", *events), make(tmp_path, "b", FAILED)
    with sqlite3.connect(run.journal_path) as journal:
        journal.execute("update event set t = 'yesterday'")
    journal.close()
    listing = Listing(tmp_path)
    assert read(listing, run).state == "damaged"
    assert "holds a value that means nothing" in read(listing, run).reason
    assert {row.name for row in listing.rows()} == {"a", "b"}
    assert read(listing, other).state == "failed"


def test_a_reason_is_a_sentence_and_not_what_python_says(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    with sqlite3.connect(run.journal_path) as journal:
        journal.execute("insert or replace into latest values ('engine', '7')")
    journal.close()
    with run.own():
        reason = read(Listing(tmp_path), run).reason
    assert reason.startswith(f"{run.journal_path} holds a value that means nothing (")
