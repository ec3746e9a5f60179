"""Metric rows and their roll-ups, kept in step while writing, so that a screen reads but a few.

A roll-up holds (n, sum, lo, hi) of every 64 and every 4096 steps of a metric and is written in the
step's own commit. Values that are not finite are stored as they are but left out of the roll-ups.
Used by journal.py and reader.py.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from engine.run.schema import ROLLUP_STEPS

_LARGEST = 1.7976931348623157e308  # the largest finite float: |inf| is above it


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """What a metric did over the steps `first` to `last`.

    Mean, lo and hi are NaN where no value was finite (n = 0).
    """

    first: int
    last: int
    n: int
    mean: float
    lo: float
    hi: float


@dataclass(slots=True)
class _Bucket:
    index: int
    n: int = 0
    total: float = 0.0
    lo: float | None = None
    hi: float | None = None

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value
        self.lo = value if self.lo is None or value < self.lo else self.lo
        self.hi = value if self.hi is None or value > self.hi else self.hi


@dataclass(slots=True)
class _Series:
    id: int
    last_step: int
    buckets: list[_Bucket]  # the open one of each level


class MetricTable:
    """The writer's side. Every call stands inside the caller's transaction.

    After a rollback call `reload`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take up the metrics where the journal left them."""
        self._connection = connection
        self._series: dict[str, _Series] = {}
        self.reload()

    @property
    def last_step(self) -> int | None:
        """The largest step of any metric; None while there is no row."""
        return max((series.last_step for series in self._series.values()), default=None)

    def reload(self) -> None:
        """Read the names, last steps and open buckets from the journal."""
        self._series = {}
        for name, name_id in self._connection.execute("select name, id from name").fetchall():
            (last_step,) = self._connection.execute(
                "select max(step) from metric where name = ?", (name_id,)
            ).fetchone()
            buckets = [
                self._stored_bucket(name_id, width, last_step // width) for width in ROLLUP_STEPS
            ]
            self._series[name] = _Series(name_id, last_step, buckets)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one row a metric and bring its roll-ups up to date.

        Steps of a metric only rise: else ValueError.
        """
        rows, rollups = [], []
        for name, raw in metrics.items():
            value = float(raw)
            series = self._series.get(name) or self._add_series(name, step)
            if step <= series.last_step:
                raise ValueError(
                    f"Metric {name} is at step {series.last_step}: it cannot be written at {step}."
                )
            series.last_step = step
            rows.append((series.id, step, None if math.isnan(value) else value))
            for level, width in enumerate(ROLLUP_STEPS):
                bucket = series.buckets[level]
                if bucket.index != step // width:
                    bucket = series.buckets[level] = _Bucket(step // width)
                if math.isfinite(value):
                    bucket.add(value)
                rollups.append(
                    (series.id, width, bucket.index, bucket.n, bucket.total, bucket.lo, bucket.hi)
                )
        self._connection.executemany("insert into metric values (?, ?, ?)", rows)
        self._connection.executemany(
            "insert or replace into rollup values (?, ?, ?, ?, ?, ?, ?)", rollups
        )

    def truncate(self, after_step: int) -> None:
        """Drop every row past `after_step`.

        The roll-ups become, bit by bit, those of a run that went no further.
        """
        execute = self._connection.execute
        for series in self._series.values():
            if series.last_step <= after_step:
                continue
            execute("delete from metric where name = ? and step > ?", (series.id, after_step))
            for width in ROLLUP_STEPS:
                cut = after_step // width
                key = (series.id, width, cut)
                execute("delete from rollup where name = ? and level = ? and bucket >= ?", key)
                kept = execute(
                    "select value from metric where name = ? and step >= ? order by step",
                    (series.id, cut * width),
                ).fetchall()
                if not kept:
                    continue
                # summed in the order of writing, for float sums depend on it
                bucket = _Bucket(cut)
                for (value,) in kept:
                    if value is not None and math.isfinite(value):
                        bucket.add(value)
                execute(
                    "insert into rollup values (?, ?, ?, ?, ?, ?, ?)",
                    (*key, bucket.n, bucket.total, bucket.lo, bucket.hi),
                )
        execute(
            "delete from name where not exists (select 1 from metric where metric.name = name.id)"
        )
        self.reload()

    def _add_series(self, name: str, step: int) -> _Series:
        name_id = self._connection.execute("insert into name(name) values (?)", (name,)).lastrowid
        assert name_id is not None
        series = self._series[name] = _Series(
            name_id, step - 1, [_Bucket(step // width) for width in ROLLUP_STEPS]
        )
        return series

    def _stored_bucket(self, name_id: int, width: int, index: int) -> _Bucket:
        row = self._connection.execute(
            "select n, sum, lo, hi from rollup where name = ? and level = ? and bucket = ?",
            (name_id, width, index),
        ).fetchone()
        return _Bucket(index, *row)


def read_points(
    connection: sqlite3.Connection, name: str, points: int, first: int | None, last: int | None
) -> list[MetricPoint]:
    """Return at most `points` equal spans of steps, in order, that cover first..last.

    [] for an unknown metric. A span is 2**k steps and starts at a multiple of its length, so that
    while a run grows only the newest span changes, until all double at once. The range is widened
    to whole spans. Spans without a row are left out.
    """
    if points < 1:
        raise ValueError(f"points is {points}; ask for one at least.")
    row = connection.execute("select id from name where name = ?", (name,)).fetchone()
    if row is None:
        return []
    (name_id,) = row
    # two seeks: SQLite would scan for min and max asked together
    ends = ("min", "max")
    lowest, highest = (
        connection.execute(f"select {end}(step) from metric where name = ?", (name_id,)).fetchone()[
            0
        ]
        for end in ends
    )
    start = lowest if first is None else max(first, lowest)
    end = highest if last is None else min(last, highest)
    if start > end:
        return []
    span = 1
    while end // span - start // span + 1 > points:
        span *= 2
    level = max((width for width in ROLLUP_STEPS if width <= span), default=1)
    arguments = {
        "name": name_id, "level": level, "group": span // level, "largest": _LARGEST,
        "low": start // span * (span // level), "high": (end // span + 1) * (span // level),
    }  # fmt: skip
    return [
        MetricPoint(
            index * span,
            (index + 1) * span - 1,
            n,
            total / n if n else math.nan,
            math.nan if lo is None else lo,
            math.nan if hi is None else hi,
        )
        for index, n, total, lo, hi in connection.execute(
            _FROM_ROWS if level == 1 else _FROM_ROLLUPS, arguments
        )
    ]


_FROM_ROWS = """
select step / :group as span, count(finite), total(finite), min(finite), max(finite)
from (select step, case when abs(value) <= :largest then value end as finite from metric
      where name = :name and step >= :low and step < :high)
group by span order by span
"""

_FROM_ROLLUPS = """
select bucket / :group as span, sum(n), total(sum), min(lo), max(hi)
from rollup where name = :name and level = :level and bucket >= :low and bucket < :high
group by span order by span
"""
