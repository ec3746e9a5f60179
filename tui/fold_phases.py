"""Phases in the fold: each one's place, how far it is, what stands still at an end. Pure."""

from __future__ import annotations

from engine.run.events import (
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
)
from engine.run.fact import changed
from tui.state import Phase, RunView, StageView, TryView, kept

_RUN_PHASES = ("probe", "load", "plan", "export")
_STAGE_PHASES = ("cache", "train", "gate")


def begun(view: RunView, event: PhaseStarted, time: float) -> RunView:
    """Return the view with a phase begun, or begun again."""
    phase = Phase(event.phase, event.stage, time, total=event.total, unit=event.unit, told=time)
    known = _find(view, event.phase, event.stage)
    if event.phase == "evaluate" and known is not None and known.state == "running":
        # the last look takes samples of its own first, and says so by the same name
        phase = changed(phase, started=known.started, depth=known.depth + 1)
    return _put(view, phase, is_new=True)


def progressed(
    view: RunView, event: PhaseProgressed, time: float, *, may_begin: bool = True
) -> RunView:
    """Return the view with a phase's progress; one that was not known begins unless told not to.

    One that was left before its end then stays so, and is as far as it came.
    """

    def moved(phase: Phase) -> Phase:
        return changed(
            phase,
            done=event.done,
            total=event.total if event.total is not None else phase.total,
            eta_seconds=event.eta_seconds if phase.state == "running" else None,
            told=time,
        )

    phase = _find(view, event.phase, event.stage)
    if phase is not None and phase.state == "running":
        return _put(view, moved(phase))
    if not may_begin:
        if phase is not None and phase.state == "stopped":
            return _put(view, moved(phase))
        return view
    return _put(view, moved(Phase(event.phase, event.stage, time, told=time)), is_new=True)


def finished(view: RunView, event: PhaseFinished, time: float) -> RunView:
    """Return the view with a phase done."""
    phase = _find(view, event.phase, event.stage)
    is_new = phase is None
    if phase is None:
        phase = Phase(event.phase, event.stage, time - max(0.0, event.seconds))
    elif phase.depth > 0:
        return _put(view, changed(phase, depth=phase.depth - 1, eta_seconds=None, told=time))
    ended = changed(
        phase,
        state="done",
        seconds=event.seconds,
        done=phase.total or phase.done,
        eta_seconds=None,
        told=time,
        summary=event.summary,
    )
    return _put(view, ended, is_new=is_new)


def _place(view: RunView, name: str, stage: int | None) -> str:
    """Return where a phase has its line: a field of RunView, or "stage", "inner", "others"."""
    if name in _RUN_PHASES:
        return name
    if name in _STAGE_PHASES and stage is not None:
        return "stage"
    if name == "evaluate":
        current = view.current_stage
        if current and current.current and current.current.gate:
            gate = current.current.gate
            if gate.state == "running" and current.state == "running":
                return "inner"
        return "evaluate" if any(one.has_begun for one in view.stages) else "original"
    return "others"


def _find(view: RunView, name: str, stage: int | None) -> Phase | None:
    place = _place(view, name, stage)
    if place == "others":
        return next((p for p in view.others if (p.name, p.stage) == (name, stage)), None)
    if place in ("stage", "inner"):
        owner = view.stage(stage) if place == "stage" else view.current_stage
        if owner is None:
            return None
        if name == "cache":
            return owner.cache
        one = owner.current
        if one is None:
            return None
        return one.inner if place == "inner" else one.train if name == "train" else one.gate
    return getattr(view, place)


def _put(view: RunView, phase: Phase, *, is_new: bool = False) -> RunView:
    place = _place(view, phase.name, phase.stage)
    if place == "others":
        rest = [p for p in view.others if (p.name, p.stage) != (phase.name, phase.stage)]
        return changed(view, others=kept(tuple(rest), phase))
    if place not in ("stage", "inner"):
        return changed(view, **{place: phase})
    owner = view.stage(phase.stage) if place == "stage" else view.current_stage
    if owner is None:
        owner = StageView(phase.stage or 0)
    if phase.name == "cache":
        if owner.input_steps is not None:  # the first stage's comes before anything is planned
            owner = _running(owner, phase)
        return view.with_stage(changed(owner, cache=phase))
    one = owner.current or TryView(1, started=phase.started)
    if place == "inner":
        one = changed(one, inner=phase)
    elif phase.name == "train":
        one = changed(one, train=phase)
    else:
        one = changed(one, gate=phase, inner=None if is_new else one.inner)
    return view.with_stage(_running(owner, phase).with_try(one))


def _running(stage: StageView, phase: Phase) -> StageView:
    if phase.state != "running" or stage.state not in ("waiting", "skipped"):
        return stage
    return changed(stage, state="running", started=phase.started)


def at_rest(view: RunView, end: str) -> RunView:
    """Let everything that runs stand still, for its engine has ended."""

    def rested(phase: Phase | None) -> Phase | None:
        if phase is None or phase.state != "running":
            return phase
        return changed(phase, state="done" if end == "done" else "stopped", eta_seconds=None)

    def rested_try(one: TryView) -> TryView:
        state = "stopped" if one.state == "running" else one.state
        return changed(
            one,
            state=state,
            train=rested(one.train),
            gate=rested(one.gate),
            inner=rested(one.inner),
        )

    is_final = end in ("done", "failed", "cancelled")
    stages = []
    for stage in view.stages:
        state = stage.state
        if is_final:
            state = {"waiting": "skipped", "running": "stopped"}.get(state, state)
        stages.append(
            changed(
                stage,
                state=state,
                cache=rested(stage.cache),
                tries=tuple(map(rested_try, stage.tries)),
            )
        )
    return changed(
        view,
        **{
            name: rested(getattr(view, name))
            for name in ("probe", "load", "original", "plan", "evaluate", "export")
        },
        others=tuple(one for one in map(rested, view.others) if one is not None),
        stages=tuple(stages),
    )
