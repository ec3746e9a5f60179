"""How long a run is going to take to its first verdict, from a few timed forwards. Decides nothing.

Said before the work begins and kept, so that a resumed run says the same.
"""

import statistics
from dataclasses import asdict, dataclass
from time import monotonic, perf_counter

import mlx.core as mx

from engine.context import RunContext
from engine.memory import Record
from engine.run.events import PhaseFinished, PhaseStarted
from engine.training.noise_sets import Purpose, unit_noise

_REPEATS = 3
_TRAINING_FORWARDS = 3.0  # a training step is a forward and a backward of twice its work
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


def _planned(run: RunContext, forward: float, decode: float) -> PlannedTime:
    config, training = run.config, run.config.training
    select, final = config.quality.counts(is_latent=run.is_latent)
    single = forward / (run.base_model.evaluations / run.base_model.steps)  # a student's forward
    steps, first = run.base_model.steps, config.planned_steps()[0]
    step = _TRAINING_FORWARDS * single * training.batch_size
    pilots = config.schedule.pilot_candidates * config.schedule.pilot_iterations
    return PlannedTime(
        trajectories=training.trajectories * steps * forward,
        teacher_samples=2 * (select + final) * (steps * forward + decode),
        ranking=_CANDIDATES * select * config.target_steps * forward + pilots * step,
        training=training.iterations[0] * step,
        looks=(select + final) * (first * single + decode),
    )
