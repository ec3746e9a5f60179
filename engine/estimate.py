"""What a run will cost in time, memory and disk, from its settings and from past runs. No MLX.

Time is the work of each phase (evaluations of the network, optimiser steps) times what that work
took in the runs on this machine; without one there is no time, and it says so. Memory and disk
follow from sizes, and memory from the peaks of past runs where there are some. All of it for a run
whose stages pass at their first try; a retry costs its stage again. Used by the dashboard.
"""

import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from engine.config import DiffusionOptimizationConfig, parse_config
from engine.errors import DiffoptError
from engine.model_cost import ModelCost, model_cost
from engine.model_size import scoring_memory
from engine.run import JournalReader, RunFolder, list_runs
from engine.run.events import (
    Event,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
    StageAccepted,
    StageStarted,
    StageTrained,
)

MOST_RUNS = 12  # the newest are looked at
_BACKWARD = 3.0  # a training step's evaluations: one forward, twice that backward
_BASE_BYTES = 190 << 20  # Python, NumPy and MLX before anything is loaded
_SHEET_BYTES = 24 << 10
_FIXED_DISK = 6 << 20  # ballast, journal, report and its plots


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run costs. `problem` says why nothing can be said, and all else is then empty."""

    seconds: float | None = None
    spread: float = 1.0  # the truth is likely between seconds / spread and seconds * spread
    memory_bytes: int | None = None  # the worker's peak
    machine_bytes: int | None = None
    disk_bytes: int | None = None  # the run folder at its largest
    free_bytes: int | None = None
    basis: str = ""  # what it rests on, in words
    problem: str = ""
    phases: tuple[tuple[str, float], ...] = ()  # seconds of each

    @property
    def fits(self) -> bool:
        """Whether the machine's memory holds it."""
        if self.memory_bytes is None or self.machine_bytes is None:
            return True
        return self.memory_bytes <= self.machine_bytes

    @property
    def has_room(self) -> bool:
        """Whether the disk holds it."""
        if self.disk_bytes is None or self.free_bytes is None:
            return True
        return self.disk_bytes <= self.free_bytes


@dataclass(frozen=True, slots=True)
class PastRun:
    """What a run on this machine did, phase by phase."""

    cost: ModelCost
    seconds: Mapping[str, float]
    work: Mapping[str, float]
    peak_bytes: int | None
    memory_work: float  # bytes that `_device_bytes` would have told


def estimate(
    config: DiffusionOptimizationConfig,
    runs_dir: Path,
    *,
    past: Sequence[PastRun] | None = None,
) -> Estimate:
    """Return what a run with these settings costs here. Never raises for what the user gave."""
    try:
        cost = model_cost(config.model_path, config.data.height, config.data.width)
    except (DiffoptError, OSError) as error:
        return Estimate(problem=str(error))
    history = list(past) if past is not None else past_runs(runs_dir)
    seconds, spread, phases, basis = _time(planned_work(config, cost), cost, history)
    return Estimate(
        seconds=seconds,
        spread=spread,
        memory_bytes=_memory(config, cost, history),
        machine_bytes=_machine_bytes(),
        disk_bytes=_disk(config, cost),
        free_bytes=_free(runs_dir),
        basis=basis,
        phases=phases,
    )


# Work, in evaluations of the network on one sample, which `cost.flops` turns into time


def planned_work(config: DiffusionOptimizationConfig, cost: ModelCost) -> dict[str, float]:
    """Return the work of each phase if every stage passes at its first try."""
    steps, target = [config.original.steps, *config.planned_steps()], config.target_steps
    select, final = config.quality.counts(is_latent=cost.is_latent)
    iterations = [
        config.training.iterations[min(number, len(config.training.iterations) - 1)]
        for number in range(len(steps) - 1)
    ]
    stages = list(zip(steps, steps[1:], iterations, strict=False))
    search, led = config.schedule, _evaluations_a_step(config, cost)
    proposals = 2 * (14 + len(search.costs) * len(search.gammas))
    pilots = search.pilot_candidates if search.search and search.pilot_iterations else 0
    pilot = search.pilot_iterations * config.training.batch_size * _BACKWARD + select * target
    anchors = select * 3 * steps[0] + 4 * final * target
    timing = config.export.timing_batch_size * (steps[0] * led + target)
    sheets = _sheets(config, iterations)
    return {
        "cache": led * config.training.trajectories * sum(steps[:-1]),
        "plan": led * (proposals if search.search else 28) * select * target + pilots * pilot,
        "train": sum(_training_work(config, *stage) for stage in stages)
        + sheets * config.export.samples * 2 * target,
        "gate": sum((select + final) * after for _, after, _ in stages),
        "evaluate": led * (2 * (select + final) * steps[0] + anchors)
        + config.export.timing_repeats * timing,
        "export": float(final),
    }


def _evaluations_a_step(config: DiffusionOptimizationConfig, cost: ModelCost) -> float:
    """Return 2 where the original is guided: it is asked with and without its prompt."""
    scale = config.guidance.scale
    is_led = cost.has_prompts if scale is None else scale > 1
    return 2.0 if is_led and cost.has_prompts else 1.0


def _training_work(
    config: DiffusionOptimizationConfig, before: int, after: int, iterations: int
) -> float:
    training = config.training
    work = iterations * training.batch_size * _BACKWARD
    if training.states != "trajectory":
        states = min(training.trajectories * after, training.batch_size * training.refresh_steps)
        renewals = -(-iterations // training.refresh_steps)
        jumps = before / after
        work += renewals * states * (jumps + (1 if training.states == "rollout" else 0))
    return work


def _sheets(config: DiffusionOptimizationConfig, iterations: Iterable[int]) -> int:
    every = config.training.sample_every
    return sum(1 + count // every for count in iterations) if every else 0


# Time


def _time(
    work: Mapping[str, float], cost: ModelCost, history: Sequence[PastRun]
) -> tuple[float | None, float, tuple[tuple[str, float], ...], str]:
    """Return (seconds, spread, seconds of each phase, what it rests on)."""
    if not history:
        return None, 1.0, (), "no run on this machine yet"
    same = [run for run in history if _is_same_model(run.cost, cost)]
    used = same or list(history)
    phases, furthest = [], 1.0
    for phase, amount in work.items():
        points = [
            (run.work[phase] * run.cost.flops, run.seconds[phase])
            for run in used
            if run.seconds.get(phase) and run.work.get(phase)
        ]
        if points:
            phases.append((phase, _extrapolated(points, amount * cost.flops)))
            nearest = min(abs(_log_ratio(amount * cost.flops, done)) for done, _ in points)
            furthest = max(furthest, 2**nearest) if phase in ("train", "evaluate") else furthest
    if not any(phase == "train" for phase, _ in phases):
        return None, 1.0, (), "no run on this machine was trained yet"
    # a busy neighbour alone moves a run by a third here; the further away, the less is known
    spread = 1.3 * furthest**0.25 * (1.0 if same else 1.5)
    count = f"{len(used)} run{'s' if len(used) > 1 else ''} here"
    basis = f"from {count}" if same else f"from {count} of other models: rough"
    return sum(seconds for _, seconds in phases), spread, tuple(phases), basis


def _extrapolated(points: Sequence[tuple[float, float]], work: float) -> float:
    """Return the seconds of `work` from (work, seconds): a line with a start that costs, or a ray.

    Least squares in relative error, so that the small runs count as much as the large.
    """
    smallest, largest = min(done for done, _ in points), max(done for done, _ in points)
    ratio = sum(seconds / done for done, seconds in points) / len(points)
    if largest < 2 * smallest:
        # one size only: what is fixed cannot be told apart, so a smaller run keeps it all
        return ratio * max(work, smallest * 0.5)
    weights = [1 / seconds**2 for _, seconds in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    over = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    under = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = over / under if under else 0.0
    start = mean_y - slope * mean_x
    if slope <= 0 or start < 0:
        return ratio * work
    return start + slope * work


def _log_ratio(a: float, b: float) -> float:
    return math.log2(a / b) if a > 0 and b > 0 else 0.0


def _is_same_model(a: ModelCost, b: ModelCost) -> bool:
    return (a.parameters, a.flops) == (b.parameters, b.flops)


# Past runs


def past_runs(runs_dir: Path, host: str | None = None) -> list[PastRun]:
    """Return the newest finished runs of this machine that tell what their phases took."""
    found = []
    for run in list_runs(runs_dir)[:MOST_RUNS]:
        try:
            changed = run.journal_path.stat().st_mtime_ns
            one = _past_run(run.path, changed, host or os.uname().nodename)
        except (DiffoptError, OSError):
            continue  # damaged, or of a model that is gone: it teaches nothing
        if one is not None:
            found.append(one)
    return found


@lru_cache(maxsize=64)
def _past_run(path: Path, changed: int, host: str) -> PastRun | None:
    run = RunFolder(path)
    with JournalReader(run.journal_path) as reader, reader.snapshot():
        events = [stored.event for stored in reader.facts()]
        memory = reader.latest().get("memory") or {}
    starts = [event for event in events if isinstance(event, RunStarted)]
    is_finished = any(isinstance(event, RunFinished) for event in events)
    if not is_finished or not starts or starts[0].host != host:
        return None
    config = parse_config(run.config_path.read_text(encoding="utf-8"), str(run.config_path))
    cost = model_cost(config.model_path, config.data.height, config.data.width)
    peak = memory.get("peak_bytes")
    return PastRun(
        cost=cost,
        seconds=own_seconds(events),
        work=done_work(config, cost, events),
        peak_bytes=int(peak) if peak else None,
        memory_work=_device_bytes(config, cost),
    )


def own_seconds(events: Iterable[Event]) -> dict[str, float]:
    """Return what each phase took, without the phases within it."""
    seconds: dict[str, float] = {}
    inner: list[float] = []
    for event in events:
        if isinstance(event, PhaseStarted):
            inner.append(0.0)
        elif isinstance(event, PhaseFinished) and inner:
            own = event.seconds - inner.pop()
            seconds[event.phase] = seconds.get(event.phase, 0.0) + max(0.0, own)
            if inner:
                inner[-1] += event.seconds
    return seconds


def done_work(
    config: DiffusionOptimizationConfig, cost: ModelCost, events: Sequence[Event]
) -> dict[str, float]:
    """Return the work of each phase as it came: with retries, without stages never reached."""
    work = planned_work(config, cost)
    select, final = config.quality.counts(is_latent=cost.is_latent)
    stages = {e.stage: e for e in events if isinstance(e, StageStarted)}
    tries = [event for event in events if isinstance(event, StageTrained)]
    accepted = [event for event in events if isinstance(event, StageAccepted)]
    if stages and tries:
        led = _evaluations_a_step(config, cost)
        inputs = [stages[number].input_steps for number in sorted(stages)]
        work["cache"] = led * config.training.trajectories * sum(inputs)
        work["train"] = sum(
            _training_work(
                config,
                stages[one.stage].input_steps,
                stages[one.stage].output_steps,
                one.iterations,
            )
            for one in tries
            if one.stage in stages
        ) + _sheets(config, [one.iterations for one in tries]) * (
            config.export.samples * 2 * config.target_steps
        )
        work["gate"] = float(
            sum(select * stages[one.stage].output_steps for one in tries if one.stage in stages)
            + sum(final * stages[one.stage].output_steps for one in accepted if one.stage in stages)
        )
    return work


# Memory and disk


def _memory(
    config: DiffusionOptimizationConfig, cost: ModelCost, history: Sequence[PastRun]
) -> int:
    ratios = sorted(
        run.peak_bytes / run.memory_work
        for run in history
        if run.peak_bytes and _is_same_model(run.cost, cost)
    )
    ratio = ratios[len(ratios) // 2] if ratios else 1.0
    return int(_BASE_BYTES + ratio * _device_bytes(config, cost) + _host_bytes(config, cost))


def _device_bytes(config: DiffusionOptimizationConfig, cost: ModelCost) -> float:
    """Return what MLX holds at its peak: weights in all their copies, and activations."""
    hardware, training = config.hardware, config.training
    step = partial(
        cost.training,
        is_compiled=hardware.compile and config.apple_silicon_optimization,
        compute_bytes=2 if hardware.compute_dtype == "bfloat16" else 4,
        base_precision=hardware.base_precision,
        rank=config.lora.rank if config.lora.enabled else None,
        targets=config.lora.targets if config.lora.enabled else (),
    )
    one = step(samples=1)
    held = one.total - one.activations + cost.companion_bytes
    if not config.lora.enabled and len(config.planned_steps()) > 1:
        bits = hardware.teacher_bits or (16 if hardware.teacher_dtype == "bfloat16" else 32)
        held += cost.parameters * bits // 8  # the stage's teacher, beside the original
    part = hardware.micro_batch_size or training.batch_size
    room = (_machine_bytes() or math.inf) - held
    while hardware.micro_batch_size is None and part > 1 and step(samples=part).activations > room:
        part //= 2  # as the run will, where it is left to choose
    sampling = cost.sampling_bytes(hardware.evaluation_batch_size)
    # the original is sampled in float32 before a base is held in less
    whole = 4 * cost.parameters + cost.companion_bytes
    return max(held + max(step(samples=part).activations, sampling), whole + sampling)


def _host_bytes(config: DiffusionOptimizationConfig, cost: ModelCost) -> float:
    """Return what lies in arrays of NumPy: the cached paths, the pool, the samples."""
    training = config.training
    select, final = config.quality.counts(is_latent=cost.is_latent)
    paths = training.trajectories * (2 * config.original.steps + 1)
    pool = 2 * min(training.trajectories, training.batch_size * training.refresh_steps)
    values = cost.sample_values * (paths + pool + 3 * (select + final))
    is_decoded = cost.is_latent and config.quality.mode != "latents"
    scored = cost.image_values if is_decoded else cost.sample_values
    return 4.0 * values + scoring_memory(scored, max(select, final))


def _disk(config: DiffusionOptimizationConfig, cost: ModelCost) -> int:
    steps = [config.original.steps, *config.planned_steps()]
    training = config.training
    select, final = config.quality.counts(is_latent=cost.is_latent)
    caches = 4 * cost.sample_values * training.trajectories * sum(2 * k + 1 for k in steps[:-1])
    samples = 2 * 4 * cost.sample_values * (select + final)
    if cost.is_latent and config.quality.mode != "latents":
        samples += 4 * cost.image_values * (final + 2 * select)  # decoded, to be scored
    weights = 4 * cost.parameters
    kept = weights * (len(steps) - 1) + weights  # accepted students, and the export
    unfinished = 2 * 4 * weights  # twice: it is written beside the old one
    pool = 2 * 4 * cost.sample_values * training.batch_size * training.refresh_steps
    iterations = [
        training.iterations[min(number, len(training.iterations) - 1)]
        for number in range(len(steps) - 1)
    ]
    sheets = (_sheets(config, iterations) + 1) * max(
        _SHEET_BYTES, config.export.samples * cost.image_values * 3
    )
    return int(caches + samples + kept + unfinished + pool + sheets + _FIXED_DISK)


def _machine_bytes() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().total)


def _free(runs_dir: Path) -> int | None:
    for folder in (runs_dir, *runs_dir.absolute().parents):
        if folder.exists():
            return shutil.disk_usage(folder).free
    return None
