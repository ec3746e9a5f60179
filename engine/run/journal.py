"""The journal's one writer: the worker's end.

Viewers read with reader.py, clients ask with commands.py. Every method is one commit, or nothing: a
reader never sees half a step. Only `add_metrics` may leave a step to the next commit: a quarter of
a second of them is cheaper in one, and no event is ever written before them.

The caller holds the run folder's lock (`RunFolder.own`), for SQLite
would let two workers write in turn. Safe to call from several threads.
"""

from __future__ import annotations

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
    JournalFull,
    explained,
    explanation_of,
    open_to_write,
    set_durable,
)
from engine.run.state import RunState

_T = TypeVar("_T")

_SHRINK_PATIENCE_MS = 20
_TELLING_SECONDS = 0.25  # metrics, and the place they give, may come later by this
_COMMITS_BETWEEN_CHECKPOINTS = 100
_RESTART_WAL_PAGES = 2000  # 8 MB: from here on a checkpoint tries to let the WAL start over
_HOLD_WRITER_PAGES = 8000  # 32 MB: from here on commits wait for that
_SAFETY_NET_PAGES = 10_000  # 40 MB: past that a commit checkpoints, should the other thread be dead


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
        self._commits = 0
        self._version_without_commands: int | None = None
        self._told_at = 0.0  # when `progress` was last written, by the monotonic clock
        self._to_tell: dict[str, Any] = {}  # latest values that wait with the metrics
        # What a commit took, and waited for others before it began; told with the heartbeat.
        self._longest = {"wait_seconds": 0.0, "plain_seconds": 0.0, "durable_seconds": 0.0}
        self._checkpointer: sqlite3.Connection | None = None
        self._checkpoint_lock = threading.Lock()
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

    def tell(self, latest: Mapping[str, Any]) -> None:
        """Take latest values for the next commit, as `add_metrics` does."""
        with self._lock:
            self._to_tell.update(latest)

    def flush(self) -> None:
        """Write what was added, if there is anything."""
        if not self._metrics.is_settled:
            self._commit(self._put_progress)

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
            self._commit(write)
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
        """
        with self._lock, explained(self.path):
            (version,) = self._connection.execute("pragma data_version").fetchone()
            if version == self._version_without_commands:
                return []
            rows = self._connection.execute(
                "select id, kind, stage, issued_at, issued_by from command"
                " where outcome is null order by number"
            ).fetchall()
            self._version_without_commands = None if rows else version
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

        Returns whether there was enough to be worth it. A checkpoint syncs both files, some 10 ms
        that the training thread need not wait for. A WAL starts over only if all of it was moved
        before the next commit: that is tried between two steps, and in the end enforced.
        """
        with self._checkpoint_lock:
            if self._commits < _COMMITS_BETWEEN_CHECKPOINTS:
                return False
            self._commits = 0
            if self._checkpointer is None:
                self._checkpointer = open_to_write(self.path)
                with self._lock:
                    self._connection.execute(f"pragma wal_autocheckpoint={_SAFETY_NET_PAGES}")
            move = "pragma wal_checkpoint(passive)"
            try:
                (_, pages, _) = self._checkpointer.execute(move).fetchone()
                is_outrun = pages > _RESTART_WAL_PAGES
                for _ in range(3 if is_outrun else 0):
                    commits = self._commits
                    self._checkpointer.execute(move).fetchone()
                    if not (is_outrun := self._commits != commits):
                        break
                if is_outrun and pages > _HOLD_WRITER_PAGES:
                    with self._lock:
                        self._checkpointer.execute(move).fetchone()
            except sqlite3.OperationalError:  # no room in the main file; the WAL keeps it all
                return False
            return True

    def shrink_wal(self) -> bool:
        """Move the WAL into the main file and cut it to nothing.

        Returns False where a reader or a full disk forbids.
        """
        with self._lock:
            try:
                self._connection.execute(f"pragma busy_timeout={_SHRINK_PATIENCE_MS}")
                (is_busy, _, _) = self._connection.execute(
                    "pragma wal_checkpoint(truncate)"
                ).fetchone()
                return not is_busy
            except sqlite3.OperationalError:
                return False
            finally:
                self._connection.execute(f"pragma busy_timeout={BUSY_TIMEOUT_MS}")

    def close(self) -> None:
        """Let go of the journal; an engine signs off."""
        with self._lock:
            if self._is_engine:
                with suppress(JournalFull):
                    self._commit(self._sign_off)
                self._is_engine = False
            with suppress(JournalFull):
                self.flush()
            with self._checkpoint_lock:
                if self._checkpointer is not None:
                    self._checkpointer.close()
            self._connection.close()

    def _commit(self, write: Callable[[], _T], *, is_durable: bool = False) -> _T:
        """Commit what `write` writes, all of it or nothing; returns what it returns."""
        began = time.perf_counter()
        with self._lock:
            try:
                if is_durable:
                    set_durable(self._connection, is_durable=True)
                try:
                    self._connection.execute("begin immediate")
                    waited = time.perf_counter() - began
                    self._metrics.write()
                    for key, value in self._to_tell.items():
                        self._put(key, value)
                    written = write()
                    self._connection.execute("commit")
                    self._metrics.settle()
                    self._to_tell.clear()
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("rollback")
                    self._metrics.reload()
                    # on a full disk a checkpoint gives room inside the WAL back: it is due
                    self._commits += _COMMITS_BETWEEN_CHECKPOINTS
                    raise
                finally:
                    if is_durable:
                        set_durable(self._connection, is_durable=False)
            except sqlite3.Error as error:
                raise explanation_of(self.path, error) from error
            self._commits += 1
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
