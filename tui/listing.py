"""The rows of the runs table, read from the runs' journals. No Textual.

A row is read again only when its journal or a marker changed, and one refresh reads no longer than
a moment: what is not read yet is listed by name alone and comes with the next. A run that is over
costs a few events; one that is not is folded whole, as on Live, so that both screens say the same.
"""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any

from engine.errors import RunError
from engine.run import JournalReader, RunFolder, RunState, RunStatus, StoredEvent, shelf
from engine.run.events import (
    RunCancelled,
    RunFailed,
    RunFinished,
    RunPlanned,
    RunQueued,
    RunStarted,
    StageAccepted,
    StageStarted,
)
from engine.run.fact import Fact, changed
from engine.run.schema import JournalBusy
from tui.broken import BROKEN, PATIENCE_SECONDS, is_gone, is_there, why
from tui.fold import fold, with_progress
from tui.pace import progress_of, seconds_left
from tui.pages import JOURNALS
from tui.state import EXIT_MISSED, RunView
from tui.telling import headline

BUDGET_SECONDS = 0.03  # for reading journals in one refresh
UNREADABLE = "damaged"
_OVER = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)
_BRIEF = (
    RunQueued, RunStarted, RunPlanned, StageStarted, StageAccepted, RunFinished, RunFailed,
    RunCancelled,
)  # fmt: skip
_BRIEF_KINDS = tuple(kind.__name__ for kind in _BRIEF)


class RunRow(Fact):
    """A run as the table shows it."""

    path: Path
    state: str = ""  # a RunState, "damaged", "" while it was not read
    stage: str = ""
    progress: float | None = None  # of the run's time, in [0, 1]
    score: float | None = None  # of the best student that passed
    lower_bound: float | None = None
    threshold: float | None = None
    original_steps: int | None = None
    steps: int | None = None  # of that student
    target_steps: int | None = None
    created: float = 0.0  # seconds since the epoch
    ended: float | None = None
    eta_seconds: float | None = None
    reason: str = ""
    label: str = ""
    device: str = ""
    is_missed: bool = False  # done, and the target was not reached
    is_archived: bool = False
    is_live: bool = False  # a worker holds it
    view: RunView | None = field(default=None, compare=False)  # of one that is not over
    status: RunStatus | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def shown_state(self) -> str:
        """The state as it is shown: a run that is done may have missed its target."""
        return "missed" if self.is_missed and self.state == RunState.DONE else self.state

    @property
    def is_readable(self) -> bool:
        """Whether its journal could be read."""
        return self.state not in ("", UNREADABLE)

    def age(self, now: float) -> float | None:
        """Return how long ago the run was made."""
        return max(0.0, now - self.created) if self.created else None


Mark = tuple[Any, ...]


class Listing:
    """The runs of a runs folder; `refresh` now and then, and take `rows`."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """List the runs below `root`; nothing is read yet."""
        self.root = root
        self.problem: str | None = None  # why the folder cannot be read
        self._clock = clock
        self._rows: dict[Path, RunRow] = {}
        self._marks: dict[Path, Mark] = {}
        self._views: dict[Path, RunView] = {}
        self._inodes: dict[Path, int] = {}  # of the journals, to tell a new run of an old name
        self._unchecked: set[Path] = set()  # read, while their pages are still being checked
        self._busy: dict[Path, float] = {}  # locked by another program, and when that was found

    def refresh(self, budget_seconds: float = BUDGET_SECONDS) -> bool:
        """Read what changed; returns whether all is read, False where time was up.

        At least one run is read in each call.
        """
        deadline = self._clock() + budget_seconds
        found = self._found()
        for path in [path for path in self._rows if path not in found]:
            for known in (self._rows, self._marks, self._views, self._inodes, self._busy):
                known.pop(path, None)
            self._unchecked.discard(path)
        for path, created in found.items():
            if path not in self._rows:
                self._rows[path] = RunRow(path, created=created)
        has_waited = False
        for path in sorted(found, key=self._urgency):
            mark = mark_of(path)
            self._forget_other(path, mark[0])
            row = self._rows[path]
            is_known = mark == self._marks.get(path) and row.state in (*_OVER, UNREADABLE)
            if is_known and not self._is_checked_since(path):
                continue
            if path in self._busy and has_waited and self._clock() >= deadline:
                continue
            self._unchecked.discard(path)
            try:
                self._rows[path] = self._read(path, mark, row)
                self._marks[path] = mark
                self._busy.pop(path, None)
            except JournalBusy:  # what is known stays, and the next refresh tries again
                self._busy[path] = self._clock()
                has_waited = True
            if self._clock() >= deadline and self.is_pending:
                return False
        return True

    @property
    def is_pending(self) -> bool:
        """Whether some run was never read, though nobody has locked its journal."""
        return any(not row.state and row.path not in self._busy for row in self._rows.values())

    def rows(self) -> list[RunRow]:
        """Return the rows, newest first."""
        return sorted(self._rows.values(), key=lambda row: (row.created, row.name), reverse=True)

    def row(self, path: Path) -> RunRow | None:
        """Return a run's row; None where there is none."""
        return self._rows.get(path)

    def _is_checked_since(self, path: Path) -> bool:
        """Return whether a journal that was still being checked when it was read now is."""
        if path not in self._unchecked:
            return False
        try:
            return JOURNALS.problem(RunFolder(path).journal_path) is not None
        except OSError:  # thrown away since
            return True

    def _forget_other(self, path: Path, inode: int) -> None:
        """Forget what is known of a run in whose place there is another journal."""
        if inode and inode != self._inodes.setdefault(path, inode):
            self._inodes[path] = inode
            self._marks.pop(path, None)
            self._views.pop(path, None)
            self._rows[path] = RunRow(path, created=_made(path))

    def _urgency(self, path: Path) -> tuple[float, bool, float]:
        """Return what is to be read first: what was never read, the newest of it first.

        Locked journals come last, the one that was tried longest ago before the others.
        """
        row = self._rows[path]
        return self._busy.get(path, -math.inf), bool(row.state), -row.created

    def _found(self) -> dict[Path, float]:
        """Return the run folders there are, with about when each was made."""
        self.problem = None
        found: dict[Path, float] = {}
        try:
            with os.scandir(self.root) as entries:
                names = [entry.name for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.problem = f"{self.root} cannot be read ({error.strerror})."
            return {}
        root = self.root.absolute()
        for name in names:
            path = root / name
            known = self._rows.get(path)
            try:
                facts = (path / "journal.sqlite").stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:  # it is closed to us: a run that was listed shows as unreadable
                if known is not None:
                    found[path] = known.created
                continue
            if known is not None:
                found[path] = known.created
            elif stat.S_ISREG(facts.st_mode):
                found[path] = _made(path)
        return found

    def _read(self, path: Path, mark: Mark, known: RunRow) -> RunRow:
        run = RunFolder(path)
        is_same = mark == self._marks.get(path)
        try:
            if is_same and known.is_readable and known.view is not None:
                return self._stated(run, known, known.view, None)
            with _opened(run) as reader, reader.snapshot():
                latest = reader.latest()
                status = run.status(latest, patience_seconds=PATIENCE_SECONDS)
                if status.state in _OVER:
                    # its few facts may be whole where other pages are not
                    problem = JOURNALS.problem(run.journal_path)
                    if problem:
                        raise RunError(problem)
                    if problem is None:
                        self._unchecked.add(path)
                    self._views.pop(path, None)
                    row = _brief(path, known.created, reader.facts(kinds=_BRIEF_KINDS))
                    return changed(row, state=str(status.state), is_archived=shelf.is_archived(run))
                view = self._views.get(path, RunView())
                view = fold(view, reader.facts(after=view.last_id))
                view = with_progress(view, latest.get("phase"), _time_of(latest, view))
            self._views[path] = view
            return self._stated(run, known, view, latest)
        except JournalBusy:
            raise
        except BROKEN as error:
            if is_gone(path):  # thrown away between looking and reading
                return known
            reason = why(run.journal_path, error)
            return RunRow(path, UNREADABLE, created=known.created, reason=reason)

    def _stated(
        self, run: RunFolder, known: RunRow, view: RunView, latest: dict[str, Any] | None
    ) -> RunRow:
        status = run.status(latest, patience_seconds=PATIENCE_SECONDS)
        accepted = [stage for stage in view.stages if stage.state == "accepted"]
        best = accepted[-1] if accepted else None
        passed = best.current if best is not None else None
        is_working = status.state in (RunState.RUNNING, RunState.STOPPING, RunState.PAUSED)
        return RunRow(
            run.path,
            str(status.state),
            stage=_short(headline(view)),
            progress=progress_of(view),
            score=passed.score if passed else None,
            lower_bound=passed.lower_bound if passed else None,
            threshold=view.threshold,
            original_steps=view.original_steps,
            steps=best.output_steps if best else None,
            target_steps=view.target_steps,
            created=float(view.queued or known.created),
            ended=None if view.ended is None else float(view.ended),
            eta_seconds=seconds_left(view) if is_working and status.pid is not None else None,
            reason=status.reason,
            label=view.label,
            device=view.device,
            is_archived=shelf.is_archived(run) and status.pid is None,
            is_live=status.pid is not None,
            view=view,
            status=status,
        )


def _brief(path: Path, created: float, events: list[StoredEvent]) -> RunRow:
    """Return the row of a run that is over, from its milestones."""
    row = RunRow(path, created=created)
    outputs: dict[int, int] = {}
    count = 0
    for stored in events:
        match stored.event:
            case RunQueued() as event:
                row = changed(row, created=float(stored.time), label=event.label)
            case RunStarted() as event:
                row = changed(row, device=event.device)
            case RunPlanned() as event:
                count = len(event.stages)
                row = changed(
                    row,
                    threshold=event.threshold,
                    original_steps=event.original_steps,
                    target_steps=event.target_steps,
                )
            case StageStarted() as event:
                outputs[event.stage] = event.output_steps
                count = max(count, event.stage)
                words = f"{event.stage}/{count} {event.input_steps}→{event.output_steps}"
                row = changed(row, stage=words)
            case StageAccepted() as event:
                steps = outputs.get(event.stage)
                row = changed(row, score=event.score, lower_bound=event.lower_bound, steps=steps)
            case RunFinished() as event:
                # the original against itself is no student's score
                is_student = event.optimized_steps != row.original_steps
                row = changed(
                    row,
                    score=event.score if is_student else None,
                    lower_bound=event.lower_bound if is_student else None,
                    is_missed=event.exit_code == EXIT_MISSED,
                    steps=event.optimized_steps,
                    reason=event.result,
                    stage="",
                    progress=1.0,
                    ended=float(stored.time),
                )
            case RunFailed() as event:
                row = changed(row, reason=event.message, progress=None, ended=float(stored.time))
            case RunCancelled() as event:
                reason = f"by {event.cancelled_by}"
                row = changed(row, reason=reason, progress=None, ended=float(stored.time))
            case _:
                pass
    return row


def _short(place: str) -> str:
    """Return "2/3 16→8 train" for a headline."""
    return place.removeprefix("stage ").replace(" → ", "→").replace(" · ", " ")


def _time_of(latest: dict[str, Any], view: RunView) -> float:
    try:
        return float(latest["progress"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        return view.last_time or 0.0


def mark_of(path: Path) -> Mark:
    """Return what tells that a run's row may have changed, without opening anything.

    The first is the journal's inode, 0 where it cannot be told.
    """
    marks: list[Any] = []
    for name in ("journal.sqlite", "journal.sqlite-wal"):
        try:
            facts = (path / name).stat()
            marks += [facts.st_ino, facts.st_mtime_ns, facts.st_size]
        except OSError:
            marks += [0, 0, 0]
    return (*marks, is_there(path / "archived.json"))


def _opened(run: RunFolder) -> JournalReader:
    return JournalReader(run.journal_path, patience_seconds=PATIENCE_SECONDS)


def _made(path: Path) -> float:
    """Return about when a run was made; 0.0 where that cannot be told."""
    try:
        return (path / "config.yaml").stat().st_mtime
    except OSError:
        return 0.0
