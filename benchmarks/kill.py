"""Kill a run's worker again and again, in every phase, and compare what comes out in the end.

``python benchmarks/kill.py N [FOLDER]`` makes tiny runs in FOLDER. Each is killed with SIGKILL once
in every phase, at a random moment of it, and resumed after each kill, until there are N kills and
every phase was hit by a seventh of them, but 10 at most. Weights, grid, score and loss rows must be
those of a run that nobody killed. About 4 s a kill; N = 100 takes about 10 minutes.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.run import JournalReader, MetricPoint, RunFolder, RunState, start_worker
from engine.run.events import Event, PhaseFinished, PhaseStarted

HOUSE = Path(__file__).resolve().parents[1]
CONFIG = """\
model_path: {model_path}
target_steps: 2
optimization_stages: 2
quality_threshold: 0.01
apple_silicon_optimization: {is_compiled}
original: {{steps: 4}}
schedule: {{pilot_iterations: 2, pilot_candidates: 2, costs: [z_mse], gammas: [1.0]}}
training:
  stage_steps: [3, 2]
  iterations: [30, 30]
  states: rollout
  trajectories: 512
  batch_size: 8
  refresh_steps: 7
  report_every: 1
  sample_every: 0
quality: {{samples: 64, select_samples: 64, bootstrap: 100}}
export: {{samples: 2}}
run: {{checkpoint_seconds: 1}}
"""
# In the order of a run; the words of the journal for each.
PHASES = {
    "loading": (),
    "caching": ("cache",),
    "planning": ("plan",),
    "training": ("train",),
    "checkpointing": ("train",),
    "evaluating": ("gate", "evaluate"),
    "exporting": ("export",),
}
POLL_SECONDS = 0.002
PATIENCE_SECONDS = 400.0
SAVING_SECONDS = 0.003


@dataclass
class Tally:
    """What happened to the kills that hit one phase."""

    kills: int = 0
    unsound: int = 0  # journals
    other: int = 0  # runs, killed here among others, that came to another end


def create(root: Path, name: str, *, is_compiled: bool, trains_adapters: bool) -> RunFolder:
    """Return a new tiny run."""
    model_path = HOUSE / "tests" / "fixtures" / "ddpm_flat"
    config = CONFIG.format(model_path=model_path, is_compiled=str(is_compiled).lower())
    if trains_adapters:
        config += "lora: {enabled: true, rank: 2, alpha: 2.0}\n"
    return RunFolder.create(root, config, name=name, is_network_allowed=True)


def events_from(run: RunFolder, after: int, worker: "subprocess.Popen[bytes]") -> Iterator[Event]:
    """Yield a run's events past `after` as they come, until its worker ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with JournalReader(run.journal_path) as reader:
        while time.monotonic() < deadline:
            has_ended = worker.poll() is not None
            poll = reader.poll(after)
            after = poll.last_id
            for stored in poll.events:
                yield stored.event
            if has_ended:
                return
            time.sleep(POLL_SECONDS)
    raise SystemExit(f"{run.path} made no end in {PATIENCE_SECONDS:.0f} s")


def finish(run: RunFolder) -> dict[str, float]:
    """Work until the run is done; return how long the shortest phase of each name took."""
    began = time.monotonic()
    seconds: dict[str, float] = {}
    for event in events_from(run, last_id(run), start_worker(run)):
        if isinstance(event, PhaseStarted) and "loading" not in seconds:
            seconds["loading"] = time.monotonic() - began
        if isinstance(event, PhaseFinished):
            seconds[event.phase] = min(event.seconds, seconds.get(event.phase, event.seconds))
    if run.state() is not RunState.DONE:
        raise SystemExit(f"{run.path} is {run.state()}:\n{run.log_path.read_text()[-3000:]}")
    return seconds


def kill_in(
    run: RunFolder, phase: str, seconds: dict[str, float], rng: random.Random
) -> str | None:
    """Start the run's worker and kill it in `phase`.

    Return the phase in which it really was, None if the run was done before.
    """
    after, began = last_id(run), time.monotonic()
    worker = start_worker(run)
    words = PHASES[phase]
    if not words:
        time.sleep(rng.uniform(0, 0.8 * seconds["loading"]))
    else:
        # not always the first of its kind: there are two stages
        skipped = rng.randrange(2) if phase in ("training", "evaluating") else 0
        for event in events_from(run, after, worker):
            if isinstance(event, PhaseStarted):
                seconds["loading"] = min(seconds["loading"], time.monotonic() - began)
            if isinstance(event, PhaseStarted) and event.phase in words:
                if not skipped:
                    break
                skipped -= 1
        if phase == "checkpointing":
            deadline = time.monotonic() + 10
            while not half_written(run) and time.monotonic() < deadline:
                time.sleep(0.0002)
            time.sleep(rng.uniform(0, SAVING_SECONDS))
        else:
            # a little less, for this side learns late that a phase began
            time.sleep(rng.uniform(0, 0.9 * min(seconds[word] for word in words)))
    worker.kill()
    return phase_at_end(run, after) if worker.wait() == -signal.SIGKILL else None


def half_written(run: RunFolder) -> bool:
    """Return whether a checkpoint is being written, or was when its writer died."""
    return any(".tmp-" in path.name for path in run.checkpoints_path.iterdir())


def phase_at_end(run: RunFolder, after: int) -> str:
    """Return the phase in which the worker that wrote the events past `after` was killed."""
    if half_written(run):
        return "checkpointing"
    open_phases: list[str] = []
    with JournalReader(run.journal_path) as reader:
        events = [stored.event for stored in reader.facts(after)]
    has_begun = False
    for event in events:
        if isinstance(event, PhaseStarted):
            has_begun = True
            open_phases.append(event.phase)
        elif isinstance(event, PhaseFinished):
            open_phases.remove(event.phase)
    if not has_begun:
        return "loading"
    if not open_phases:
        return "between phases"
    return next(name for name, words in PHASES.items() if open_phases[-1] in words)


def last_id(run: RunFolder) -> int:
    """Return the id of the run's last event."""
    with JournalReader(run.journal_path) as reader:
        return reader.last_id


def is_sound(run: RunFolder) -> bool:
    """Return whether the journal passes its integrity check."""
    with JournalReader(run.journal_path) as reader:
        return not reader.integrity_check()


def outcome_of(run: RunFolder) -> dict[str, object]:
    """Return what must not depend on kills."""
    result = json.loads(run.metrics_path.read_text())
    weights = run.export_path / "unet" / "diffusion_pytorch_model.safetensors"
    with JournalReader(run.journal_path) as reader:
        losses: list[MetricPoint] = reader.metrics("loss", points=10_000)
    return {
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "grid": result["timesteps"],
        "quality": result["quality"],
        "anchors": [(one["label"], one["quality"]) for one in result["anchors"]],
        "looks": (result["final_looks"], result["select_looks"]),
        "losses": losses,
    }


def main() -> int:
    """Measure, print a table by phase, return 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, metavar="N")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true", help="as by default; takes longer")
    parser.add_argument("--lora", action="store_true", help="train adapters alone")
    options = parser.parse_args()
    root = options.folder or Path(tempfile.mkdtemp(prefix="diffopt-kill-"))
    os.environ.setdefault("DIFFOPT_STATE_DIR", str(root / "state"))
    rng = random.Random(options.seed)

    how = {"is_compiled": options.compiled, "trains_adapters": options.lora}
    unharmed = create(root, f"unharmed-{os.getpid()}", **how)
    seconds = finish(unharmed)
    wanted = outcome_of(unharmed)
    print("unharmed: " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))

    tallies = {name: Tally() for name in [*PHASES, "between phases"]}
    enough = min(10, options.kills // len(PHASES))

    def missing() -> list[str]:
        return [name for name in PHASES if tallies[name].kills < enough]

    kills = differing = number = 0
    while kills < options.kills or missing():
        number += 1
        run = create(root, f"killed-{os.getpid()}-{number}", **how)
        hit: list[str] = []
        for phase in PHASES:
            if kills >= options.kills and phase not in missing():
                continue
            killed_in = kill_in(run, phase, seconds, rng)
            if killed_in is None:
                break
            hit.append(killed_in)
            kills += 1
            tally = tallies[killed_in]
            tally.kills += 1
            tally.unsound += not is_sound(run)
        if run.state() is not RunState.DONE:
            finish(run)
        found = outcome_of(run)
        if wrong := [key for key in wanted if found[key] != wanted[key]]:
            differing += 1
            print(f"run {number}: {', '.join(wrong)} differ after kills in {', '.join(hit)}")
            for name in set(hit):
                tallies[name].other += 1
        hits = ", ".join(f"{name} {tally.kills}" for name, tally in tallies.items())
        print(f"run {number}: {kills} kills ({hits})", file=sys.stderr, flush=True)

    print(f"{'killed while':16} {'kills':>5} {'unsound journals':>17} {'other outcomes':>15}")
    for name, tally in tallies.items():
        print(f"{name:16} {tally.kills:5} {tally.unsound:17} {tally.other:15}")
    print(f"{number} runs, {kills} kills, {differing} runs that differ from the unharmed one")
    print("weights, grid, score, anchors, looks and loss rows were compared byte by byte")
    return int(differing > 0 or any(tally.unsound for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
