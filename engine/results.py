"""The end of a run: anchors, cost, metrics, export and report, gathered into one result."""

import logging
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from engine import hardware
from engine.conditioning import surroundings
from engine.context import RunContext
from engine.export import CertifyError, certify, export_student
from engine.files import write_json
from engine.models.diffusion import DiffusionModel
from engine.records import OptimizationMetrics, Quality
from engine.report import write_report
from engine.run.events import Exported
from engine.training.adaptive import Ranked
from engine.training.classifier import label_accuracy, load_classifier
from engine.training.evaluate import Cost, measure_cost
from engine.tries import save_comparison

logger = logging.getLogger(__name__)

EXIT_REACHED, EXIT_MISSED = 0, 3


def assemble_result(
    run: RunContext, student: DiffusionModel, training_free: Sequence[Ranked]
) -> dict[str, Any]:
    """Return the whole result: the accepted `student` measured, its files written.

    What is written, and where, follows from the hooks' folder. `student` is the original model
    itself if no stage passed; then nothing is exported.
    """
    config, is_student = run.config, student is not run.base_model
    with run.phase("evaluate"):
        quality = (
            _reported_quality(run, student)
            if is_student
            else run.final.quality_of_samples(run.final.teacher_samples)
        )
        anchors = _anchors(run, student, quality, training_free)
        accuracy = _label_accuracy(run, student)
        cost = measure_cost(
            run.base_model,
            student,
            run.final.noise_set,
            # no more than the memory plan lets be sampled at one time
            batch_size=min(config.export.timing_batch_size, run.hardware.evaluation_batch_size),
            repeats=config.export.timing_repeats,
            on_repeat=lambda done, total: run.hooks.between_steps(None),
            **surroundings(run),
        )
    metrics = _metrics(run, student, quality, cost)
    is_reached = (
        student.steps == config.target_steps and quality.lower_bound >= config.quality_threshold
    )
    naive = next((a["quality"]["score"] for a in anchors if a["label"] == BEST_UNTRAINED), None)
    result: dict[str, Any] = {
        "name": run.name,
        "summary": _summary(run, student, quality, is_reached),
        "is_target_reached": is_reached,
        "exit_code": EXIT_REACHED if is_reached else EXIT_MISSED,
        "threshold": config.quality_threshold,
        "metrics": metrics.to_dict(),
        "quality": quality.to_dict(),
        "timesteps": list(student.grid.timesteps),
        "grid": student.grid.name,
        "anchors": anchors,
        "gap_closed": None
        if naive is None or naive >= 1
        else (quality.score - naive) / (1 - naive),
        "label_accuracy": accuracy,
        "stages": [report.to_dict() for report in run.reports],
        "cancelled": run.cancelled_tries,
        "frontier": _frontier(run),
        "training_free": [r.to_dict() | {"steps": r.candidate.grid.steps} for r in training_free],
        "modes": {"select": run.spaces[0].mode, "final": run.spaces[1].mode},
        "guidance": _guidance(run),
        "images": run.images,
        "final_looks": run.looks["final"],
        "select_looks": run.looks["select"],
        "noise_sha256": {
            "final": run.final.noise_set.sha256,
            "select": run.select.noise_set.sha256,
        },
        "seconds": monotonic() - run.started,
        "machine": hardware.describe_machine().summary,
        "samples": None,
        "export": None,
    }
    if run.hooks.folder is not None:
        _write(run, student, result, is_student=is_student)
    return result


BEST_UNTRAINED = "best without training"


def _reported_quality(run: RunContext, student: DiffusionModel) -> Quality:
    """Return the final-noise quality with which the gate accepted `student`.

    It is not looked at again.
    """
    accepted = [r for r in run.reports if r.is_accepted and r.output_steps == student.steps]
    assert accepted, "a student that was never accepted is not reported"
    assert accepted[-1].final_quality is not None
    return accepted[-1].final_quality


def _anchors(
    run: RunContext, student: DiffusionModel, quality: Quality, training_free: Sequence[Ranked]
) -> list[dict[str, Any]]:
    """Return what other samplers score, so that a number means something on this model."""
    base, final, select = run.base_model, run.final, run.select
    anchors: list[dict[str, Any]] = []

    def add(label: str, steps: int, measured: Quality, noise_set: str = "final") -> None:
        run.evaluated(label, measured, noise_set, steps=steps)
        anchors.append(
            {"label": label, "steps": steps, "quality": measured.to_dict(), "noise_set": noise_set}
        )

    if student is not base:
        add("distilled student", student.steps, quality)
    precision = run.hardware.base_precision
    again = "run again" if precision == "float32" else f"held in {precision}"
    add(f"original, {again}", base.steps, select.quality_of(base), "select")
    scheduler, sampler = run.original.settings, run.config.original
    twice = min(2 * base.steps, base.schedule.count)
    doubled = scheduler.grid(twice, sampler.spacing, sampler.sampler)
    add("original at twice the steps", twice, select.quality_of(base, doubled), "select")
    steps = student.steps if student is not base else run.config.target_steps
    uniform = scheduler.grid(steps, None, "ddim")
    add("undistilled, uniform DDIM", steps, final.quality_of(base, uniform, "ddim"))
    if student is not base:
        add("undistilled, the student's grid", steps, final.quality_of(base, student.grid, "ddim"))
    if training_free and training_free[0].candidate.grid.steps == steps:
        best = training_free[0].candidate
        add(BEST_UNTRAINED, steps, final.quality_of(base, best.grid, best.solver))
        anchors[-1]["sampler"] = best.name
    add("original, blurred", base.steps, final.blurred_anchor())
    add("original, another seed", base.steps, final.other_seed_anchor())
    return anchors


def _label_accuracy(run: RunContext, student: DiffusionModel) -> dict[str, float] | None:
    labels = run.final.noise_set.conditions.labels
    if run.config.quality.classifier is None or labels is None:
        return None
    classifier = load_classifier(run.config.quality.classifier)
    samples = {"original": run.final.teacher_samples}
    if student is not run.base_model:
        samples["student"] = run.final.samples_of(student)
    return {name: label_accuracy(classifier, images, labels) for name, images in samples.items()}


def _metrics(
    run: RunContext, student: DiffusionModel, quality: Quality, cost: Cost
) -> OptimizationMetrics:
    base = run.base_model
    precision = run.hardware.base_precision
    held = "" if precision == "float32" else f"; both with their weights held in {precision}"
    timed = f"median of {cost.repeats} warm runs each, alternating, batch {cost.batch_size}"
    return OptimizationMetrics(
        original_steps=base.steps,
        optimized_steps=student.steps,
        quality_score=quality.score,
        quality_lower_bound=quality.lower_bound,
        inference_speedup=cost.speedup,
        evaluation_ratio=base.evaluations / student.evaluations,
        memory_reduction=cost.memory_reduction,
        measured={
            "original_steps": f"{base.solver} on {base.grid.name}, as configured",
            "optimized_steps": "the fewest steps of an accepted student"
            if student is not base
            else "no stage passed",
            "quality_score": (
                f"min(P, D, B) on {quality.samples} samples of the final noise, {_compared(run)}"
            ),
            "evaluation_ratio": f"{base.evaluations} against {student.evaluations}"
            + ("; guidance takes two for each step" if base.guidance else ""),
            "inference_speedup": (
                f"wall clock, {cost.original_seconds:.3f} s against "
                f"{cost.optimized_seconds:.3f} s; {timed}{held}"
            ),
            "memory_reduction": (
                f"peak of MLX while sampling, {cost.original_peak_bytes / 2**20:.1f} MiB against "
                f"{cost.optimized_peak_bytes / 2**20:.1f} MiB; fewer steps do not shrink a "
                f"network{held}"
            ),
        },
    )


def _compared(run: RunContext) -> str:
    if not run.is_latent:
        return "in pixels"
    return "in latents" if run.spaces[1].mode == "latents" else "in decoded pixels"


def _frontier(run: RunContext) -> list[dict[str, Any]]:
    """Return score against steps on the select noise.

    Each accepted student and, beside it, uniform DDIM.
    """
    points = []
    for report in run.reports:
        if not report.is_accepted or report.select_quality is None:
            continue
        steps = report.output_steps
        uniform = run.original.settings.grid(steps, None, "ddim")
        points.append({"kind": "student", "steps": steps, "score": report.select_quality.score})
        points.append(
            {
                "kind": "undistilled",
                "steps": steps,
                "score": run.select.quality_of(run.base_model, uniform, "ddim").score,
            }
        )
    return points


def _summary(run: RunContext, student: DiffusionModel, quality: Quality, is_reached: bool) -> str:
    base, config = run.base_model, run.config
    if student is base and run.cancelled:
        return (
            f"The way to {config.target_steps} steps was {run.cancelled} before a reduction passed "
            f"the gate: keep the original {base.steps} steps."
        )
    if student is base:
        return (
            f"No reduction passed the gate: at a threshold of {config.quality_threshold:g} keep "
            f"the original {base.steps} steps. The table of stages says how near the tries came."
        )
    score = f"quality score {quality.score:.4f} (lower bound {quality.lower_bound:.4f})"
    if is_reached:
        return (
            f"{base.steps} steps became {student.steps} at {score}; "
            f"the threshold of {config.quality_threshold:g} holds."
        )
    if run.cancelled:
        return (
            f"The way to {config.target_steps} steps was {run.cancelled}. The fewest that pass are "
            f"{student.steps}, at {score}."
        )
    return (
        f"{config.target_steps} steps missed the threshold of {config.quality_threshold:g}. The "
        f"fewest that pass are {student.steps}, at {score}."
    )


def _write(
    run: RunContext, student: DiffusionModel, result: dict[str, Any], *, is_student: bool
) -> None:
    folder = run.hooks.folder
    assert folder is not None
    with run.phase("export", unit="files") as progress:
        if is_student:
            progress(0, 3)  # whoever asked for something is heard between the files
            result["samples"] = "samples/comparison.png"
            save_comparison(run, student, result["samples"])
            progress(1, 3)
            if run.config.export.enabled:
                facts = {
                    "name": run.name,
                    "base_model": run.config.model_path,
                    "original_steps": run.base_model.steps,
                    "quality_score": result["metrics"]["quality_score"],
                    "quality_lower_bound": result["metrics"]["quality_lower_bound"],
                    "quality_mode": result["quality"]["mode"],
                    "threshold": run.config.quality_threshold,
                    "guidance": _guidance(run),
                    "images": run.images,
                }
                if run.hardware.base_precision != "float32":
                    facts["base_precision"] = run.hardware.base_precision
                what = run.config.export.format
                path = run.hooks.with_room(
                    lambda: export_student(student, run.original, folder / "export", facts, what)
                )
                result["export"] = "export"
                if run.config.export.certify:
                    result["certified"] = _certified(run, path)
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                run.hooks.emit(Exported(path="export", what=what, size_bytes=size))
        progress(2, 3)
        run.hooks.with_room(lambda: write_report(folder, result, run.losses))
        run.hooks.with_room(lambda: write_json(folder / "metrics.json", result))


def _certified(run: RunContext, path: Path) -> dict[str, Any] | str:
    """Return what the manifest says, or why it says "not certified"; a run does not fail by it."""
    try:
        return certify(path, run.original.checkpoint.path)
    except CertifyError as error:
        logger.warning("%s", error)
        return str(error)


def _guidance(run: RunContext) -> dict[str, Any] | None:
    """Return the guidance of the original that the student has learnt, in diffusers' convention."""
    guidance = run.base_model.guidance
    if guidance is None:
        return None
    return {
        "scale": guidance.scale,
        "rescale": guidance.rescale,
        "negative_prompt": run.config.guidance.negative_prompt,
        "convention": "u + scale (c - u)",
    }
