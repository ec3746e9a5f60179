"""Two clients command one worker at random, while twenty viewers poll: is anything lost or doubled?

``python benchmarks/storm.py [SECONDS] [FOLDER]`` takes a minute by default. A run that is cancelled
is followed by another. Every command must be answered once, or be withdrawn because no worker was
there; the state that the events tell must be the one that every viewer sees. Also printed: what the
worker's commits waited for others and took, how far the WAL grew, how soon a pause was obeyed, and
the worker's share of a processor while paused. Wall times need a quiet machine.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from engine.errors import RunError
from engine.run import (
    CommandKind,
    JournalReader,
    RunFolder,
    RunState,
    create_and_start,
    send,
    wait_for,
)
from engine.run.effects import STATE_AFTER
from engine.run.events import CommandAcknowledged

HOUSE = Path(__file__).resolve().parents[1]
CONFIG = """\
model_path: {model_path}
optimization_stages: 1
target_steps: 2
quality_threshold: 0.01
apple_silicon_optimization: false
original: {{steps: 4}}
schedule: {{search: false}}
training:
  {{iterations: [1000000], trajectories: 8, batch_size: 4, report_every: 1, sample_every: 0}}
quality: {{samples: 64, select_samples: 64, bootstrap: 100}}
"""
CLIENTS, READERS = 2, 20
KINDS = {
    CommandKind.PAUSE: 8,
    CommandKind.RESUME: 8,
    CommandKind.CHECKPOINT: 2,
    CommandKind.PAUSE_AND_FREE: 1,
    CommandKind.CANCEL_RUN: 0.25,
}


@dataclass
class Found:
    """What a storm came to."""

    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    wal_bytes: int = 0
    longest: dict[str, float] = field(default_factory=dict)


def begin(root: Path, name: str) -> RunFolder:
    """Return a new run that trains until it is told to end, and make it the one to command."""
    model_path = HOUSE / "tests" / "fixtures" / "ddpm_flat"
    config = CONFIG.format(model_path=model_path)
    run = create_and_start(
        root / "runs", config, label="storm", name=name, client="storm", is_network_allowed=True
    )
    temporary = root / "current.new"
    temporary.write_text(str(run.path))
    temporary.rename(root / "current")
    return run


def command(root: Path, number: int, seconds: float) -> None:
    """Send commands at random to whatever run is current; print each one that was sent."""
    rng, deadline = random.Random(number), time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(rng.uniform(0, 0.1))
        run = RunFolder.open(Path((root / "current").read_text()))
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        try:
            sent = send(run, kind, client=f"client {number}")
        except RunError:  # the run is over, and the next not there yet
            continue
        print(json.dumps([str(run.path), sent.id]), flush=True)


def watch(root: Path, seconds: float) -> None:
    """Poll the current run as many dashboards do, four times a second each."""
    deadline, current, readers, last = time.monotonic() + seconds, "", [], [0] * READERS
    while time.monotonic() < deadline:
        if (now := (root / "current").read_text()) != current:
            current, last = now, [0] * READERS
            readers = [JournalReader(RunFolder.open(Path(now)).journal_path) for _ in last]
        for number, reader in enumerate(readers):
            time.sleep(0.25 / READERS)
            with reader.snapshot():
                last[number] = reader.poll(last[number]).last_id
                reader.metrics("loss", 100)


def storm(root: Path, seconds: float) -> Found:
    """Let clients and viewers loose, then count."""
    found, number = Found(), 1
    runs = [begin(root, "run-1")]
    wait_until_it_trains(runs[-1])
    here = [sys.executable, __file__, str(seconds), str(root)]
    clients = [
        subprocess.Popen([*here, "--client", str(one)], stdout=subprocess.PIPE, text=True)
        for one in range(CLIENTS)
    ]
    viewers = subprocess.Popen([*here, "--watch"])
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)
        wal = runs[-1].path / "journal.sqlite-wal"
        found.wal_bytes = max(found.wal_bytes, wal.stat().st_size if wal.exists() else 0)
        if runs[-1].state() in (RunState.CANCELLED, RunState.DONE, RunState.FAILED):
            number += 1
            runs.append(begin(root, f"run-{number}"))
    sent = [json.loads(line) for client in clients for line in client.communicate()[0].splitlines()]
    viewers.wait()
    end(runs[-1])
    found.sent = len(sent)
    for run in runs:
        count(run, [command_id for path, command_id in sent if path == str(run.path)], found)
    return found


def wait_until_it_trains(run: RunFolder) -> None:
    """Return once the run has told its first loss."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with JournalReader(run.journal_path) as reader:
            if reader.last_values():
                return
        time.sleep(0.05)
    raise SystemExit(run.log_path.read_text()[-2000:])


def end(run: RunFolder) -> None:
    """Cancel the run, and wait until its worker is gone."""
    with suppress(RunError):  # it was over
        wait_for(run, send(run, CommandKind.CANCEL_RUN, client="storm"), timeout_seconds=60)
    deadline = time.monotonic() + 60
    while run.status().pid is not None and time.monotonic() < deadline:
        time.sleep(0.05)


def count(run: RunFolder, sent: list[str], found: Found) -> None:
    """Hold one run's commands against its events."""
    with JournalReader(run.journal_path) as reader:
        events = [stored.event for stored in reader.facts()]
        records = {one.command.id: one for one in reader.commands(1_000_000)}
        latest = reader.latest()
        found.wrong += reader.integrity_check()
    answers = Counter(one.command_id for one in events if isinstance(one, CommandAcknowledged))
    for command_id in sent:
        record = records.get(command_id)
        if record is None:
            found.wrong.append(f"{command_id} was lost")
            continue
        found.outcomes[record.outcome or "unanswered"] += 1
        wanted = 0 if record.outcome == "withdrawn" else 1
        if answers[command_id] != wanted:
            found.wrong.append(
                f"{record.command.kind} {command_id}: {record.outcome}, "
                f"answered {answers[command_id]} times"
            )
    told = [STATE_AFTER[type(event)] for event in events if type(event) in STATE_AFTER]
    if str(told[-1]) != latest["state"] or run.state() != told[-1]:
        found.wrong.append(f"{run.name}: told {told[-1]}, written {latest['state']}, {run.state()}")
    for name, value in latest.get("longest_commit", {}).items():
        found.longest[name] = max(found.longest.get(name, 0.0), value)


def measure_pause(root: Path) -> str:
    """Return how soon a pause is obeyed, and what a paused worker uses."""
    run = begin(root, "pause")
    wait_until_it_trains(run)
    steps, waits = [], []
    process = psutil.Process(run.status().pid)
    for _ in range(5):
        with JournalReader(run.journal_path) as reader:
            before = reader.latest()["progress"][2]
        began = time.monotonic()
        wait_for(run, send(run, CommandKind.PAUSE, client="storm"))
        steps.append((run.status().step or 0) - before)
        waits.append(time.monotonic() - began)
        if len(steps) < 5:
            wait_for(run, send(run, CommandKind.RESUME, client="storm"))
            time.sleep(0.5)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(10)
    share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
    end(run)
    return (
        f"a pause was answered within {max(waits) * 1e3:.0f} ms (at most {max(steps)} steps after "
        f"the last told); a paused worker uses {share:.2%} of a processor"
    )


def main() -> int:
    """Storm, print, return 1 if anything was lost, doubled or contradicted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=60.0)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.folder or Path(tempfile.mkdtemp(prefix="diffopt-storm-"))
    if options.client is not None:
        command(root, options.client, options.seconds)
        return 0
    if options.watch:
        watch(root, options.seconds)
        return 0
    root.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("DIFFOPT_STATE_DIR", str(root / "state"))
    found = storm(root, options.seconds)
    outcomes = ", ".join(f"{count} {name}" for name, count in found.outcomes.most_common())
    print(f"{found.sent} commands of {CLIENTS} clients in {options.seconds:.0f} s: {outcomes}")
    longest = ", ".join(f"{key} {value * 1e3:.1f} ms" for key, value in found.longest.items())
    print(f"{READERS} viewers at 4 Hz; the worker's longest commit: {longest}")
    print(f"WAL {found.wal_bytes / 1e6:.1f} MB at most")
    for line in found.wrong[:20]:
        print(f"WRONG: {line}")
    print(measure_pause(root))
    return int(bool(found.wrong))


if __name__ == "__main__":
    sys.exit(main())
