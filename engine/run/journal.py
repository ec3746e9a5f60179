"""The journal's one writer: the worker's end.

Viewers read with reader.py, clients ask with commands.py. Every method is one commit, or nothing: a
reader never sees half a step. Only `add_metrics` may leave a step to the next commit: a quarter of
a second of them is cheaper in one, and no event is ever written before them.

The caller holds the run folder's lock (`RunFolder.own`), for SQLite
would let two workers write in turn. Safe to call from several threads.
"""

from __future__ import annotations

import math
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import DiffoptError
from engine.run.closing import Closing
from engine.run.codec import encode_event, encode_value, event_to_dict, kind_of
from engine.run.commands import Command
from engine.run.effects import DURABLE, PHASE_EVENTS, STAGE_ENDS, STATE_AFTER, has_any
from engine.run.events import CommandAcknowledged, Event, LogLine
from engine.run.metrics import MetricTable
from engine.run.schema import (
    BUSY_TIMEOUT_MS,
    JournalBusy,
    JournalFull,
    explained,
    explanation_of,
    open_to_write,
    set_durable,
    set_patience,
)
from engine.run.state import RunState
from engine.run.wal import Wal

_T = TypeVar("_T")

_ENGINE_PATIENCE_MS = 60_000  # a client that was halted as it wrote shall not end a run
_LOOK_SECONDS = 0.1  # a look for commands asks SQLite at least this often
_TELLING_SECONDS = 0.25  # metrics, and the place they give, may come later by this


class JournalWriter(Closing):
    """Writes events, metrics and answers; not from a signal handler.

    On a full disk a call raises `JournalFull` and has written nothing; the next may succeed.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`.

        Raises RunError where it is missing, damaged or newer than this program.
        """
        self.path = path
        self._lock = threading.RLock()
        self._connection = open_to_write(path)
        self._is_engine = False
        self._patience_ms = BUSY_TIMEOUT_MS
        self._wal = Wal(path, self._connection, self._lock)
        self._version_without_commands: int | None = None
        self._last_look = (-math.inf, self._wal.mark())  # when, and at which WAL, none was found
        self._told_at = 0.0  # when `progress` was last written, by the monotonic clock
        self._to_tell: dict[str, Any] = {}  # latest values that wait with the metrics
        # What a commit took, and waited for others before it began; told with the heartbeat.
        self._longest = {"wait_seconds": 0.0, "plain_seconds": 0.0, "durable_seconds": 0.0}
        try:
            with explained(path):
                self._metrics = MetricTable(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._progress = self._now(self._metrics.last_step)

    @property
    def last_step(self) -> int | None:
        """The largest step that has metrics; None before the first."""
        return self._metrics.last_step

    def emit(self, event: Event, *others: Event) -> int:
        """Write events in one commit, with the state that they put the run in.

        Returns the last one's id.
        """
        (*_, event_id) = self.record(event, *others)
        return event_id

    def record_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step's metrics. `step` is run-wide and must rise.

        `name` ends in its unit where that is not plain.
        """
        self.record(step=step, metrics=metrics)

    def add_metrics(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Take one step's metrics for the next commit; return whether it is time for `flush`.

        It comes at the latest with the next heartbeat. A kill before it loses them, and whoever
        keeps a checkpoint of theirs calls `flush` first.
        """
        with self._lock:
            self._metrics.add(step, metrics)
            self._progress = self._now(step)
            return self._progress[0] - self._told_at > _TELLING_SECONDS

    def note_progress(self) -> None:
        """Say with the next heartbeat that the work goes on, where there is no step to write."""
        with self._lock:
            self._progress = self._now(self._progress[2])

    def tell(self, latest: Mapping[str, Any]) -> None:
        """Take latest values for the next commit, as `add_metrics` does."""
        with self._lock:
            self._to_tell.update(latest)

    def flush(self) -> None:
        """Write what was added, if there is anything."""
        if not self._metrics.is_settled:
            self._commit(self._put_progress)

    def flush_soon(self) -> None:
        """Write what was added, unless another program writes just now: then it waits for the next.

        Training never waits for a client whose command is being forced to the medium.
        """
        if not self._metrics.is_settled:
            with suppress(JournalBusy):
                self._commit(self._put_progress, is_patient=False)

    def record(
        self,
        *events: Event,
        step: int | None = None,
        metrics: Mapping[str, float] | None = None,
        latest: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Write events, a step's metrics and any latest values (JSON-ready, by key) in one commit.

        Returns event ids.
        """
        is_fact = any(not isinstance(event, LogLine) for event in events)

        def write() -> list[int]:
            ids = [self._insert(event) for event in events]
            if is_fact or step is not None:
                self._put_progress()
            if latest:
                for key, value in latest.items():
                    self._put(key, value)
            return ids

        with self._lock:
            if step is not None and metrics:
                self._metrics.add(step, metrics)
            if is_fact or step is not None:
                # the last step stays known while phases without steps go on
                self._progress = self._now(self._progress[2] if step is None else step)
            try:
                ids = self._commit(write, is_durable=has_any(events, DURABLE))
            except BaseException:
                if step is not None and metrics:
                    self._metrics.take_back()
                raise
        if has_any(events, STAGE_ENDS):
            self.shrink_wal()
        return ids

    def set_state(self, state: RunState) -> None:
        """Put the run in a state that no event says by itself, such as stopping."""
        self._commit(lambda: self._put("state", state), is_durable=True)

    def expect_progress_within(self, seconds: float | None) -> None:
        """Say how long the run may now go without a step before it counts as stuck.

        None: the usual time.
        """
        self.record(latest={"patience_seconds": seconds})

    def begin_engine(self) -> None:
        """Sign on as the run's engine, until `close`: it is how a kill is told from a clean exit.

        The run is queued from here to RunStarted or RunResumed.
        """
        self._progress = self._now(self._progress[2])
        self._patience_ms = _ENGINE_PATIENCE_MS
        engine = {"pid": os.getpid(), "host": socket.gethostname()}
        self.record(
            latest={
                "engine": engine,
                "state": RunState.QUEUED,
                "heartbeat": self._progress[:2],
                "progress": self._progress,
            }
        )
        self._is_engine = True

    def heartbeat(self) -> bool:
        """Write that the process lives.

        Returns False where it could not be written, which is no reason to end a run.
        """

        def write() -> None:
            self._put("heartbeat", self._now(None)[:2])
            self._put("longest_commit", self._longest)
            if self._progress[0] > self._told_at:
                self._put_progress()

        try:
            self._commit(write, is_patient=False)
        except DiffoptError:
            return False
        return True

    def truncate_metrics(self, after_step: int) -> None:
        """Drop the metric rows past a checkpoint's step, as if they had never been written."""
        self._progress = self._now(after_step)
        self._commit(lambda: self._metrics.truncate(after_step), is_durable=True)

    def pending(self) -> list[Command]:
        """Return the commands that nobody has answered, oldest first.

        Asked at every step: where nobody else has written since none was found, none is looked for.
        The WAL's time tells most of that, and SQLite now and then the rest: two writes within a
        tick of the file system's clock look alike.
        """
        now, mark = time.monotonic(), self._wal.mark()
        if mark == self._last_look[1] and now - self._last_look[0] < _LOOK_SECONDS:
            return []
        with self._lock, explained(self.path):
            (version,) = self._connection.execute("pragma data_version").fetchone()
            if version == self._version_without_commands:
                self._last_look = (now, mark)
                return []
            rows = self._connection.execute(
                "select id, kind, stage, issued_at, issued_by from command"
                " where outcome is null order by number"
            ).fetchall()
            self._version_without_commands = None if rows else version
            self._last_look = (-math.inf if rows else now, mark)
        return [Command(*row) for row in rows]

    def acknowledge(
        self,
        command: Command,
        outcome: str,
        *events: Event,
        detail: str = "",
        state: RunState | None = None,
    ) -> bool:
        """Answer a command, and write what came of it, in one commit.

        Returns False where it was answered before. `outcome` is "done", "refused" or "superseded";
        `detail` is a line for a person, `state` one that no event says by itself.
        """
        answer = CommandAcknowledged(
            command_id=command.id,
            command=command.kind,
            outcome=outcome,
            issued_by=command.issued_by,
            detail=detail,
            stage=command.stage,
        )

        def write() -> bool:
            cursor = self._connection.execute(
                "update command set outcome = ? where id = ? and outcome is null",
                (outcome, command.id),
            )
            if cursor.rowcount == 0:
                return False
            for event in events:
                self._insert(event)
            if state is not None:
                self._put("state", state)
            self._connection.execute(
                "update command set event = ? where id = ?", (self._insert(answer), command.id)
            )
            self._put_progress()
            return True

        self._progress = self._now(self._progress[2])
        return self._commit(write, is_durable=True)

    def checkpoint(self) -> bool:
        """Move the WAL's content into the main file, from a thread that does not commit.

        Returns whether there was enough to be worth it.
        """
        return self._wal.checkpoint()

    def shrink_wal(self) -> bool:
        """Move the WAL into the main file and cut it to nothing.

        Returns False where a reader or a full disk forbids.
        """
        return self._wal.shrink()

    def close(self) -> None:
        """Let go of the journal; an engine signs off."""
        with self._lock:
            if self._is_engine:
                with suppress(JournalFull):
                    self._commit(self._sign_off)
                self._is_engine = False
            with suppress(JournalFull):
                self.flush()
            self._wal.close()
            self._connection.close()

    def _commit(
        self, write: Callable[[], _T], *, is_durable: bool = False, is_patient: bool = True
    ) -> _T:
        """Commit what `write` writes, all of it or nothing; returns what it returns.

        Raises JournalBusy where others write for longer than one waits.
        """
        began, has_begun = time.perf_counter(), False
        with self._lock:
            try:
                set_patience(self._connection, self._patience_ms if is_patient else 0)
                if is_durable:
                    set_durable(self._connection, is_durable=True)
                try:
                    self._connection.execute("begin immediate")
                    has_begun = True
                    waited = time.perf_counter() - began
                    self._metrics.write()
                    for key, value in self._to_tell.items():
                        self._put(key, value)
                    written = write()
                    self._connection.execute("commit")
                    self._metrics.settle()
                    self._to_tell.clear()
                except BaseException:
                    if self._connection.in_transaction:  # SQLite may have rolled it back itself
                        self._connection.execute("rollback")
                    if has_begun:
                        self._metrics.reload()
                        self._wal.make_due()
                    raise
                finally:
                    if is_durable:
                        set_durable(self._connection, is_durable=False)
            except sqlite3.Error as error:
                raise explanation_of(self.path, error) from error
            self._wal.count_commit()
            kind = "durable_seconds" if is_durable else "plain_seconds"
            for name, value in (("wait_seconds", waited), (kind, time.perf_counter() - began)):
                self._longest[name] = max(self._longest[name], value)
            return written

    def _sign_off(self) -> None:
        self._connection.execute("delete from latest where key = 'engine'")

    @staticmethod
    def _now(step: int | None) -> tuple[float, float, int | None]:
        return time.monotonic(), time.time(), step

    def _put_progress(self) -> None:
        self._put("progress", self._progress)
        self._told_at = self._progress[0]

    def _insert(self, event: Event) -> int:
        kind, body = kind_of(event), encode_event(event)
        event_id = self._connection.execute(
            "insert into event(t, kind, stage, body) values (?, ?, ?, ?)",
            (time.time(), kind, getattr(event, "stage", None), body),
        ).lastrowid
        assert event_id is not None
        if (state := STATE_AFTER.get(type(event))) is not None:
            self._put("state", state)
        if isinstance(event, PHASE_EVENTS):
            self._put("phase", event_to_dict(event))
        return event_id

    def _put(self, key: str, value: Any) -> None:
        self._connection.execute(
            "insert or replace into latest values (?, ?)", (key, encode_value(value))
        )
