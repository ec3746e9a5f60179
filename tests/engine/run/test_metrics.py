"""Whatever is written, cut off or asked for, the roll-ups equal a recount."""

import math
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from engine.run import JournalReader, JournalWriter, RunFolder
from engine.run.events import LogLine
from engine.run.schema import ROLLUP_STEPS

Rows = dict[str, dict[int, float]]


def some_value(rng: random.Random) -> float:
    return rng.choice(
        [rng.gauss(0, 1), rng.gauss(0, 1e9), 0.0, -0.0, math.nan, math.inf, -math.inf]
    )


def write_some(
    writer: JournalWriter, rng: random.Random, first: int, count: int, rows: Rows
) -> int:
    """Write `count` steps with gaps, not every metric at each; returns the next free step."""
    step = first
    for _ in range(count):
        metrics = {
            name: some_value(rng) for name in ("loss", "gradient_norm") if rng.random() < 0.8
        }
        writer.record_metrics(step, metrics)
        for name, value in metrics.items():
            rows.setdefault(name, {})[step] = value
        step += rng.choice([1, 1, 1, 2, 40, 3000])
    return step


def finite(values: list[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def recounted_rollups(rows: Rows) -> dict[tuple[str, int, int], tuple[object, ...]]:
    """Return what the roll-ups of all spans but the newest must be."""
    counted = {}
    for name, values in rows.items():
        for width in ROLLUP_STEPS:
            for bucket in {step // width for step in values} - {max(values) // width}:
                inside = finite(
                    [values[step] for step in sorted(values) if step // width == bucket]
                )
                # the order of summing is SQLite's own
                total = pytest.approx(sum(inside), rel=1e-9, abs=1e-9 * sum(map(abs, inside)))
                extremes = (min(inside), max(inside)) if inside else (None, None)
                counted[name, width, bucket] = (len(inside), total, *extremes)
    return counted


def stored_rollups(path: Path) -> dict[tuple[str, int, int], tuple[object, ...]]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "select name.name, level, bucket, n, sum, lo, hi"
        " from rollup join name on name.id = rollup.name"
    ).fetchall()
    connection.close()
    return {tuple(row[:3]): tuple(row[3:]) for row in rows}


def contents(path: Path) -> list[list[tuple[object, ...]]]:
    """Return all that the journal says of metrics."""
    connection = sqlite3.connect(path)
    tables = [
        connection.execute(f"select * from {table} order by {order}").fetchall()
        for table, order in (("name", "1"), ("metric", "1, 2"), ("rollup", "1, 2, 3"))
    ]
    connection.close()
    return tables


@pytest.mark.parametrize("seed", range(6))
def test_rollups_equal_a_recount_of_every_row(writer: JournalWriter, seed: int) -> None:
    rows: Rows = {}
    write_some(writer, random.Random(seed), 0, 150, rows)
    assert stored_rollups(writer.path) == recounted_rollups(rows)


@pytest.mark.parametrize("seed", range(6))
def test_rollups_go_on_after_the_journal_was_closed(writer: JournalWriter, seed: int) -> None:
    rng, rows = random.Random(seed), {}
    step = write_some(writer, rng, 0, 50, rows)
    with JournalWriter(writer.path) as second:
        write_some(second, rng, step, 50, rows)
    assert stored_rollups(writer.path) == recounted_rollups(rows)


@pytest.mark.parametrize("seed", range(10))
def test_truncation_equals_never_having_written(writer: JournalWriter, seed: int) -> None:
    """Bit by bit: the tables of a run cut back to a step are those of one that stopped there."""
    rng, rows = random.Random(seed), {}
    cut = write_some(writer, rng, 0, rng.choice([0, 1, 60]), rows) - 1
    copy = writer.path.with_name("stopped.sqlite")
    writer.shrink_wal()
    shutil.copy(writer.path, copy)

    beyond: Rows = {}
    step = write_some(writer, rng, cut + 1, 60, beyond)
    writer.record_metrics(step, {"only after the cut": 1.0})
    writer.truncate_metrics(cut)

    assert contents(writer.path) == contents(copy)
    assert writer.last_step == max((max(values) for values in rows.values()), default=None)

    # and both go on alike
    with JournalWriter(copy) as stopped:
        for journal in (writer, stopped):
            write_some(journal, random.Random(seed), cut + 1, 30, {})
    assert contents(writer.path) == contents(copy)


@pytest.mark.parametrize("seed", range(8))
def test_points_of_any_range_equal_a_recount(writer: JournalWriter, seed: int) -> None:
    rng, rows = random.Random(seed), {}
    end = write_some(writer, rng, 0, 120, rows)
    values = rows["loss"]
    with JournalReader(writer.path) as reader:
        for _ in range(40):
            first, last = sorted(rng.randrange(-10, end + 10) for _ in range(2))
            wanted = rng.choice([1, 2, 7, 100, 5000])
            points = reader.metrics("loss", wanted, first, last)
            assert len(points) <= wanted
            asked = [step for step in values if first <= step <= last]
            covered = [
                step for point in points for step in values if point.first <= step <= point.last
            ]
            assert set(asked) <= set(covered)
            for point in points:
                assert point.first % (point.last - point.first + 1) == 0
                inside = finite(
                    [values[step] for step in values if point.first <= step <= point.last]
                )
                assert point.n == len(inside)
                if inside:
                    assert (point.lo, point.hi) == (min(inside), max(inside))
                    scale = max(map(abs, inside))
                    assert math.isclose(
                        point.mean, sum(inside) / len(inside), rel_tol=1e-9, abs_tol=1e-9 * scale
                    )
                else:
                    assert math.isnan(point.mean)


def test_a_growing_run_changes_only_its_newest_point(writer: JournalWriter) -> None:
    """Until all spans double at once: a screen need not redraw the bars it has."""
    changed = []
    with JournalReader(writer.path) as reader:
        before = []
        for step in range(400):
            writer.record_metrics(step, {"loss": 1.0 / (step + 1)})
            after = reader.metrics("loss", 25)
            changed.append(sum(old != new for old, new in zip(before, after, strict=False)))
            before = after
    doublings = [count for count in changed if count > 1]
    assert len(doublings) == 4  # spans of 2, 4, 8 and 16 steps: 400 steps in 25 points
    assert len(before) == 25


def test_an_unknown_metric_has_no_points(reader: JournalReader) -> None:
    assert reader.metrics("loss") == []
    assert reader.last_values() == {}
    assert reader.metric_names() == []


def test_last_values_are_those_of_each_metric_s_last_step(
    writer: JournalWriter, reader: JournalReader
) -> None:
    writer.record_metrics(1, {"loss": 3.0, "score": 0.5})
    writer.record_metrics(2, {"loss": 2.0})
    assert reader.last_values() == {"loss": (2, 2.0), "score": (1, 0.5)}
    assert reader.metric_names() == ["loss", "score"]


def test_a_step_cannot_be_written_twice_and_leaves_nothing(
    writer: JournalWriter, reader: JournalReader
) -> None:
    writer.record_metrics(5, {"loss": 1.0})
    before = contents(writer.path)
    for step in (5, 4):
        with pytest.raises(ValueError, match="loss is at step 5"):
            writer.record_metrics(step, {"score": 1.0, "loss": 2.0})
    assert contents(writer.path) == before
    writer.record_metrics(6, {"score": 1.0, "loss": 2.0})
    assert reader.last_values() == {"loss": (6, 2.0), "score": (6, 1.0)}
    assert reader.integrity_check() == []


def test_the_integrity_check_counts_the_rollups(
    writer: JournalWriter, reader: JournalReader
) -> None:
    for step in range(200):
        writer.record_metrics(step, {"loss": 1.0, "score": math.nan})
    assert reader.integrity_check() == []
    connection = sqlite3.connect(writer.path)
    with connection:
        connection.execute("delete from metric where step = (select min(step) from metric)")
    connection.close()
    assert any("roll-ups" in line for line in reader.integrity_check())


# Steps that wait for the next commit


def test_added_steps_are_written_together_with_whatever_is_written_next(
    writer: JournalWriter, reader: JournalReader
) -> None:
    for step in range(130):
        writer.add_metrics(step, {"loss": float(step), "rate": 0.1})
    assert reader.metric_names() == []
    assert writer.last_step == 129
    writer.emit(LogLine(level="INFO", text="now"))
    assert reader.last_values() == {"loss": (129, 129.0), "rate": (129, 0.1)}
    assert reader.integrity_check() == []
    assert [point.n for point in reader.metrics("loss", 2)] == [128, 2]
    writer.add_metrics(130, {"loss": 1.0})
    assert writer.heartbeat()
    assert reader.last_values()["loss"] == (130, 1.0)
    assert reader.latest()["progress"][2] == 130


def test_it_is_time_to_flush_four_times_a_second(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("engine.run.journal.time.monotonic", lambda: clock[0])
    due = []
    for step in range(1, 51):
        clock[0] += 0.02
        due.append(writer.add_metrics(step, {"loss": 1.0}))
        if due[-1]:
            writer.flush()
    assert 3 <= sum(due) <= 5


def test_added_steps_survive_a_commit_that_fails_and_a_cut_drops_them(
    writer: JournalWriter, reader: JournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.add_metrics(1, {"loss": 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_insert", lambda event: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.emit(LogLine(level="INFO", text="x"))
    assert reader.last_values() == {}
    with pytest.raises(ValueError, match="is at step 1"):
        writer.add_metrics(1, {"loss": 2.0})
    writer.flush()
    assert reader.last_values() == {"loss": (1, 1.0)}
    writer.add_metrics(2, {"loss": 2.0})
    writer.add_metrics(3, {"loss": 3.0})
    writer.truncate_metrics(2)
    assert reader.last_values() == {"loss": (2, 2.0)}
    writer.add_metrics(3, {"loss": 4.0})
    writer.flush()
    assert reader.last_values() == {"loss": (3, 4.0)}


def test_a_writer_that_leaves_writes_what_was_added(run: RunFolder) -> None:
    with JournalWriter(run.journal_path) as writer:
        writer.add_metrics(1, {"loss": 1.0})
    with JournalReader(run.journal_path) as reader:
        assert reader.last_values() == {"loss": (1, 1.0)}
