"""Rows say what journals say, are read when something changed, and never for long."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import JournalWriter, RunFolder, shelf
from engine.run.events import (
    Event,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunPlanned,
    RunStarted,
    StageAccepted,
    StageStarted,
    TryStarted,
)
from tests.tui.journals import damage_metrics
from tui.details import detail_lines
from tui.listing import Listing, RunRow
from tui.pace import progress_of
from tui.run_columns import score_of, state_of

STARTED = RunStarted(pid=1, host="h", device="a machine")
PLANNED = RunPlanned(
    original_steps=16, target_steps=4, threshold=0.9,
    stages=(PlannedStage(1, 16, 8), PlannedStage(2, 8, 4)),
)  # fmt: skip
FIRST = (
    StageStarted(stage=1, input_steps=16, output_steps=8),
    TryStarted(stage=1, attempt=1, remedy="as planned", iterations=10, learning_rate=1e-3,
               grid_name="uniform"),
    StageAccepted(stage=1, attempt=1, score=0.97, lower_bound=0.96, threshold=0.9),
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make(root: Path, name: str, *events: Event) -> RunFolder:
    run = RunFolder.create(root, "seed: 0\n", label="recipe", name=name, mounts=[])
    with JournalWriter(run.journal_path) as journal:
        for event in events:
            journal.emit(event)
    return run


def read(root: Path) -> dict[str, RunRow]:
    listing = Listing(root)
    while not listing.refresh():
        pass
    return {row.name: row for row in listing.rows()}


def test_recorded_runs_are_listed_with_their_results(
    recorded: Callable[[str], RunFolder],
) -> None:
    root = recorded("smoke").path.parent
    recorded("ladder")
    rows = read(root)
    smoke, ladder = rows["smoke"], rows["ladder"]
    assert (smoke.state, smoke.original_steps, smoke.steps) == ("done", 10, 4)
    assert smoke.progress == 1.0
    assert smoke.score is not None
    assert smoke.lower_bound is not None
    assert smoke.lower_bound < smoke.score
    assert smoke.ended is not None
    assert smoke.ended > smoke.created
    assert (ladder.state, ladder.steps) == ("done", 6), "the fewest that passed"
    assert "missed the threshold" in ladder.reason


def test_there_may_be_nothing_to_list(root: Path) -> None:
    listing = Listing(root)
    assert listing.refresh()
    assert listing.rows() == []
    assert listing.problem is None
    root.write_text("a file")
    assert listing.refresh()
    assert "cannot be read" in (listing.problem or "")


def test_a_run_at_work_says_where_it_is(root: Path) -> None:
    run = make(root, "a")
    with run.own(), JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        journal.emit(
            STARTED,
            PLANNED,
            *FIRST,
            StageStarted(stage=2, input_steps=8, output_steps=4),
            TryStarted(stage=2, attempt=1, remedy="as planned", iterations=100,
                       learning_rate=1e-3, grid_name="uniform"),
            PhaseStarted(phase="train", stage=2, total=100, unit="steps"),
        )  # fmt: skip
        journal.emit(PhaseProgressed(phase="train", done=25, total=100, stage=2, eta_seconds=75.0))
        row = read(root)["a"]
        assert (row.state, row.is_live) == ("running", True)
        assert row.stage == "2/2 8→4 train"
        assert (row.steps, row.score, row.lower_bound) == (8, 0.97, 0.96)
        assert row.eta_seconds == pytest.approx(75.0 + 2.0), "and the export"
        assert row.view is not None
        assert row.progress == progress_of(row.view), "as Live says it"
        assert (row.label, row.device, row.threshold) == ("recipe", "a machine", 0.9)
    row = read(root)["a"]
    assert (row.state, row.eta_seconds, row.is_live) == ("lost", None, False)
    assert "engine" in row.reason


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (RunFailed(error="TrainingError", message="the loss is nan"), "failed", "the loss is nan"),
        (RunCancelled(step=3, cancelled_by="ann@mac 1 diffopt"), "cancelled", "by ann@mac"),
    ],
)
def test_a_run_that_ended_badly_says_why_and_what_it_came_to(
    root: Path, end: Event, state: str, reason: str
) -> None:
    second = StageStarted(stage=2, input_steps=8, output_steps=4)
    make(root, "a", STARTED, PLANNED, *FIRST, second, end)
    row = read(root)["a"]
    assert row.state == state
    assert reason in row.reason
    assert row.stage == "2/2 8→4"
    assert (row.steps, row.score) == (8, 0.97)
    assert row.progress is None, "no share of the way: it goes nowhere, and Live says none either"


def test_the_newest_is_first(root: Path) -> None:
    for name in ("b", "c", "a"):
        make(root, name)
    assert list(read(root)) == ["a", "c", "b"]


def test_a_damaged_journal_is_a_row_that_says_so(root: Path) -> None:
    run = make(root, "a")
    make(root, "b")
    for path in run.path.glob("journal.sqlite-*"):
        path.unlink()
    run.journal_path.write_bytes(b"no journal" * 1000)
    rows = read(root)
    assert rows["a"].state == "damaged"
    assert "journal.sqlite" in rows["a"].reason
    assert rows["b"].state == "queued"


def test_pages_damaged_in_the_middle_are_damage_though_the_facts_are_whole(
    root: Path, recorded: Callable[[str], RunFolder]
) -> None:
    run = recorded("smoke")
    damage_metrics(run)
    row = read(run.path.parent)["smoke"]
    assert row.state == "damaged"
    assert "damaged" in row.reason
    words = [line.plain for line in detail_lines(row, None, 0.0, 100, 10)]
    assert any("damaged" in line for line in words[1:]), "the reason"
    assert not any("reading" in line for line in words)


@pytest.mark.parametrize("kept", [16, 8])
def test_a_missed_target_is_no_plain_success(root: Path, kept: int) -> None:
    end = RunFinished(
        result="4 steps missed the threshold of 0.9.", exit_code=3, optimized_steps=kept,
        score=1.0, lower_bound=1.0, seconds=3.0,
    )  # fmt: skip
    make(root, "a", STARTED, PLANNED, end)
    row = read(root)["a"]
    assert (row.state, row.steps) == ("done", kept)
    assert state_of(row).plain == "≠ missed"
    is_student = kept != 16
    assert (row.score is not None) == is_student, "the original against itself is no score"
    assert ("✓" in score_of(row).plain) == is_student


def test_only_what_changed_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = RunFailed(error="E", message="first")
    runs = [make(root, name, STARTED, failed) for name in "abc"]
    listing = Listing(root)
    while not listing.refresh():
        pass
    listing.refresh()  # SQLite's own files of a first reading have settled
    opened: list[str] = []
    import tui.listing as module

    class Counted(module.JournalReader):
        def __init__(self, path: Path, *, patience_seconds: float) -> None:
            opened.append(path.parent.name)
            super().__init__(path, patience_seconds=patience_seconds)

    monkeypatch.setattr(module, "JournalReader", Counted)
    listing.refresh()
    assert opened == []
    with JournalWriter(runs[1].journal_path) as journal:
        journal.emit(RunFailed(error="E", message="second"))
    listing.refresh()
    assert opened == ["b"]
    row = listing.row(runs[1].path)
    assert row is not None
    assert row.reason == "second"


def test_a_refresh_reads_until_its_time_is_up_and_the_next_goes_on(root: Path) -> None:
    for name in "abcd":
        make(root, name)
    moments = iter(range(100))
    listing = Listing(root, clock=lambda: float(next(moments)))
    assert not listing.refresh(budget_seconds=2.0)
    assert [row.state for row in listing.rows()] == ["queued", "queued", "", ""], "newest first"
    assert [row.name for row in listing.rows()] == list("dcba")
    assert listing.is_pending
    assert not listing.refresh(budget_seconds=0.0)
    assert sum(row.state == "" for row in listing.rows()) == 1, "one in each call at least"
    assert listing.refresh(budget_seconds=100.0)
    assert not listing.is_pending


def test_archived_and_thrown_runs_are_noticed(root: Path) -> None:
    runs = [make(root, name, RunFailed(error="E", message="")) for name in "ab"]
    listing = Listing(root)
    while not listing.refresh():
        pass
    shelf.archive(runs[0], client="a test")
    thrown = shelf.trash(runs[1], client="a test")
    while not listing.refresh():
        pass
    assert [(row.name, row.is_archived) for row in listing.rows()] == [("a", True)]
    shelf.restore(thrown)
    while not listing.refresh():
        pass
    assert {row.name for row in listing.rows()} == {"a", "b"}


def test_a_folder_that_is_no_run_is_passed_over(root: Path) -> None:
    make(root, "a")
    (root / "notes").mkdir()
    (root / "README").write_text("mine")
    (root / ".hidden").mkdir()
    shutil.copy(root / "a" / "journal.sqlite", root / ".hidden")
    assert list(read(root)) == ["a"]
