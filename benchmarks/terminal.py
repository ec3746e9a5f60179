"""What the dashboard costs: bytes on the wire, key latency, the worker's pace, first paint, memory.

`python -m benchmarks.terminal [--sizes 120x36,80x24] [--seconds 60] [--only bytes,keys,step,paint]`
starts a real run of the demo recipe, opens the real dashboard on a pseudo-terminal and prints a
table with the targets. `--soak MINUTES` follows a run with a million metric rows instead.

Load and baseline are interleaved in one process, for the machine is never quiet: keys with the
worker at work and halted (SIGSTOP), the worker's pace with the dashboard at work and halted.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyte

from engine.config import config_to_yaml, load_config
from engine.run import CommandKind, JournalReader, JournalWriter, RunFolder, steering
from engine.run.events import PhaseStarted, RunStarted, StageStarted, TryStarted
from engine.run.heartbeat import Heartbeat
from tests.terminals import OnTerminal, dashboard
from tests.tui.journals import RECORDED

CLIENT = "benchmark"
WARM_MINUTES = 5.0  # of a soak: caches with a bound fill up until then
EMPTY = """
from textual.app import App
from textual.widgets import Static

class Empty(App):
    def compose(self):
        yield Static("Palette")

Empty().run()
"""
HEAVY = "┏".encode()  # the corner that only a pane that takes the focus draws


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside its target."""

    name: str
    value: float
    target: float
    unit: str

    def line(self) -> str:
        """Return it as a line of the table."""
        verdict = "ok" if self.value <= self.target else "MISSED"
        return f"{self.name:<44}{self.value:>12,.3f}{self.target:>12,.2f} {self.unit:<6}{verdict}"


def main() -> None:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default="120x36,80x24")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each byte count")
    parser.add_argument("--pairs", type=int, default=30, help="of windows of the worker's pace")
    parser.add_argument("--window", type=float, default=4.0, help="seconds of each of them")
    parser.add_argument("--only", default="paint,bytes,keys,step")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--words", default="", help="more words for the dashboard's command")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--feed", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.feed:
        feed(options.feed)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the worker is ended too
    words = options.words.split()
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes.split(",")]
    wanted = options.only.split(",")
    # nobody's settings, and a queue of its own: a run that waits for another's turn never trains
    os.environ["XDG_CONFIG_HOME"] = os.environ["DIFFOPT_STATE_DIR"] = tempfile.mkdtemp()
    print(f"{'':<44}{'measured':>12}{'target':>12}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        if options.soak:
            show(soak(root, options.soak))
            return
        if "paint" in wanted:
            show(first_paint(root, words))
        if set(wanted) & {"bytes", "keys"}:
            # pictures are apart: one of them is eight times the largest frame without
            with training(root, options.recipe, "training.sample_every=0") as run:
                for width, height in sizes:
                    if "bytes" in wanted:
                        show(count_bytes(run, width, height, options.seconds, words))
                    if "keys" in wanted:
                        show(time_keys(run, width, height, words))
        if "step" in wanted:
            # Each step is told, for the worker's pace is read off two of them. No pictures: one
            # takes six steps' time, and weighs on whichever window it happens to fall into.
            settings = ("training.report_every=1", "training.sample_every=0")
            with training(root, options.recipe, *settings) as run:
                show(pace(run, options.pairs, options.window, words))


def show(figures: Iterator[Figure]) -> None:
    """Print figures as they come."""
    for figure in figures:
        print(figure.line(), flush=True)


@contextmanager
def training(root: Path, recipe: str, *settings: str) -> Iterator[RunFolder]:
    """Start a run whose first stage trains for as long as is needed; killed at the end."""
    iterations = "[1000000, 150, 600]" if recipe == "demo" else "[1000000, 30]"
    text = config_to_yaml(load_config(recipe, [f"training.iterations={iterations}", *settings]))
    run = steering.create_and_start(root, text, label=recipe, client=CLIENT)
    try:
        deadline = time.monotonic() + 600
        while True:
            with JournalReader(run.journal_path) as reader:
                phase = reader.latest().get("phase") or {}
                is_training = any("loss" in name for name in reader.metric_names())
            if is_training:
                break
            if time.monotonic() > deadline or run.state().is_over:
                raise SystemExit(f"the run never trained: {phase}, {run.log_path.read_text()}")
            time.sleep(0.5)
        time.sleep(5)
        yield run
    finally:
        if pid := run.status().pid:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)


def open_live(
    run: RunFolder, width: int, height: int, words: Sequence[str], *, is_emulated: bool = False
) -> OnTerminal:
    """Open the dashboard on a run."""
    command = dashboard(run.path.parent, run.name, *words)
    return OnTerminal(command, width, height, is_emulated=is_emulated)


def first_paint(root: Path, words: Sequence[str]) -> Iterator[Figure]:
    """Measure the processor time until a screen can be read, byte code compiled; least of ten.

    Beside it what an empty Textual application takes, for machines differ.
    """
    shutil.copytree(RECORDED / "ladder", root / "ladder")
    config = root.parent / "mine.yaml"
    shutil.copy(RECORDED / "ladder" / "config.yaml", config)
    starts = {
        "Textual alone": ([sys.executable, "-P", "-c", EMPTY], ("Palette",)),
        "Runs": (dashboard(root, *words), ("ladder", "100 %", "Palette")),
        "RUN": (dashboard(root, "ladder", *words), ("load the model", "loss", "exported")),
        "CONFIG": (dashboard(root, str(config), *words), ("essentials", "bundled:digits")),
    }
    times: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(10):  # interleaved: the machine is never quiet
        for name, (command, wanted) in starts.items():
            times[name].append(seconds_until(command, wanted))
    for name, taken in times.items():
        yield Figure(f"first paint, CPU, {name}, least of 10", min(taken), 0.5, "s")
        yield Figure(f"first paint, CPU, {name}, median", statistics.median(taken), 0.5, "s")
    shutil.rmtree(root)


def seconds_until(command: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the processor time that a program has used when its screen has all the words."""
    screen = pyte.Screen(120, 36)
    stream, text = pyte.ByteStream(screen), ""
    with OnTerminal(command, 120, 36, is_emulated=False) as terminal:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            seen = len(terminal.chunks)
            terminal.pump_once(1.0)
            used = cpu_seconds(terminal.process.pid)  # before the emulation, which takes longer
            for _, data in terminal.chunks[seen:]:
                stream.feed(data)
            text = "\n".join(screen.display)
            if all(word in text for word in wanted):
                return used
    raise SystemExit(f"{wanted} never came:\n{text}")


def count_bytes(
    run: RunFolder, width: int, height: int, seconds: float, words: Sequence[str]
) -> Iterator[Figure]:
    """Count what goes over the terminal: at work, and paused."""
    size = f"{width}x{height}"
    with open_live(run, width, height, words) as terminal:
        terminal.pump(4.0 + seconds)
        start = terminal.chunks[0][0]
        first = sum(len(data) for at, data in terminal.chunks if at < start + 4.0)
        later = [(at - start - 4.0, data) for at, data in terminal.chunks if at >= start + 4.0]
        by_second = [0] * math.ceil(seconds)
        for at, data in later:
            by_second[min(len(by_second) - 1, int(at))] += len(data)
        yield Figure(f"{size} first four seconds", first / 1000, 20, "KB")
        yield Figure(f"{size} mean at work", sum(by_second) / len(by_second) / 1000, 1, "KB/s")
        yield Figure(f"{size} peak second", max(by_second) / 1000, 3, "KB")
        yield Figure(f"{size} largest frame", max(frames(later)) / 1000, 2, "KB")
        steering.send(run, CommandKind.PAUSE, client=CLIENT)
        terminal.pump(8.0)
        idle = terminal.pump(20.0) / 20.0
        steering.send(run, CommandKind.RESUME, client=CLIENT)
        yield Figure(f"{size} idle (paused)", idle, 200, "B/s")
        terminal.pump(3.0)


def frames(chunks: Sequence[tuple[float, bytes]]) -> list[int]:
    """Return the sizes of frames: what comes without a pause of 8 ms is one."""
    sizes, last = [0], -1.0
    for at, data in chunks:
        if at - last > 0.008:
            sizes.append(0)
        sizes[-1] += len(data)
        last = at
    return sizes


def time_keys(
    run: RunFolder, width: int, height: int, words: Sequence[str], rounds: int = 6
) -> Iterator[Figure]:
    """Time `tab` until the newly focused pane is drawn, the worker at work and halted in turn."""
    worker = run.status().pid
    assert worker is not None
    loaded: list[float] = []
    quiet: list[float] = []
    with open_live(run, width, height, words) as terminal:
        terminal.pump(5.0)
        for round_ in range(2 * rounds):
            is_quiet = bool(round_ % 2)
            os.kill(worker, signal.SIGSTOP if is_quiet else signal.SIGCONT)
            terminal.pump(0.8)
            for _ in range(20):
                terminal.pump(0.11 + 0.13 * (_ % 3) / 3)
                (quiet if is_quiet else loaded).append(one_key(terminal))
        os.kill(worker, signal.SIGCONT)
    size = f"{width}x{height}"
    for share, target in ((50, 15), (95, 40)):
        with_load, without = percentile(loaded, share), percentile(quiet, share)
        name = f"{size} key p{share} added ({with_load:.1f} over {without:.1f})"
        yield Figure(name, with_load - without, target, "ms")


def one_key(terminal: OnTerminal) -> float:
    """Press tab; return the milliseconds until the focus is drawn elsewhere."""
    seen = len(terminal.chunks)
    started = time.monotonic()
    terminal.press("\t")
    while time.monotonic() - started < 3.0:
        terminal.pump_once(3.0)
        if any(HEAVY in data for _, data in terminal.chunks[seen:]):
            return (terminal.chunks[-1][0] - started) * 1000
    raise SystemExit("tab was never answered")


def pace(run: RunFolder, pairs: int, window: float, words: Sequence[str]) -> Iterator[Figure]:
    """Compare the worker's step time with the dashboard at work and halted, window by window."""
    ratios: list[float] = []
    with JournalReader(run.journal_path) as reader, open_live(run, 120, 36, words) as terminal:
        terminal.pump(5.0)
        for pair in range(pairs):
            seconds: dict[bool, float] = {}
            for is_open in (True, False) if pair % 2 else (False, True):
                os.kill(terminal.process.pid, signal.SIGCONT if is_open else signal.SIGSTOP)
                terminal.pump(0.5)
                before, _, first = reader.latest()["progress"]
                terminal.pump(window)
                after, _, last = reader.latest()["progress"]
                seconds[is_open] = (after - before) / (last - first) if last > first else 0.0
            os.kill(terminal.process.pid, signal.SIGCONT)
            if all(seconds.values()):  # a window without a step tells nothing
                ratios.append(math.log(seconds[True] / seconds[False]))
    mean = statistics.fmean(ratios)
    bound = mean + 1.7 * statistics.stdev(ratios) / math.sqrt(len(ratios))  # one-sided, t of 30
    yield Figure("worker's step, dashboard open / none", math.exp(mean), 1.05, "")
    yield Figure("  its upper 95 % bound", math.exp(bound), 1.05, "")
    # a neighbour's burst in one window weighs nothing here; the bound is that of the sign test
    ratios.sort()
    place = math.ceil(len(ratios) / 2 + 1.645 * math.sqrt(len(ratios)) / 2)
    yield Figure("  median of the pairs", math.exp(statistics.median(ratios)), 1.05, "")
    bound = ratios[min(place, len(ratios) - 1)]
    yield Figure("  its upper 95 % bound", math.exp(bound), 1.05, "")


def soak(root: Path, minutes: float) -> Iterator[Figure]:
    """Follow a run of a million metric rows, fed at a hundred steps a second; watch the memory."""
    run = RunFolder.create(root, config_to_yaml(load_config("demo")), name="soak", client=CLIENT)
    feeder = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.terminal", "--feed", str(run.path)]
    )
    try:
        while not (run.path / "fed").exists():
            time.sleep(0.5)
        samples: list[tuple[float, float]] = []
        with open_live(run, 120, 36, ()) as terminal:
            end = time.monotonic() + 60 * minutes
            while (now := time.monotonic()) < end:
                terminal.pump(5.0)
                terminal.chunks.clear()
                samples.append(((now - end) / 60 + minutes, resident_mb(terminal.process.pid)))
            cpu = cpu_seconds(terminal.process.pid)
        settled = [sample for sample in samples if sample[0] > min(WARM_MINUTES, minutes / 4)]
        third = max(1, len(settled) // 3)
        early = statistics.median(mb for _, mb in settled[:third])
        late = statistics.median(mb for _, mb in settled[-third:])
        for share in (1 / 30, 1 / 6, 1 / 3, 2 / 3, 1):
            at, mb = min(samples, key=lambda sample: abs(sample[0] - share * minutes))
            yield Figure(f"resident memory after {at:.1f} minutes", mb, 150, "MB")
        yield Figure("  grown, last third over first", late - early, 1.0, "MB")
        slope, _ = statistics.linear_regression(*zip(*settled, strict=True))
        yield Figure("  slope after warm-up", 60 * slope, 2.0, "MB/h")
        yield Figure("  processor", 100 * cpu / (60 * minutes), 10, "%")
    finally:
        feeder.kill()


def feed(path: Path) -> None:
    """Be a worker: a million rows at once, then a hundred steps a second."""
    run = RunFolder.open(path)
    names = ("loss", "gradient_norm", "learning_rate", "images_per_second")
    with run.own(), JournalWriter(run.journal_path) as journal, Heartbeat(journal):
        journal.begin_engine()
        journal.emit(RunStarted(pid=os.getpid(), host="here", device="none"))
        journal.emit(StageStarted(stage=1, input_steps=50, output_steps=16))
        journal.emit(TryStarted(stage=1, attempt=1, remedy="as planned", iterations=10_000_000,
                                learning_rate=1e-3, grid_name="uniform"))  # fmt: skip
        journal.emit(PhaseStarted(phase="train", stage=1, total=10_000_000, unit="step"))
        for step in range(1, 250_001):
            journal.record_metrics(step, {name: math.sin(step / 9000) + 2 for name in names})
        (path / "fed").touch()
        for step in itertools.count(250_001):
            journal.record_metrics(step, {name: math.sin(step / 9000) + 2 for name in names})
            time.sleep(0.01)


def percentile(values: Sequence[float], share: int) -> float:
    """Return the value below which `share` % lie."""
    return statistics.quantiles(values, n=100)[share - 1]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def resident_mb(pid: int) -> float:
    """Return the memory that a process holds."""
    import psutil

    return psutil.Process(pid).memory_info().rss / 1e6


if __name__ == "__main__":
    main()
