"""What the journal costs the worker, and what a viewer pays to open a long run.

``python benchmarks/journal.py [FOLDER]`` takes about a minute. Its runs are made in FOLDER, for a
disk's speed is part of the figures. Wall times need a quiet machine. A step costs more than the
same calls back to back, since caches are cold after 20 ms: so it is measured at that pace, in turns
with SQLite alone writing the same six rows in a commit of their own.
"""

import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.run import Heartbeat, JournalReader, JournalWriter, RunFolder
from engine.run.events import LogLine, PhaseStarted
from engine.run.metrics import MetricTable
from engine.run.schema import open_to_write

NAMES = ("loss", "gradient_norm", "learning_rate", "images_per_second", "memory_bytes", "seconds")
STEP_SECONDS = 0.02
STEPS = 1000
BLOCK = 25  # steps of one kind in a row
READERS = 20
ROWS = 1_000_000


def cost_of(action: Callable[[int], object], repeats: int) -> str:
    """Return CPU and wall time of one call, in microseconds."""
    cpu, wall = time.thread_time(), time.perf_counter()
    for number in range(repeats):
        action(number)
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
    return f"{cpu / repeats * 1e6:6.1f} us CPU, {wall / repeats * 1e6:6.1f} us wall"


def measure_calls(run: RunFolder) -> None:
    """Print what one event, step, look for commands and heartbeat cost, back to back."""
    values: dict[str, float] = dict.fromkeys(NAMES, 0.1)
    with JournalWriter(run.journal_path) as writer, Heartbeat(writer):
        line = LogLine(level="INFO", text="step 6119 loss 0.0311 gradient norm 0.46")
        print(f"an event           {cost_of(lambda _: writer.emit(line), 3000)}")
        print(f"a step, by itself  {cost_of(lambda i: writer.record_metrics(i, values), 3000)}")
        print(f"a look for commands{cost_of(lambda _: writer.pending(), 3000)}")
        print(f"a heartbeat        {cost_of(lambda _: writer.heartbeat(), 3000)}")
        phase = PhaseStarted(phase="train")
        print(f"an event with phase{cost_of(lambda _: writer.emit(phase), 1000)}")


def measure_steps(run: RunFolder, readers: int) -> None:
    """Print what a step of 20 ms pays and how far the WAL grows, with readers at 4 Hz."""
    command = [sys.executable, __file__, "--watch", str(run.journal_path), str(readers)]
    watchers = [subprocess.Popen(command, stdout=subprocess.PIPE)] if readers else []
    for watcher in watchers:
        assert watcher.stdout is not None
        watcher.stdout.readline()
    values: dict[str, float] = dict.fromkeys(NAMES, 0.1)
    wal, wal_bytes = run.path / "journal.sqlite-wal", 0
    ours, bare = Timer(), Timer()
    with JournalWriter(run.journal_path) as writer, Heartbeat(writer):
        other = bare_sqlite(run.path / "bare.sqlite")
        for step in range(1, STEPS + 1):
            time.sleep(STEP_SECONDS)
            if step // BLOCK % 2 == 0:
                with ours:  # as a worker does after every optimiser step
                    if writer.add_metrics(step, values):
                        writer.flush_soon()
                    writer.pending()
                wal_bytes = max(wal_bytes, wal.stat().st_size)
                continue
            with bare:
                rows = [(name, step, 0.1) for name in range(len(NAMES))]
                other.execute("begin immediate")
                other.executemany("insert into metric values (?, ?, ?)", rows)
                other.execute("commit")
        other.close()
    for watcher in watchers:
        watcher.terminate()
        watcher.wait()
    print(
        f"{readers:2d} readers: the journal, a step  {ours}; WAL {wal_bytes / 1e6:.1f} MB at most"
    )
    print(f"            SQLite alone, a step {bare}")


def bare_sqlite(path: Path) -> sqlite3.Connection:
    """Return a database with a table of metrics and nothing else, set up as the journal is."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=normal")
    connection.execute(
        "create table metric(name integer, step integer, value real, primary key (name, step))"
        " without rowid"
    )
    return connection


class Timer:
    """CPU and wall time of what is done within it, many times."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def __enter__(self) -> None:
        """Start."""
        self._began = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.wall.append(time.perf_counter() - self._began[0])
        self.cpu.append(time.thread_time() - self._began[1])

    def __str__(self) -> str:
        """Return the figures."""
        cpu, wall = statistics.mean(self.cpu), sorted(self.wall)
        return (
            f"{cpu * 1e6:4.0f} us CPU ({cpu / STEP_SECONDS:.2%} of a step), wall mean "
            f"{statistics.mean(wall) * 1e6:.0f} us, 99 % {wall[int(0.99 * len(wall))] * 1e3:.2f} "
            f"ms, longest {wall[-1] * 1e3:.2f} ms"
        )


def watch(path: Path, readers: int) -> None:
    """Poll as `readers` dashboards do, four times a second each, until terminated."""
    journals = [JournalReader(path) for _ in range(readers)]
    last = [journal.last_id for journal in journals]
    print("watching", flush=True)
    while True:
        for number, journal in enumerate(journals):
            time.sleep(0.25 / readers)
            with journal.snapshot():
                last[number] = journal.poll(last[number]).last_id
                journal.metrics("loss", 100)


def measure_opening(run: RunFolder) -> None:
    """Print what a viewer pays for its first full picture of a run of a million metric rows."""
    names = NAMES[:5]
    connection = open_to_write(run.journal_path)
    table = MetricTable(connection)
    connection.execute("begin")
    for step in range(ROWS // len(names)):
        table.add(step, dict.fromkeys(names, 1.0 / (step + 1)))
        table.write()
        table.settle()
    connection.execute("commit")
    connection.close()
    with JournalWriter(run.journal_path) as writer:
        for number in range(200):
            lines = [LogLine(level="INFO", text=f"line {number}.{part}") for part in range(100)]
            writer.emit(*lines, PhaseStarted(phase="train"))
    costs, curves = [], []
    for _ in range(20):
        began = time.process_time()
        with JournalReader(run.journal_path) as reader, reader.snapshot():
            status = run.status(reader.latest())
            facts, lines = reader.facts(), reader.log_lines(50)
            curves = [reader.metrics(name, 200) for name in names]
        costs.append(time.process_time() - began)
        assert (len(facts), len(lines), len(curves)) == (201, 50, 5)
        assert status.state
    size = run.journal_path.stat().st_size
    print(
        f"{ROWS} metric rows ({size / 1e6:.0f} MB), 201 facts, 20 000 log lines: "
        f"first full picture {costs[0] * 1e3:.1f} ms CPU, "
        f"median of 20 {statistics.median(costs) * 1e3:.1f} ms; {len(curves[0])} points a curve"
    )
    with JournalReader(run.journal_path) as reader:
        print(f"one curve of 200 points: {cost_of(lambda _: reader.metrics('loss', 200), 50)}")
        recent = cost_of(lambda _: reader.metrics("loss", 200, 195_000), 50)
        print(f"its last 5 000 steps:    {recent}")


def main() -> None:
    """Measure all, in a folder that is removed afterwards."""
    if sys.argv[1:2] == ["--watch"]:
        watch(Path(sys.argv[2]), int(sys.argv[3]))
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        root = Path(folder)
        measure_calls(RunFolder.create(root, "", name="calls"))
        for readers in (0, READERS):
            measure_steps(RunFolder.create(root, "", name=f"steps-{readers}"), readers)
        measure_opening(RunFolder.create(root, "", name="long"))


if __name__ == "__main__":
    main()
