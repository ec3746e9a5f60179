"""One stage with all its tries: train, look, judge; then accept, climb the ladder, or give up."""

from dataclasses import dataclass
from functools import partial
from time import monotonic

import mlx.core as mx

from engine.context import Paths, RunContext
from engine.diffusion.grid import Grid
from engine.interruptions import CancelStage
from engine.memory import Record
from engine.models.diffusion import DiffusionModel
from engine.planning import stage_grids
from engine.records import StageReport
from engine.run.events import (
    StageAccepted,
    StageRejected,
    StageStarted,
)
from engine.training.distill import ProgressiveDistillation
from engine.training.gate import Verdict, judge, rungs, smaller_reduction
from engine.training.trainer import put_parameters
from engine.tries import Try, forget_unfinished, train_try


@dataclass(frozen=True)
class StageOutcome:
    """A student that passed, or the step count at which to cut the reduction in two, or neither."""

    student: DiffusionModel | None = None
    split_at: int | None = None
    reason: str = ""  # why there is neither, where it was not the gate


def run_stage(
    run: RunContext,
    distillation: ProgressiveDistillation,
    *,
    number: int,
    teacher: DiffusionModel,
    output_steps: int,
    final_grid: Grid | None,
    paths: Paths,
    may_split: bool,
) -> StageOutcome:
    """Return what came of stage `number`, from `teacher` to `output_steps`.

    Every try is recorded in `run.reports`.
    """
    grids = stage_grids(
        run, teacher, number=number, output_steps=output_steps, final_grid=final_grid, paths=paths
    )
    ladder = rungs(
        run.config.training.retries,
        input_steps=teacher.steps,
        output_steps=output_steps,
        has_other_grid=len(grids) > 1,
    )
    for attempt, remedy in enumerate(ladder, start=1):
        if remedy.is_smaller_reduction:
            return StageOutcome(
                split_at=smaller_reduction(teacher.steps, output_steps) if may_split else None
            )
        plan = Try(
            stage=number,
            attempt=attempt,
            remedy=remedy,
            teacher=teacher,
            grid=grids[1] if remedy.takes_next_grid else grids[0],
            iterations=round(distillation.iterations_of(number) * remedy.iterations_factor),
            learning_rate=run.config.training.learning_rate * remedy.learning_rate_factor,
            next_remedy=ladder[attempt].name if attempt < len(ladder) else None,
        )
        try:
            student = _made(run, distillation, plan, paths)
        except CancelStage as cancellation:
            cancellation.during = {
                "attempt": attempt,
                "remedy": remedy.name,
                "grid_name": plan.grid.name,
                "iterations": plan.iterations,
                "learning_rate": plan.learning_rate,
            }
            raise
        if student is not None:
            return StageOutcome(student=student)
    return StageOutcome()


def _made(
    run: RunContext, distillation: ProgressiveDistillation, plan: Try, paths: Paths
) -> DiffusionModel | None:
    """Train and judge one try, or recall what came of it; return the student if it passed."""
    student, started = distillation.student_of(plan.teacher, plan.grid), monotonic()
    verdict_name = f"{plan.record_name}-verdict"
    trained, judged = run.recall(plan.record_name), run.recall(verdict_name)
    if plan.attempt == 1 and trained is None:
        run.hooks.emit(
            StageStarted(
                stage=plan.stage, input_steps=plan.teacher.steps, output_steps=plan.grid.steps
            )
        )
    if trained is None or not (trained.tensors or judged or trained.facts.get("diverged")):
        trained = train_try(run, distillation, plan, student, paths())
        run.keep(plan.record_name, trained, stage=plan.stage)
    # Not before the finished weights are kept: a kill in between would cost the whole try.
    forget_unfinished(run, plan)
    if trained.tensors:
        put_parameters(student.network, {k: mx.array(v) for k, v in trained.tensors.items()})
    run.losses[plan.title] = [(step, loss) for step, loss in trained.facts["losses"]]
    run.step += plan.iterations

    if judged is None:
        diverged = trained.facts.get("diverged")
        judge_it = partial(_diverged, reason=diverged) if diverged else partial(_judged, student)
        judged = Record(facts={"report": judge_it(run, plan, started).to_dict()})
        run.keep(verdict_name, judged, stage=plan.stage)
    report = StageReport.from_dict(judged.facts["report"])
    run.reports.append(report)
    if report.is_accepted:
        return student
    if trained.tensors:  # nobody samples a rejected student again; only its losses are told
        run.keep(plan.record_name, Record(facts=trained.facts), stage=plan.stage)
    return None


def _judged(student: DiffusionModel, run: RunContext, plan: Try, started: float) -> StageReport:
    """Look at one trained try, say what the gate says, and return the report."""
    with run.phase("gate", stage=plan.stage) as progress:
        verdict = judge(
            student, run.select, lambda: run.final, run.config.quality_threshold, progress
        )
    for name, quality in (("select", verdict.select), ("final", verdict.final)):
        if quality is not None:
            run.evaluated(
                "student",
                quality,
                name,
                steps=plan.grid.steps,
                stage=plan.stage,
                attempt=plan.attempt,
            )
    quality = verdict.final or verdict.select
    if verdict.is_accepted:
        run.hooks.emit(
            StageAccepted(
                stage=plan.stage,
                attempt=plan.attempt,
                score=quality.score,
                lower_bound=quality.lower_bound,
                threshold=run.config.quality_threshold,
                checkpoint=f"checkpoints/{plan.record_name}.safetensors"
                if run.hooks.folder
                else None,
            )
        )
    else:
        run.hooks.emit(
            StageRejected(
                stage=plan.stage,
                attempt=plan.attempt,
                reason=verdict.reason,
                score=quality.score,
                lower_bound=quality.lower_bound,
                next_remedy=plan.next_remedy,
            )
        )
    return _report(run, plan, started, verdict=verdict)


def _diverged(run: RunContext, plan: Try, started: float, *, reason: str) -> StageReport:
    """Reject a try whose loss exploded at every learning rate: there is nothing to look at."""
    run.hooks.emit(
        StageRejected(
            stage=plan.stage, attempt=plan.attempt, reason=reason, next_remedy=plan.next_remedy
        )
    )
    return _report(run, plan, started, reason=reason)


def _report(
    run: RunContext, plan: Try, started: float, *, verdict: Verdict | None = None, reason: str = ""
) -> StageReport:
    losses = run.losses[plan.title]
    return StageReport(
        stage_number=plan.stage,
        attempt=plan.attempt,
        remedy=plan.remedy.name,
        input_steps=plan.teacher.steps,
        output_steps=plan.grid.steps,
        timesteps=plan.grid.timesteps,
        grid_name=plan.grid.name,
        iterations=plan.iterations,
        learning_rate=plan.learning_rate,
        final_loss=losses[-1][1] if losses else None,
        select_quality=verdict.select if verdict else None,
        final_quality=verdict.final if verdict else None,
        is_accepted=verdict.is_accepted if verdict else False,
        seconds=monotonic() - started,
        reason=verdict.reason if verdict else reason,
    )
