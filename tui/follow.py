"""The one reader of a run: a task that polls its journal and tells the screen what is new.

It slows down where a run is over, and survives a journal that is missing, locked, damaged,
newer, deleted or put back: what was seen last stays, with the reason. No Textual.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import field
from typing import Any

from engine.run import CommandRecord, JournalReader, MetricPoint, RunFolder, RunState, RunStatus
from engine.run.fact import Fact, changed
from engine.run.reader import Poll
from engine.run.schema import JournalBusy
from tui.broken import BROKEN, PATIENCE_SECONDS, why
from tui.fold import fold, with_progress
from tui.logbook import LogBook, WorkerLog
from tui.pages import JOURNALS
from tui.state import RunView
from tui.telling import away, line_of

QUICK_SECONDS = 0.15  # after a key that asks the worker for something
POLL_SECONDS = 1.0
OVER_SECONDS = 2.0
_HURRY_SECONDS = 4.0
_CHUNK = 400  # events read at a time, so that keys are heard in between
_LOG_LINES = 1000
_OVER = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)
AWAY_SECONDS = 20.0  # less is not worth a word


class Snapshot(Fact):
    """What is known of a run at one moment."""

    run: RunFolder
    view: RunView = field(default_factory=RunView)
    status: RunStatus | None = None
    commands: tuple[CommandRecord, ...] = ()
    latest: dict[str, Any] = field(default_factory=dict)
    notice: str | None = None  # the journal is a newer program's
    problem: str | None = None  # why nothing newer than this can be read
    is_gone: bool = False  # its folder was moved or deleted, and `problem` says so
    damage: str = ""  # what is wrong with the journal of a run that is over, or was never read
    is_loaded: bool = False
    away: str = ""  # what happened since this run was last looked at; in the first snapshot
    read_at: float = 0.0  # by the monotonic clock

    @property
    def state(self) -> str:
        """The run's state, as well as it can be told."""
        if self.is_gone or self.damage:
            return "gone" if self.is_gone else "damaged"
        if self.problem is not None and not self.is_loaded:
            return "unknown"
        return str(self.status.state) if self.status is not None else self.view.state

    @property
    def step(self) -> int | None:
        """The optimiser step."""
        return self.status.step if self.status is not None else None

    @property
    def pending(self) -> tuple[CommandRecord, ...]:
        """The commands that nobody has answered."""
        return tuple(record for record in self.commands if record.outcome is None)

    @property
    def memory(self) -> dict[str, Any]:
        """What MLX holds: active_bytes, peak_bytes, cache_bytes; {} where it is not told."""
        memory = self.latest.get("memory")
        return memory if isinstance(memory, dict) else {}


class Follower:
    """Follows one run while started. Calls `deliver` on the event loop with each change."""

    def __init__(
        self,
        run: RunFolder,
        deliver: Callable[[Snapshot], None],
        *,
        seen: tuple[int, float] | None = None,
    ) -> None:
        """Make a follower of `run`; `seen` is the event last looked at, and when."""
        self.run = run
        self.snapshot = Snapshot(run)
        self.log = LogBook()
        self._deliver = deliver
        self._seen = seen
        self._reader: JournalReader | None = None
        self._inode: int | None = None
        self._is_unchecked = False  # the pages of a journal that nobody writes any more
        self._worker_log = WorkerLog(run.log_path)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._hurry_until = 0.0

    @property
    def is_started(self) -> bool:
        """Whether it polls."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin to poll, or go on where it was stopped."""
        if not self.is_started:
            self._task = asyncio.create_task(self._follow(), name=f"follow {self.run.name}")

    def stop(self) -> None:
        """Hold still; the journal is let go."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._let_go()

    def hurry(self) -> None:
        """Look at once, and often for a while: an answer is awaited."""
        self._hurry_until = time.monotonic() + _HURRY_SECONDS
        self._wake.set()

    def points(
        self, name: str, count: int, first: int | None = None, last: int | None = None
    ) -> list[MetricPoint]:
        """Return a metric in at most `count` spans; [] where it cannot be read now."""
        if self._reader is None:
            return []
        try:
            return self._reader.metrics(name, count, first, last)
        except BROKEN:
            return []

    def metric_names(self) -> list[str]:
        """Return the names of the metrics there are; [] where that cannot be read now."""
        if self._reader is None:
            return []
        try:
            return self._reader.metric_names()
        except BROKEN:
            return []

    def last_values(self) -> dict[str, tuple[int, float]]:
        """Return each metric's last (step, value); {} where they cannot be read now."""
        if self._reader is None:
            return {}
        try:
            return self._reader.last_values()
        except BROKEN:
            return {}

    def poll_once(self) -> bool:
        """Read what is new; returns whether there is still more. For tests and the first look."""
        try:
            has_more = self._read()
        except BROKEN as error:
            self._let_go()
            gone = self._gone()
            reason = gone or why(self.run.journal_path, error)
            self._tell(reason, is_gone=bool(gone), is_damage=not isinstance(error, JournalBusy))
            return False
        return has_more

    async def _follow(self) -> None:
        while True:
            has_more = self.poll_once()
            if has_more:
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause())
            self._wake.clear()

    def _pause(self) -> float:
        state = self.snapshot.state
        if time.monotonic() < self._hurry_until:
            return QUICK_SECONDS
        if self.snapshot.problem is not None or state in ("done", "failed", "cancelled", "lost"):
            return OVER_SECONDS
        return POLL_SECONDS

    # Reading

    def _read(self) -> bool:
        reader = self._opened()
        if not self.snapshot.is_loaded and self.snapshot.view.last_id == 0:
            return self._load(reader)
        if not self.snapshot.is_loaded:
            return self._load_rest(reader)
        with reader.snapshot():
            poll = reader.poll(self.snapshot.view.last_id, _CHUNK)
            commands = tuple(reader.commands(20))
        self.log.add(line for line in map(line_of, poll.events) if line is not None)
        self._told(poll, commands)
        return poll.has_more

    def _load(self, reader: JournalReader) -> bool:
        """Begin with the facts, which are few however long the run is."""
        facts = reader.facts(limit=_CHUNK)
        if not facts:
            return self._load_rest(reader)
        self._folded(facts)
        return True

    def _load_rest(self, reader: JournalReader) -> bool:
        with reader.snapshot():  # at one moment, or what comes in between would be passed over
            facts = reader.facts(self.snapshot.view.last_id, _CHUNK)
            if facts:
                self._folded(facts)
                return True
            lines = reader.log_lines(_LOG_LINES)
            last_id = reader.last_id
            poll = Poll((), last_id, False, reader.latest())
            commands = tuple(reader.commands(20))
            words = self._away_words(reader)
        self.log.add(line for line in map(line_of, lines) if line is not None)
        view = self.snapshot.view
        told = (view.last_time, *(line.time for line in lines))
        last_time = max((time for time in told if time is not None), default=None)
        view = with_progress(view, poll.latest.get("phase"), _told_at(poll.latest, view))
        view = changed(view, last_id=last_id, last_time=last_time)
        self.snapshot = changed(self.snapshot, view=view, is_loaded=True, away=words, damage="")
        self._is_unchecked = view.is_over
        self._told(poll, commands)
        self.snapshot = changed(self.snapshot, away="")
        return False

    def _folded(self, facts: list[Any]) -> None:
        self.log.add(line for line in map(line_of, facts) if line is not None)
        self.snapshot = changed(self.snapshot, view=fold(self.snapshot.view, facts))

    def _away_words(self, reader: JournalReader) -> str:
        if self._seen is None:
            return ""
        event_id, moment = self._seen
        seconds = time.time() - moment
        if seconds < AWAY_SECONDS:
            return ""
        is_over = reader.latest().get("state") in _OVER
        if is_over and event_id >= reader.last_id:  # the end was seen before
            return ""
        return away(reader.facts(event_id), seconds)

    def _told(self, poll: Poll, commands: tuple[CommandRecord, ...]) -> None:
        self.log.add(self._worker_log.read())
        status = self.run.status(poll.latest)
        before = self.snapshot
        view = fold(before.view, poll.events)
        damage = before.damage
        if self._is_unchecked:
            problem = JOURNALS.problem(self.run.journal_path)
            damage = problem or damage
            self._is_unchecked = problem is None
        self.snapshot = changed(
            before,
            view=view,
            damage=damage,
            status=status,
            commands=commands,
            latest=poll.latest,
            notice=self._reader.notice if self._reader else None,
            problem=None,
            is_gone=False,
            read_at=time.monotonic(),
        )
        self._deliver(self.snapshot)

    def _gone(self) -> str:
        """Return the sentence for a run that is not there any more; "" for one that is."""
        run = self.run
        with contextlib.suppress(OSError):
            if not run.path.is_dir():
                return f"The folder of {run.name} is gone: {run.path}. 1 shows the other runs."
            if not run.journal_path.exists():
                return f"The journal of {run.name} is gone: {run.journal_path}. 1 shows the others."
        return ""

    def _tell(self, problem: str, *, is_gone: bool, is_damage: bool) -> None:
        known = self.snapshot
        damage = problem if is_damage and not known.is_loaded and not is_gone else known.damage
        self.snapshot = changed(known, problem=problem, is_gone=is_gone, damage=damage)
        self._deliver(self.snapshot)

    def _opened(self) -> JournalReader:
        """Return the reader; a journal that was put in the old one's place is read afresh."""
        inode = self.run.journal_path.stat().st_ino
        if self._reader is not None and inode == self._inode:
            return self._reader
        self._let_go()
        if self._inode is not None and inode != self._inode:
            self.log = LogBook()
            self.snapshot = Snapshot(self.run)
        self._reader = JournalReader(self.run.journal_path, patience_seconds=PATIENCE_SECONDS)
        self._inode = inode
        return self._reader

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _told_at(latest: dict[str, Any], view: RunView) -> float:
    try:
        return float(latest["progress"][1])
    except (KeyError, TypeError, ValueError, IndexError):
        return view.last_time or 0.0
