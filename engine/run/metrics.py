"""Metric rows and their roll-ups, kept in step while writing, so that a screen reads but a few.

A roll-up holds (n, sum, lo, hi) of every 64 and every 4096 steps of a metric. It is written once,
in the commit of the first step past it; of the newest, open span the reader sums the rows
themselves. Values that are not finite are stored as they are but left out of the roll-ups.
Used by journal.py and reader.py.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from engine.run.schema import ROLLUP_STEPS

# |infinity| is above the largest finite float, and NaN is stored as null
_FINITE = "case when abs(value) <= 1.7976931348623157e308 then value end"

_CLOSE_ROWS = f"""
insert into rollup
select name, :width, :bucket, count({_FINITE}), total({_FINITE}), min({_FINITE}), max({_FINITE})
from metric where name = :name and step >= :bucket * :width and step < (:bucket + 1) * :width
"""
_CLOSE_ROLLUPS = """
insert into rollup
select name, :width, :bucket, sum(n), total(sum), min(lo), max(hi)
from rollup where name = :name and level = :finer
    and bucket >= :bucket * :width / :finer and bucket < (:bucket + 1) * :width / :finer
"""


class MetricPoint(NamedTuple):
    """What a metric did over the steps `first` to `last`.

    Mean, lo and hi are NaN where no value was finite (n = 0).
    """

    first: int
    last: int
    n: int
    mean: float
    lo: float
    hi: float


class MetricTable:
    """The writer's side.

    Steps are added at any time; all else stands inside the caller's transaction. After a commit
    call `settle`, after a rollback `reload`: what was added then waits for the next.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take up the metrics where the journal left them."""
        self._connection = connection
        self._ids: dict[str, int] = {}
        self._last_steps: dict[str, int] = {}  # in the journal
        self._added: list[tuple[int, dict[str, float]]] = []
        self._last_added: dict[str, int] = {}
        self.reload()

    @property
    def last_step(self) -> int | None:
        """The largest step of any metric, written or added; None while there is none."""
        return max((*self._last_steps.values(), *self._last_added.values()), default=None)

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._added

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take a step for the next `write`.

        Steps of a metric only rise: else ValueError.
        """
        for name in metrics:
            last_step = self._last_added.get(name, self._last_steps.get(name))
            if last_step is not None and step <= last_step:
                raise ValueError(
                    f"Metric {name} is at step {last_step}: it cannot be written at {step}."
                )
        self._added.append((step, dict(metrics)))
        self._last_added.update(dict.fromkeys(metrics, step))

    def take_back(self) -> None:
        """Forget the step that was added last, which could not be written."""
        self._added.pop()
        self._last_added = {name: step for step, names in self._added for name in names}

    def settle(self) -> None:
        """Take note that what was added is committed."""
        self._added.clear()
        self._last_added.clear()

    def reload(self) -> None:
        """Read the names and their last steps from the journal."""
        self._ids = dict(self._connection.execute("select name, id from name").fetchall())
        self._last_steps = {
            name: self._connection.execute(
                "select max(step) from metric where name = ?", (name_id,)
            ).fetchone()[0]
            for name, name_id in self._ids.items()
        }

    def write(self) -> None:
        """Write one row a metric and added step, and the roll-ups that they close."""
        rows = []
        for step, metrics in self._added:
            for name, value in metrics.items():
                name_id = self._ids.get(name) or self._add_name(name)
                last_step = self._last_steps.get(name)
                if (
                    last_step is not None
                    and last_step // ROLLUP_STEPS[0] != step // ROLLUP_STEPS[0]
                ):
                    self._insert(rows)  # the roll-up sums what is in the table
                    rows = []
                    self._close(name_id, last_step, step)
                self._last_steps[name] = step
                number = float(value)
                rows.append((name_id, step, None if math.isnan(number) else number))
        self._insert(rows)

    def _insert(self, rows: list[tuple[int, int, float | None]]) -> None:
        rows.sort()  # those of a name lie together in the table
        self._connection.executemany("insert into metric values (?, ?, ?)", rows)

    def truncate(self, after_step: int) -> None:
        """Drop every row past `after_step`, and what was added.

        The roll-ups become, bit by bit, those of a run that went no further.
        """
        execute = self._connection.execute
        self.settle()
        for name, name_id in self._ids.items():
            if self._last_steps[name] <= after_step:
                continue
            execute("delete from metric where name = ? and step > ?", (name_id, after_step))
            (last_step,) = execute(
                "select coalesce(max(step), 0) from metric where name = ?", (name_id,)
            ).fetchone()
            # the span that the last step stands in is open again
            for width in ROLLUP_STEPS:
                execute(
                    "delete from rollup where name = ? and level = ? and bucket >= ?",
                    (name_id, width, last_step // width),
                )
        execute(
            "delete from name where not exists (select 1 from metric where metric.name = name.id)"
        )
        self.reload()

    def _add_name(self, name: str) -> int:
        name_id = self._connection.execute("insert into name(name) values (?)", (name,)).lastrowid
        assert name_id is not None
        self._ids[name] = name_id
        return name_id

    def _close(self, name_id: int, last_step: int, step: int) -> None:
        """Write the roll-ups of the spans that `last_step` was in and `step` is not."""
        finer = 1
        for width in ROLLUP_STEPS:
            if last_step // width == step // width:
                return
            self._connection.execute(
                _CLOSE_ROWS if finer == 1 else _CLOSE_ROLLUPS,
                {"name": name_id, "width": width, "bucket": last_step // width, "finer": finer},
            )
            finer = width


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
    query, arguments = _union(
        name_id, span, start // span * span, (end // span + 1) * span, highest
    )
    return [
        MetricPoint(
            index * span,
            (index + 1) * span - 1,
            n,
            total / n if n else math.nan,
            math.nan if lo is None else lo,
            math.nan if hi is None else hi,
        )
        for index, n, total, lo, hi in connection.execute(query, arguments)
    ]


def _union(name_id: int, span: int, start: int, stop: int, highest: int) -> tuple[str, list[int]]:
    """Return the query of steps start..stop-1 by spans, from as few rows as will do.

    The coarsest roll-ups that fit into a span, then finer ones and rows where those are still open.
    """
    parts, arguments = [], []
    for width in sorted((width for width in ROLLUP_STEPS if width <= span), reverse=True):
        closed = min(stop, highest // width * width)
        if start < closed:
            parts.append(
                f"select bucket * {width} / ? as span, n, sum, lo, hi from rollup"
                f" where name = ? and level = {width} and bucket >= ? and bucket < ?"
            )
            arguments += [span, name_id, start // width, closed // width]
            start = closed
    parts.append(
        f"select step / ?, {_FINITE} is not null, {_FINITE}, {_FINITE}, {_FINITE} from metric"
        " where name = ? and step >= ? and step < ?"
    )
    arguments += [span, name_id, start, stop]
    union = " union all ".join(parts)
    columns = "span, n, sum, lo, hi"
    return (
        f"with part({columns}) as ({union})"
        " select span, sum(n), total(sum), min(lo), max(hi) from part group by span order by span",
        arguments,
    )
