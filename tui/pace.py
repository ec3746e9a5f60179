"""How far a run is and how long it still takes, from what it has told so far. Pure.

An estimate from the run's own pace: an optimiser step costs what the newest ones did, a sample what
the original's and the students' did. Before the first stage trains there is nothing to go by, and
None says so. What comes behind the last stage is counted too: `_after_the_stages`.
"""

from __future__ import annotations

import math

from tui.state import Phase, RunView, StageView, TryView

_EXPORT_SECONDS = 2.0  # plots, report and a small model's files: 1 to 3 s on two cores
_LEAST_SECONDS = 0.5  # of what is not over yet
# the final look's samples by the select look's, where settings leave both to diffopt
_FINAL_BY_SELECT = {256: 1000, 128: 128}
_TIMED = 32 * 6  # samples of original and student that the wall clock measures, with the warm-up
_WITHOUT_SAMPLING = ("distilled student", "original, blurred", "original, another seed")


def seconds_left(view: RunView) -> float | None:
    """Return how long the run still takes; None where nothing tells yet."""
    try:
        left = _seconds_left(view)
    except OverflowError:  # figures that no run has
        return None
    return left if left is not None and math.isfinite(left) and left >= 0 else None


def progress_of(view: RunView) -> float | None:
    """Return the share of the run's time that is over, in [0, 1]; 1 for a run that is done."""
    if view.state == "done":
        return 1.0
    if view.is_over:  # nothing is left, and nothing was reached
        return None
    left, spent = seconds_left(view), _seconds_spent(view)
    if left is None or spent is None or not 0 < spent + left < math.inf:
        return None
    return spent / (spent + left)


def _now(view: RunView) -> float | None:
    """Return when the run was heard of last: progress is told apart from the facts."""
    if view.last_time is None:
        return None
    active = view.active
    return max(view.last_time, active.told) if active is not None else view.last_time


def _seconds_spent(view: RunView) -> float | None:
    now = _now(view)
    if view.started is None or now is None:
        return None
    since = max(0.0, now - view.worked_until) if view.worked_until is not None else 0.0
    return view.worked_seconds + since


def _seconds_left(view: RunView) -> float | None:
    if view.is_over:
        return 0.0
    stage = view.current_stage
    if stage is None:
        return None
    pace = _Pace(view)
    left = 0.0
    for one in view.stages:
        if one.state == "waiting":
            left += _stage_left(one, None, pace)
        elif one.state == "running":
            left += _stage_left(one, one.current, pace)
    if math.isnan(left):  # a stage is to be trained, and no step was timed
        return None
    return max(_LEAST_SECONDS, left + _after_the_stages(view, pace))


def _stage_left(stage: StageView, one: TryView | None, pace: _Pace) -> float:
    """Return how long a stage still takes, nan where no step of any was timed."""
    steps = stage.output_steps or 0
    if one is None:
        return pace.cache_of(stage) + pace.step * pace.iterations + pace.look(steps)
    if one.gate is not None:
        return _gate_left(one, one.gate, steps, pace)
    if one.train is None:
        return pace.step * one.iterations + pace.look(steps)
    if one.train.state == "done":
        return pace.look(steps)
    done = one.train.done if one.train.total else 0
    left = one.train.eta_seconds
    if left is None:
        left = pace.step * max(0, one.iterations - done)
    return left + pace.look(steps)


def _gate_left(one: TryView, gate: Phase, steps: int, pace: _Pace) -> float:
    """Return how long a look still takes: what it was to take, and at least what it says itself."""
    if gate.state == "done":
        return 0.0
    inner = one.inner if one.inner is not None and one.inner.state == "running" else None
    told = (gate.eta_seconds or 0.0) + ((inner.eta_seconds or 0.0) if inner is not None else 0.0)
    if gate.state != "running" or pace.now is None:
        return max(told, pace.look(steps))
    has_original = one.inner is not None and one.inner.state == "done"
    expected = pace.look(steps) + ((one.inner.seconds or 0.0) if has_original and one.inner else 0)
    return max(told, expected - max(0.0, pace.now - gate.started))


def _after_the_stages(view: RunView, pace: _Pace) -> float:
    """Return how long the last evaluation, the clock's measurement, and the export take."""
    export, evaluate = view.export, view.evaluate
    if export is not None:
        if export.state == "done":
            return 0.0
        return export.eta_seconds or _EXPORT_SECONDS
    steps = _last_steps(view)
    anchors = pace.select * 3 * pace.original_steps + 3 * pace.final * steps
    timed = _TIMED * (pace.original_steps * pace.original + steps * pace.student)
    grids = sum(one.output_steps or 0 for one in view.stages if one.state in _STANDING)
    frontier = pace.select * grids * pace.original
    if evaluate is None:
        return anchors * pace.original + timed + frontier + _EXPORT_SECONDS
    if evaluate.state == "done":
        return frontier + _EXPORT_SECONDS
    since = [one for one in view.scores if one.time >= evaluate.started]
    told = [one.event for one in since if one.event.stage is None]
    sampled = sum(
        one.samples * one.steps for one in told if one.label not in _WITHOUT_SAMPLING
    )  # fmt: skip
    is_measured = any(one.label == _WITHOUT_SAMPLING[-1] for one in told)
    rest = 0.0 if is_measured else max(0.0, anchors - sampled) * pace.original
    return max(rest, evaluate.eta_seconds or 0.0) + timed + frontier + _EXPORT_SECONDS


_STANDING = ("waiting", "running", "accepted")


def _last_steps(view: RunView) -> int:
    """Return the sampling steps of the student that the run ends with, as far as it is known."""
    standing = [one.output_steps for one in view.stages if one.state in _STANDING]
    known = [steps for steps in standing if steps is not None]
    return known[-1] if known else view.target_steps or 0


class _Pace:
    """What an optimiser step and a sampling step of one sample take, in seconds."""

    def __init__(self, view: RunView) -> None:
        tries = [one for stage in view.stages for one in stage.tries]
        steps = [pace for one in tries if (pace := _seconds_per_step(one)) is not None]
        self.step = steps[-1] if steps else math.nan
        planned = [next((one.iterations for one in stage.tries), 0) for stage in view.stages]
        counts = [count for count in planned if count > 0] or [one.iterations for one in tries]
        self.iterations = counts[-1] if counts else 0
        self.now = _now(view)
        self.original_steps = view.original_steps or 0
        self.select, self.final = _sample_counts(view)
        inner = [one.inner for one in tries if one.inner is not None]
        self._has_finals = any(one.state == "done" for one in inner)
        sampled = [(view.original, self.select), *((one, self.final) for one in inner)]
        timed = [_timed(one, 2 * usual) for one, usual in sampled if one is not None]
        taken = _together([(seconds, count * self.original_steps) for seconds, count in timed])
        self.original = taken if taken is not None else 0.0
        self._looks = [look for one in tries if (look := _look_seconds(one)) is not None]
        looked = _together([_looked(one) for one in tries])
        self.student = looked if looked is not None else self.original
        caches = [(one, one.cache.seconds) for one in view.stages if one.cache is not None]
        self._caches = [(one, took) for one, took in caches if took is not None]

    def look(self, steps: int) -> float:
        """Return how long both looks at a student take, with the original's samples at first."""
        if not self.student:
            return sum(self._looks) / len(self._looks) if self._looks else 0.0
        original = 0.0 if self._has_finals else 2 * self.final * self.original_steps * self.original
        return original + (self.select + self.final) * steps * self.student

    def cache_of(self, stage: StageView) -> float:
        """Return how long a stage's trajectories take to keep, by those of the newest before."""
        if stage.cache is not None or not self._caches:
            return 0.0
        known, took = self._caches[-1]
        before = known.input_steps or self.original_steps
        return took * (stage.input_steps or 0) / before if before else took


def _sample_counts(view: RunView) -> tuple[int, int]:
    """Return the samples of the select and of the final look."""
    counts = {one.event.noise_set: one.event.samples for one in view.scores}
    inner = [one.inner for stage in view.stages for one in stage.tries if one.inner is not None]
    select = counts.get("select") or _half(view.original)
    final = counts.get("final") or max((_half(one) for one in inner), default=0)
    return select, final or _FINAL_BY_SELECT.get(select, 2 * select)


def _half(phase: Phase | None) -> int:
    """Return the samples behind a phase that takes each twice, to know the noise of a score."""
    return (phase.total or 0) // 2 if phase is not None else 0


def _look_seconds(one: TryView) -> float | None:
    """Return how long a student's samples took, without the original's, which are taken once."""
    if one.gate is None or one.gate.seconds is None:
        return None
    of_the_original = one.inner.seconds if one.inner is not None else None
    return max(0.0, one.gate.seconds - (of_the_original or 0.0))


def _looked(one: TryView) -> tuple[float, int]:
    """Return (seconds, sampling steps of one sample) of the looks at a student that was judged."""
    seconds = _look_seconds(one)
    looks = [look for look in (one.select, one.final) if look is not None]
    if seconds is None or one.state not in ("accepted", "rejected"):
        return 0.0, 0
    return seconds, sum(look.samples * look.steps for look in looks)


def _timed(phase: Phase, usual: int) -> tuple[float, int]:
    """Return (seconds, samples) of sampling the original so far.

    Of a phase that is over the facts alone, which a screen begins with, do not say how many: they
    were the `usual` ones.
    """
    if phase.state == "done" and phase.seconds is not None:
        return phase.seconds, phase.total or usual
    if phase.state == "running" and phase.done > 0 and phase.told > phase.started:
        return phase.told - phase.started, phase.done
    return 0.0, 0


def _together(timed: list[tuple[float, int]]) -> float | None:
    """Return the seconds a piece over all of it: a machine's pace wavers from one to the next."""
    pieces = sum(count for seconds, count in timed if count > 0)
    return sum(seconds for seconds, count in timed if count > 0) / pieces if pieces > 0 else None


def _seconds_per_step(one: TryView) -> float | None:
    train = one.train
    if train is None or one.iterations <= 0:
        return None
    if train.seconds is not None and train.state == "done":
        return train.seconds / one.iterations
    return _running_pace(train)


def _running_pace(phase: Phase) -> float | None:
    left = (phase.total or 0) - phase.done
    if phase.eta_seconds is not None and left > 0:
        return phase.eta_seconds / left
    if phase.state == "running" and phase.done > 0 and phase.told > phase.started:
        return (phase.told - phase.started) / phase.done
    return None
