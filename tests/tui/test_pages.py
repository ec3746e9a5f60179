"""The pages of finished journals: small ones checked at once, large ones beside the screen."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import tui.follow
import tui.listing
from engine.run import RunFolder
from engine.run.schema import JournalBusy
from tests.tui.journals import damage_metrics
from tests.tui.waiting import until
from tui.follow import Follower
from tui.listing import Listing
from tui.pages import PageChecks, problem_of

Recorded = Callable[[str], RunFolder]


def wait_until(holds: Callable[[], object]) -> None:
    """Wait for what a thread does."""
    asyncio.run(until(holds))


class Gate:
    """A check that waits until it is let through, and counts."""

    def __init__(self, problem: str = "") -> None:
        self.count = 0
        self.opened = threading.Event()
        self.problem = problem

    def __call__(self, path: Path) -> str:
        self.count += 1
        assert self.opened.wait(10.0)
        return self.problem or problem_of(path)


def test_a_small_journal_is_checked_at_once(recorded: Recorded) -> None:
    run = recorded("smoke")
    checks = PageChecks()
    assert checks.problem(run.journal_path) == ""
    damage_metrics(run)
    assert "damaged" in (checks.problem(run.journal_path) or ""), "a changed one is checked again"


def test_a_large_journal_is_checked_once_and_nobody_waits(recorded: Recorded) -> None:
    path = recorded("smoke").journal_path
    gate = Gate()
    checks = PageChecks(gate, at_once_bytes=0)
    assert [checks.problem(path) for _ in range(3)] == [None] * 3
    gate.opened.set()
    wait_until(lambda: checks.problem(path) is not None)
    assert checks.problem(path) == ""
    assert gate.count == 1


def test_a_locked_journal_is_checked_when_it_is_let_go(recorded: Recorded) -> None:
    path = recorded("smoke").journal_path
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("pragma locking_mode=exclusive")
    locker.execute("begin exclusive")
    with pytest.raises(JournalBusy):
        PageChecks().problem(path)
    checks = PageChecks(at_once_bytes=0)
    assert checks.problem(path) is None
    locker.execute("rollback")
    locker.close()
    wait_until(lambda: checks.problem(path) == "")


@pytest.fixture
def damaged(recorded: Recorded) -> RunFolder:
    run = recorded("smoke")
    damage_metrics(run)
    return run


def assert_told_later(state: Callable[[], str], gate: Gate) -> None:
    """Assert that a run counts as done while it is checked, and as damaged once that is known."""
    assert [state() for _ in range(3)] == ["done"] * 3
    gate.opened.set()
    wait_until(lambda: state() == "damaged")
    assert gate.count == 1


def test_runs_lists_a_run_whose_journal_is_still_being_checked(
    damaged: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(tui.listing, "JOURNALS", PageChecks(gate, at_once_bytes=0))
    listing = Listing(damaged.path.parent)

    def state() -> str:
        listing.refresh()
        (row,) = listing.rows()
        return row.state

    assert_told_later(state, gate)


def test_a_run_that_is_opened_while_its_journal_is_being_checked(
    damaged: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(tui.follow, "JOURNALS", PageChecks(gate, at_once_bytes=0))
    follower = Follower(damaged, lambda _: None)

    def state() -> str:
        while follower.poll_once():
            pass
        return follower.snapshot.state

    assert_told_later(state, gate)
    assert "damaged" in follower.snapshot.damage
    follower.stop()
