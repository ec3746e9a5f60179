"""How far a run is and how long it still takes, from what it has told so far. Pure.

An estimate by time, from the run's own pace: what a stage took, the next ones will take. Before the
first stage trains there is nothing to go by, and None says so.
"""

from __future__ import annotations

import math

from tui.state import Phase, RunView, TryView


def seconds_left(view: RunView) -> float | None:
    """Return how long the run still takes; without its last evaluation until that is at work."""
    try:
        left = _seconds_left(view)
    except OverflowError:  # figures that no run has
        return None
    return left if left is not None and math.isfinite(left) and left >= 0 else None


def progress_of(view: RunView) -> float | None:
    """Return the share of the run's time that is over, in [0, 1]."""
    if view.state == "done":
        return 1.0
    if view.is_over:  # nothing is left, and nothing was reached
        return None
    left = seconds_left(view)
    if left is None or view.started is None or view.last_time is None:
        return None
    spent = max(0.0, view.last_time - view.started - view.paused_seconds)
    if not 0 < spent + left < math.inf:
        return None
    return spent / (spent + left)


def _seconds_left(view: RunView) -> float | None:
    if view.is_over:
        return 0.0
    stage, active = view.current_stage, view.active
    if stage is None:
        return None
    waiting = [one for one in view.stages if one.state == "waiting"]
    if stage.state != "running" and not waiting:
        return active.eta_seconds if active else None
    pace = _pace(view)
    if pace is None:
        return None
    rest = len(waiting) * _stage_cost(pace)
    if stage.state != "running":
        return rest
    current = stage.current
    return rest + (_stage_cost(pace) if current is None else _try_left(current, pace))


class _Pace:
    """Seconds an optimiser step, and a look at a student, take."""

    def __init__(self, step: float, look: float, iterations: int) -> None:
        self.step, self.look, self.iterations = step, look, iterations


def _pace(view: RunView) -> _Pace | None:
    tries = [one for stage in view.stages for one in stage.tries]
    steps = [pace for one in tries if (pace := _seconds_per_step(one)) is not None]
    if not steps:
        return None
    looks = [look for one in tries if (look := _look_seconds(one)) is not None]
    look = sum(looks) / len(looks) if looks else 0.0
    planned = [next((one.iterations for one in stage.tries), 0) for stage in view.stages]
    counts = [count for count in planned if count > 0] or [one.iterations for one in tries]
    return _Pace(steps[-1], look, counts[-1])


def _look_seconds(one: TryView) -> float | None:
    """Return how long a student's samples took, without the original's, which are taken once."""
    if one.gate is None or one.gate.seconds is None:
        return None
    of_the_original = one.inner.seconds if one.inner is not None else None
    return max(0.0, one.gate.seconds - (of_the_original or 0.0))


def _seconds_per_step(one: TryView) -> float | None:
    train = one.train
    if train is None or one.iterations <= 0:
        return None
    if train.seconds is not None and train.state == "done":
        return train.seconds / one.iterations
    return _running_pace(train)


def _running_pace(train: Phase) -> float | None:
    left = (train.total or 0) - train.done
    if train.eta_seconds is None or left <= 0:
        return None
    return train.eta_seconds / left


def _stage_cost(pace: _Pace) -> float:
    return pace.step * pace.iterations + pace.look


def _try_left(one: TryView, pace: _Pace) -> float:
    if one.gate is not None:
        inner = one.inner if one.inner is not None and one.inner.state == "running" else None
        return (one.gate.eta_seconds or 0.0) + ((inner.eta_seconds or 0.0) if inner else 0.0)
    if one.train is None:
        return pace.step * one.iterations + pace.look
    if one.train.state == "done":
        return pace.look
    done = one.train.done if one.train.total else 0
    left = one.train.eta_seconds
    return pace.look + (left if left is not None else pace.step * max(0, one.iterations - done))
