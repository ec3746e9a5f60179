"""Holds `engine.estimate` against true runs: time by phase, memory and disk, told before and found.

    python benchmarks/estimate.py                 # smoke, told from a smaller run of the same model
    python benchmarks/estimate.py --recipe demo --past smoke

Each run is a worker of its own in a folder for the purpose; the machine should do nothing else.
"""

import argparse
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from engine.config import DiffusionOptimizationConfig, config_to_yaml, load_config
from engine.estimate import Estimate, estimate, own_seconds
from engine.run import JournalReader, RunFolder, start_worker

SMALLER = ("training.iterations=[12, 12]", "quality.samples=64", "training.trajectories=32")


def main() -> None:
    """Run the smaller one, tell the larger one's cost, run it, and print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--past", action="append", default=[], help="recipes run before, to tell from"
    )
    options = parser.parse_args()
    config = load_config(options.recipe, options.set)
    past = [load_config(one) for one in options.past] or [load_config("smoke", SMALLER)]
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        os.environ["DIFFOPT_STATE_DIR"] = folder  # a queue of its own
        print(f"before any run: {estimate(config, runs).basis}")
        for number, one in enumerate(past):
            run_measured(one, runs, f"past-{number}")
        told = estimate(config, runs)
        seconds, phases, memory, disk = run_measured(config, runs, "target")
        report(told, seconds, phases, memory, disk)


def run_measured(
    config: DiffusionOptimizationConfig, runs: Path, name: str
) -> tuple[float, dict[str, float], int, int]:
    """Return (seconds, seconds of each phase, peak memory, largest size of the folder) of a run."""
    run = RunFolder.create(runs, config_to_yaml(config), name=name)
    began = time.monotonic()
    process = start_worker(run)
    watched, memory, disk = psutil.Process(process.pid), 0, 0
    while process.poll() is None:
        try:
            memory = max(memory, watched.memory_info().rss)
        except psutil.Error:
            break
        disk = max(disk, _size(run.path))
        time.sleep(0.2)
    process.wait()
    with JournalReader(run.journal_path) as reader:
        events = [stored.event for stored in reader.facts()]
    return time.monotonic() - began, own_seconds(events), memory, disk


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # written under another name, and renamed just now
            total += path.stat().st_size if path.is_file() else 0
    return total


def report(
    told: Estimate, seconds: float, phases: dict[str, float], memory: int, disk: int
) -> None:
    """Print what was told beside what was found."""
    print(f"{'':10} {'told':>10} {'found':>10} {'told/found':>11}   {told.basis}")
    for phase, guess in told.phases:
        found = phases.get(phase, 0.0)
        print(f"{phase:10} {guess:9.1f}s {found:9.1f}s {guess / max(found, 1e-9):11.2f}")
    assert told.seconds is not None
    low, high = told.seconds / told.spread, told.seconds * told.spread
    print(
        f"{'run':10} {told.seconds:9.1f}s {seconds:9.1f}s {told.seconds / seconds:11.2f}   "
        f"within {low:.0f} to {high:.0f} s: {'yes' if low <= seconds <= high else 'no'}"
    )
    for name, guess, found in (
        ("memory", told.memory_bytes, memory),
        ("disk", told.disk_bytes, disk),
    ):
        assert guess is not None
        print(f"{name:10} {guess / 2**20:8.0f}Mi {found / 2**20:8.0f}Mi {guess / found:11.2f}")


if __name__ == "__main__":
    main()
