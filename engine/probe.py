"""How long a run takes to its first verdict, from a few timed forwards and steps. Decides nothing.

Said before the work begins and kept, so that a resumed run says the same.
"""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import monotonic, perf_counter

import mlx.core as mx

from engine.context import RunContext
from engine.memory import Record
from engine.models.diffusion import Condition, DiffusionModel
from engine.run.events import PhaseFinished, PhaseStarted
from engine.settings import HardwareSettings, TrainingSettings
from engine.training.noise_sets import Purpose, unit_noise
from engine.training.states import Batch
from engine.training.trainer import Trainer

_REPEATS = 3
# A training step in forwards of a student: one, and a backward of twice its work, of which frozen
# weights save a part. As measured on a CPU on networks so large that the optimizer hardly counts.
FULL_STEP, ADAPTER_STEP = 3.1, 2.4
# Below this a step is tried and timed instead. A small network's is between 2.3 and 5.3 forwards:
# optimizer and average cost the same for any batch, and a CPU samples it by two streams at once
# (`engine.models.halves`) but trains it by one.
_LONGEST_TRIED_SECONDS = 5.0
_CANDIDATES = 24  # grids and samplers that are ranked, about


@dataclass(frozen=True)
class PlannedTime:
    """Seconds up to the first verdict of the gate, by what they go to."""

    trajectories: float
    teacher_samples: float  # of the select and of the final noise, decoding included
    ranking: float  # of grids, pilots included
    training: float  # of the first stage
    looks: float  # at its student

    @property
    def total(self) -> float:
        """All of them."""
        return sum(asdict(self).values())

    @property
    def summary(self) -> str:
        """One line for a person."""
        parts = {name.replace("_", " "): value for name, value in asdict(self).items()}
        shares = ", ".join(f"{name} {spoken(value)}" for name, value in parts.items())
        return f"first verdict planned after {spoken(self.total)} ({shares})"


def planned_time(run: RunContext) -> PlannedTime:
    """Return the planned time to the first verdict; measured once, then recalled.

    The whole ladder of a try that fails is not in it.
    """
    record = run.recall("probe")
    if record is None:
        started = monotonic()
        run.hooks.emit(PhaseStarted(phase="probe", unit="forwards"))
        planned = _planned(run, *_measured(run))
        run.keep("probe", Record(facts={"planned": asdict(planned)}))
        run.hooks.emit(
            PhaseFinished(phase="probe", seconds=monotonic() - started, summary=planned.summary)
        )
        return planned
    return PlannedTime(**record.facts["planned"])


def spoken(seconds: float) -> str:
    """Return seconds in the unit that suits them, for example ``12 min``."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (float("inf"), 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.{1 if seconds / divisor < 10 else 0}f} {unit}"
    raise AssertionError("the last limit is infinite")


def _measured(run: RunContext) -> tuple[float, float]:
    """Return seconds a sample of one prediction of the original, and of decoding one."""
    model, size = run.as_teacher(run.base_model), run.hardware.evaluation_batch_size
    size = min(size, run.config.training.trajectories)
    noise = mx.array(unit_noise(Purpose.TRAIN, size, model.sample_shape))
    condition = run.conditions.train.repeated(size).to_condition()
    forward, t = model.compiled_forward(), mx.full((size,), model.grid.timesteps[0])
    passed = []
    for _ in range(_REPEATS + 1):  # the first compiles
        run.hooks.between_steps(None)
        started = perf_counter()
        mx.eval(forward(noise, t, condition))
        passed.append((perf_counter() - started) / size)
    if run.pipeline is None:
        return statistics.median(passed[1:]), 0.0
    run.pictures_of(unit_noise(Purpose.TRAIN, 1, model.sample_shape))  # loads the decoder
    started = perf_counter()
    run.pictures_of(unit_noise(Purpose.TRAIN, min(size, 8), model.sample_shape))
    return statistics.median(passed[1:]), (perf_counter() - started) / min(size, 8)


def step_seconds(run: RunContext, single: float) -> float:
    """Return what a training step takes, tried where that is quick.

    `single` is a student's forward of one sample, in seconds.
    """
    training, lora, machine = run.config.training, run.config.lora, run.hardware
    guess = (ADAPTER_STEP if lora.enabled else FULL_STEP) * single * training.batch_size
    # a base that will be held in less is not yet, and might not fit beside a step
    if guess > _LONGEST_TRIED_SECONDS or machine.base_precision != "float32":
        return guess
    student = run.base_model.student(lora=lora if lora.enabled else None)
    condition = run.conditions.train.repeated(training.batch_size).to_condition()
    return timed_step(student, training, machine, condition, lambda: run.hooks.between_steps(None))


def timed_step(
    student: DiffusionModel,
    training: TrainingSettings,
    machine: HardwareSettings,
    condition: Condition,
    between: Callable[[], None] = lambda: None,
) -> float:
    """Return the seconds of a training step of `student`, which keeps its weights.

    `condition` is that of a whole batch.
    """
    trainer = Trainer(
        student,
        training,
        iterations=_REPEATS + 1,
        learning_rate=0.0,
        compute_dtype=getattr(mx, machine.compute_dtype),
        is_compiled=machine.compile,
        micro_batch_size=machine.micro_batch_size,
        is_recomputed=bool(machine.recompute_activations),
    )
    z = mx.array(unit_noise(Purpose.TRAIN, training.batch_size, student.sample_shape))
    batch = Batch(z, z, mx.zeros((training.batch_size,), mx.int32), condition)
    passed = []
    for _ in range(_REPEATS + 1):  # the first compiles
        between()
        started = perf_counter()
        trainer.step(batch)
        passed.append(perf_counter() - started)
    return statistics.median(passed[1:])


def _planned(run: RunContext, forward: float, decode: float) -> PlannedTime:
    config, training = run.config, run.config.training
    select, final = config.quality.counts(is_latent=run.is_latent)
    single = forward / (run.base_model.evaluations / run.base_model.steps)  # a student's forward
    steps, first = run.base_model.steps, config.planned_steps()[0]
    step = step_seconds(run, single)
    pilots = config.schedule.pilot_candidates * config.schedule.pilot_iterations
    return PlannedTime(
        trajectories=training.trajectories * steps * forward,
        teacher_samples=2 * (select + final) * (steps * forward + decode),
        ranking=_CANDIDATES * select * config.target_steps * forward + pilots * step,
        training=training.iterations[0] * step,
        looks=(select + final) * (first * single + decode),
    )
