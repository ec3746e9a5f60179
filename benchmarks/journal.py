"""What the journal costs the worker, and what a viewer pays to open a long run.

``python benchmarks/journal.py [FOLDER]`` takes about half a minute. Its runs are made in FOLDER,
for a disk's speed is part of the figures. Wall times need a quiet machine.
"""

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
STEPS = 500
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
        print(f"a step, 6 metrics  {cost_of(lambda i: writer.record_metrics(i, values), 3000)}")
        print(f"a look for commands{cost_of(lambda _: writer.pending(), 3000)}")
        print(f"a heartbeat        {cost_of(lambda _: writer.heartbeat(), 3000)}")
        phase = PhaseStarted(phase="train")
        print(f"an event with phase{cost_of(lambda _: writer.emit(phase), 1000)}")


def measure_steps(run: RunFolder, readers: int) -> None:
    """Print how long a commit waits and how far the WAL grows, at 20 ms a step, readers at 4 Hz."""
    command = [sys.executable, __file__, "--watch", str(run.journal_path), str(readers)]
    watchers = [subprocess.Popen(command, stdout=subprocess.PIPE)] if readers else []
    for watcher in watchers:
        assert watcher.stdout is not None
        watcher.stdout.readline()
    values: dict[str, float] = dict.fromkeys(NAMES, 0.1)
    waits, cpu, wal_bytes = [], 0.0, 0
    wal = run.path / "journal.sqlite-wal"
    with JournalWriter(run.journal_path) as writer, Heartbeat(writer):
        first = (writer.last_step or 0) + 1
        for step in range(first, first + STEPS):
            time.sleep(STEP_SECONDS)
            began, began_cpu = time.perf_counter(), time.thread_time()
            writer.record_metrics(step, values)
            waits.append(time.perf_counter() - began)
            cpu += time.thread_time() - began_cpu
            wal_bytes = max(wal_bytes, wal.stat().st_size)
    for watcher in watchers:
        watcher.terminate()
        watcher.wait()
    waits.sort()
    print(
        f"{readers:2d} readers: a commit {cpu / STEPS * 1e6:.0f} us CPU "
        f"({cpu / STEPS / STEP_SECONDS:.2%} of a step), wall median "
        f"{statistics.median(waits) * 1e3:.2f} ms, 99 % {waits[int(0.99 * STEPS)] * 1e3:.2f} ms, "
        f"longest {waits[-1] * 1e3:.2f} ms; WAL {wal_bytes / 1e6:.1f} MB at most"
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
        table.write(step, dict.fromkeys(names, 1.0 / (step + 1)))
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
