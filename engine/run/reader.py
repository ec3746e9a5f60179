"""The viewer's end of the journal: everything that a screen or `diffopt show` can ask.

It cannot write. A reader ends its transaction within each call, or within the `snapshot` it opened:
one held open keeps the WAL from being reused and lets it grow. A newer journal opens with
`is_newer` and a `notice`; its unknown events come raw.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from engine.errors import RunError
from engine.run.closing import Closing
from engine.run.codec import decode_event
from engine.run.commands import Command, CommandRecord
from engine.run.events import Event
from engine.run.fact import Fact
from engine.run.metrics import MetricPoint, read_points
from engine.run.schema import (
    BUSY_TIMEOUT_MS,
    FORMAT_VERSION,
    ROLLUP_STEPS,
    explained,
    newer_notice,
    open_to_read,
)

_EVENT = "select id, t, kind, stage, body from event"
_COMMAND = "select id, kind, stage, issued_at, issued_by, outcome, event from command"


class StoredEvent(NamedTuple):
    """An event, its place in the journal and when it was written, in seconds since the epoch."""

    id: int
    time: float
    kind: str
    stage: int | None
    event: Event


class Poll(Fact):
    """What is new since the last poll, seen at one moment.

    Poll again `after=last_id`, at once if `has_more`.
    """

    events: tuple[StoredEvent, ...]
    last_id: int
    has_more: bool
    latest: dict[str, Any]


class JournalReader(Closing):
    """Reads a journal while it is written. Not for sharing between threads at one time."""

    def __init__(self, path: Path, *, patience_seconds: float = BUSY_TIMEOUT_MS / 1000) -> None:
        """Open the journal; raises RunError where it is missing, damaged or no journal.

        A call waits `patience_seconds` for another program that has locked the file.
        """
        self.path = path
        self._connection, self.version = open_to_read(path, patience_seconds=patience_seconds)

    @property
    def is_newer(self) -> bool:
        """Whether a newer program wrote this journal."""
        return self.version > FORMAT_VERSION

    @property
    def notice(self) -> str | None:
        """The line to show above a newer journal; None for one that this program knows."""
        return newer_notice(self.path, self.version) if self.is_newer else None

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """Let all calls within see one moment of the run. Keep it short."""
        if self._connection.in_transaction:
            yield self
            return
        with explained(self.path):
            self._connection.execute("begin")
        try:
            yield self
        finally:
            if self._connection.in_transaction:  # SQLite ends it by itself where the disk fails
                with explained(self.path):
                    self._connection.execute("rollback")

    def poll(self, after: int = 0, limit: int = 1000) -> Poll:
        """Return `limit` events past id `after` at most, oldest first, with the latest values."""
        with self.snapshot():
            rows = self._rows(f"{_EVENT} where id > ? order by id limit ?", (after, limit + 1))
            latest = self.latest()
        events = tuple(_stored(row) for row in rows[:limit])
        return Poll(events, events[-1].id if events else after, len(rows) > limit, latest)

    def facts(
        self, after: int = 0, limit: int = -1, kinds: Collection[str] | None = None
    ) -> list[StoredEvent]:
        """Return the events past id `after` without log lines and progress.

        What a run's tree is made of. Those of `kinds` alone where they are named.
        """
        # the partial index is named because SQLite would rather walk the whole table by id
        where = "kind not in ('LogLine', 'PhaseProgressed')"
        arguments: tuple[Any, ...] = (after, limit)
        if kinds is not None:
            where += f" and kind in ({','.join('?' * len(kinds))})"
            arguments = (*kinds, after, limit)
        query = f"{_EVENT} indexed by event_fact where {where} and id > ? order by id limit ?"
        return [_stored(row) for row in self._rows(query, arguments)]

    def log_lines(self, count: int = 50, before: int | None = None) -> list[StoredEvent]:
        """Return the last `count` log lines, oldest first.

        Those before event id `before` where given.
        """
        where = "kind = 'LogLine' and id < ?"
        query = f"{_EVENT} indexed by event_log where {where} order by id desc limit ?"
        rows = self._rows(query, (1 << 62 if before is None else before, count))
        return [_stored(row) for row in reversed(rows)]

    @property
    def last_id(self) -> int:
        """The newest event's id; 0 while there is none."""
        ((last,),) = self._rows("select coalesce(max(id), 0) from event")
        return last

    def latest(self) -> dict[str, Any]:
        """Return the latest values by key.

        ``state``; ``progress`` [monotonic, wall clock, step]; ``heartbeat`` [monotonic, wall
        clock]; ``engine`` {pid, host} while one is at work; ``phase``, the newest phase event;
        ``memory`` {active_bytes, peak_bytes, cache_bytes} of MLX, about once a second while it
        works; ``longest_commit`` {wait_seconds, plain_seconds, durable_seconds} of the journal's
        writer; and what else the worker put there.
        """
        return {
            key: json.loads(value) for key, value in self._rows("select key, value from latest")
        }

    def metric_names(self) -> list[str]:
        """Return the names of all metrics that have a row."""
        return [name for (name,) in self._rows("select name from name order by id")]

    def metrics(
        self, name: str, points: int = 200, first: int | None = None, last: int | None = None
    ) -> list[MetricPoint]:
        """Return a metric over the steps first..last in at most `points` spans.

        See `read_points` for their edges.
        """
        with explained(self.path), self.snapshot():
            return read_points(self._connection, name, points, first, last)

    def last_values(self) -> dict[str, tuple[int, float]]:
        """Return each metric's last (step, value)."""
        newest = "select step, value from metric where name = ? order by step desc limit 1"
        out: dict[str, tuple[int, float]] = {}
        with self.snapshot():
            for name_id, name in self._rows("select id, name from name order by id"):
                # a seek a metric; SQLite would walk all rows for them together
                for step, value in self._rows(newest, (name_id,)):
                    out[name] = (step, math.nan if value is None else value)
        return out

    def commands(self, limit: int = 100) -> list[CommandRecord]:
        """Return the last `limit` commands with their answers, oldest first."""
        rows = self._rows(f"{_COMMAND} order by number desc limit ?", (limit,))
        return [CommandRecord(Command(*row[:5]), *row[5:]) for row in reversed(rows)]

    def check(self) -> None:
        """Raise RunError where the file's pages are damaged. Reads all of it: 4 to 9 ms a MiB."""
        ((line,), *_) = self._rows("pragma quick_check(1)")
        if line != "ok":
            raise RunError(f"{self.path} is damaged: some of its pages are broken.")

    def integrity_check(self) -> list[str]:
        """Return what is wrong with the file, one line each.

        [] for a sound one. Reads all of it.
        """
        problems = [line for (line,) in self._rows("pragma integrity_check") if line != "ok"]
        # a roll-up for every span with rows but the newest, holding as many as the span has
        unsummed = [
            row
            for width in ROLLUP_STEPS
            for row in self._rows(
                f"select name.name, {width} from name where"
                " (select count(value) from metric as m where m.name = name.id"
                "  and abs(value) <= 1.7976931348623157e308 and step <"
                f" (select max(step) from metric as n where n.name = name.id) / {width} * {width})"
                " <> (select total(n) from rollup as r"
                f" where r.name = name.id and r.level = {width})"
            )
        ]
        return problems + [
            f"the roll-ups of {name} over {level} steps miss rows" for name, level in unsummed
        ]

    def command(self, command_id: str) -> CommandRecord | None:
        """Return one command with its answer; None for an unknown id."""
        rows = self._rows(f"{_COMMAND} where id = ?", (command_id,))
        return CommandRecord(Command(*rows[0][:5]), *rows[0][5:]) if rows else None

    def event(self, event_id: int) -> StoredEvent | None:
        """Return one event; None where there is none of that id."""
        rows = self._rows(f"{_EVENT} where id = ?", (event_id,))
        return _stored(rows[0]) if rows else None

    def close(self) -> None:
        """Let go of the journal."""
        self._connection.close()

    def _rows(self, query: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with explained(self.path):
            return self._connection.execute(query, arguments).fetchall()


def _stored(row: sqlite3.Row | tuple[Any, ...]) -> StoredEvent:
    event_id, written_at, kind, stage, body = row
    return StoredEvent(event_id, written_at, kind, stage, decode_event(kind, body))
