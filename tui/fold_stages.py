"""Stages in the fold: the plan, tries, verdicts, scores, and who asked for another try. Pure."""

from __future__ import annotations

from engine.run.events import (
    CommandAcknowledged,
    Evaluated,
    LossDiverged,
    PlannedStage,
    RunPlanned,
    StageAccepted,
    StageRejected,
    StageRolledBack,
    StageStarted,
    StageTrained,
    TryStarted,
)
from engine.run.fact import changed
from tui.fold_phases import at_rest
from tui.state import KEPT, Note, Phase, RunView, Score, StageView, TryView, kept, who


def planned(view: RunView, event: RunPlanned) -> RunView:
    """Return the view with the stages still to come; begun ones stay as they are."""
    known = {stage.stage: stage for stage in view.stages if stage.has_begun}
    caches = {stage.stage: stage.cache for stage in view.stages if stage.cache is not None}
    first = min((one.stage for one in event.stages), default=0)
    before = known.get(first - 1)
    if before is not None and before.state == "running":
        ended = before.current.started if before.current else before.started
        known[first - 1] = changed(before, state="split", ended=view.last_time or ended)
    for one in event.stages[:KEPT]:
        if one.stage not in known:
            known[one.stage] = _waiting(one, caches.get(one.stage))
    return changed(
        view,
        original_steps=event.original_steps,
        target_steps=event.target_steps,
        threshold=event.threshold,
        stages=tuple(known[number] for number in sorted(known)),
    )


def _waiting(one: PlannedStage, cache: Phase | None) -> StageView:
    return StageView(one.stage, one.input_steps, one.output_steps, cache=cache)


def in_stages(view: RunView, event: object, time: float) -> RunView:
    """Return the view after an event of one stage."""
    assert isinstance(
        event,
        StageStarted
        | TryStarted
        | StageTrained
        | StageAccepted
        | StageRejected
        | StageRolledBack
        | LossDiverged,
    )
    stage = view.stage(event.stage) or StageView(event.stage)
    match event:
        case StageStarted():
            stage = changed(
                stage,
                input_steps=event.input_steps,
                output_steps=event.output_steps,
                state="running",
                started=stage.started if stage.started is not None else time,
                ended=None,
                reason="",
            )
        case TryStarted():
            if not view.resumed_since_try:
                view = changed(view, last_checkpoint=None)
            stage = _tried(stage, event, time, is_taken_up=view.resumed_since_try)
            view = changed(view, resumed_since_try=False)
        case StageTrained():
            one = stage.try_of(event.attempt, time)
            stage = stage.with_try(changed(one, final_loss=event.final_loss))
        case LossDiverged():
            one = stage.try_of(event.attempt, time)
            text = f"diverged at step {event.step}: {event.remedy}"
            note = Note(time, "retried", text)
            stage = stage.with_try(changed(one, notes=kept(one.notes, note)))
        case StageAccepted() | StageRejected():
            view = changed(view, last_checkpoint=None)
            is_accepted = isinstance(event, StageAccepted)
            one = changed(
                stage.try_of(event.attempt, time),
                state="accepted" if is_accepted else "rejected",
                score=event.score,
                lower_bound=event.lower_bound,
                reason="" if isinstance(event, StageAccepted) else event.reason,
                next_remedy=None if isinstance(event, StageAccepted) else event.next_remedy,
            )
            stage = stage.with_try(one)
            if is_accepted:
                stage = changed(stage, state="accepted", ended=time)
        case StageRolledBack():
            stage = changed(stage, state="rolled back", ended=time, reason=event.reason)
            view = changed(view, last_checkpoint=None).with_stage(stage)
            left = tuple(
                changed(one, state="skipped") if one.state == "waiting" else one
                for one in view.stages
            )
            return at_rest(changed(view, stages=left), "stopped")
    return view.with_stage(stage)


def _tried(stage: StageView, event: TryStarted, time: float, *, is_taken_up: bool) -> StageView:
    known = next((one for one in stage.tries if one.attempt == event.attempt), None)
    if known is None:
        one = TryView(event.attempt, started=time)
        if is_taken_up and stage.tries:
            one = changed(one, notes=(Note(time, "retried", "taken up again"),))
    else:
        text = "taken up again" if is_taken_up else "begun again"
        one = changed(
            known,
            state="running",
            train=None if is_taken_up else _from_the_start(known.train),
            gate=None,
            inner=None,
            notes=kept(known.notes, Note(time, "retried", text)),
        )
    one = changed(
        one,
        remedy=event.remedy,
        iterations=event.iterations,
        learning_rate=event.learning_rate,
        grid_name=event.grid_name,
        timesteps=event.timesteps,
    )
    started = stage.started if stage.started is not None else time
    return changed(stage, state="running", started=started, ended=None).with_try(one)


def _try_of(stage: StageView, attempt: int, time: float) -> TryView:
    found = next((one for one in stage.tries if one.attempt == attempt), None)
    return found or TryView(attempt, started=time)


def _from_the_start(train: Phase | None) -> Phase | None:
    """Return the training of a try that a person began again: its phase goes on."""
    if train is None or train.state != "running":
        return None
    return changed(train, done=0, eta_seconds=None)


def evaluated(view: RunView, event: Evaluated, time: float) -> RunView:
    """Return the view with one more measurement."""
    view = changed(view, scores=kept(view.scores, Score(time, event)))
    if event.threshold is not None and view.threshold is None:
        view = changed(view, threshold=event.threshold)
    if event.stage is None or event.attempt is None:
        return view
    stage = view.stage(event.stage) or StageView(event.stage)
    one = stage.try_of(event.attempt, time)
    one = changed(one, final=event) if event.noise_set == "final" else changed(one, select=event)
    return view.with_stage(stage.with_try(one))


def answered(view: RunView, event: CommandAcknowledged, time: float) -> RunView:
    """Return the view with a command's answer; a retry's asker is named on its try."""
    view = changed(view, answers=kept(view.answers, (time, event)))
    if event.command != "retry-stage" or event.outcome != "done":
        return view
    # the answer stands behind the start that it led to, and knows who asked
    stage = view.current_stage
    one = stage.current if stage else None
    if stage is None or one is None or not one.notes or one.notes[-1].text != "begun again":
        return view
    note = changed(one.notes[-1], text=f"begun again by {who(event.issued_by)}")
    return view.with_stage(stage.with_try(changed(one, notes=(*one.notes[:-1], note))))
