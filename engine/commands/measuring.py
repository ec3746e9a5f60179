"""`diffopt schedule`, `diffopt evaluate` and `diffopt doctor`.

What a model reaches, and what this machine is.
"""

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.commands.measured import measured_run
from engine.commands.output import say, say_json, table
from engine.conditioning import picture_size
from engine.context import RunContext
from engine.errors import ConfigError
from engine.files import expanded
from engine.models.loading import LoadedModel, load_model
from engine.training.adaptive import AdaptiveScheduler, Ranked
from engine.training.classifier import (
    BUNDLED,
    CLASSIFIER_CLASSES,
    CLASSIFIER_SHAPE,
    DigitClassifier,
    label_accuracy,
    load_classifier,
)


def schedule(options: argparse.Namespace) -> int:
    """Print what each step count reaches with no training at all.

    The best ways found, and uniform DDIM beside them.
    """
    loaded = load_model(options.model, steps=options.original_steps)
    _refuse_distilled(loaded, options.model)
    wrong = [steps for steps in options.steps if not 1 <= steps < options.original_steps]
    if wrong:
        raise ConfigError(
            f"--steps is {wrong[0]}; choose 1 to {options.original_steps - 1}, fewer than "
            f"--original-steps."
        )
    counts = {} if options.samples is None else {"select_samples": options.samples}
    with measured_run(loaded, options, **counts) as run:
        scheduler = AdaptiveScheduler(
            run.base_model,
            scheduler=loaded.settings,
            quality=run.config.quality,
            conditions=run.conditions,
            batch_size=run.hardware.evaluation_batch_size,
        )
        scheduler.share(evaluator=run.select)
        found: dict[int, list[Ranked]] = {
            steps: scheduler.rank(scheduler.propose(steps)) for steps in options.steps
        }
        facts = _facts(run)
        samples = len(run.select.noise_set.noise)
    if options.json:
        content = {str(steps): [one.to_dict() for one in ranked] for steps, ranked in found.items()}
        say_json(
            {
                "model": str(options.model),
                "original_steps": options.original_steps,
                **facts,
                "steps": content,
            }
        )
        return 0
    rows = []
    for steps, ranked in found.items():
        uniform = [
            r
            for r in ranked
            if r.candidate.solver == "ddim" and r.candidate.grid.name == "trailing"
        ]
        chosen = ranked[: options.top] + [r for r in uniform if r not in ranked[: options.top]]
        for one in chosen:
            quality, grid = one.quality, one.candidate.grid
            rows.append(
                (
                    str(steps),
                    one.candidate.solver,
                    grid.name,
                    f"{quality.score:.4f}",
                    f"{quality.lower_bound:.4f}",
                    " ".join(f"{t:.4g}" for t in grid.timesteps),
                )
            )
    say(
        f"{options.model}: what {options.original_steps} steps become without "
        f"training ({_in_words(facts, samples)})"
    )
    say()
    say(table(("steps", "solver", "grid", "score", "lower bound", "timesteps"), rows))
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Print the quality of one model against another from the same noise.

    Exit 3 if a given threshold is missed.
    """
    adapters = None if options.lora is None else expanded(options.lora)
    student = load_model(options.model, steps=options.steps or 50, adapters=adapters)
    if student.is_distilled and options.steps not in (None, student.model.steps):
        raise ConfigError(
            f"--steps {options.steps}: {options.model} is a distilled student of "
            f"{student.model.steps} steps; leave it out."
        )
    teacher = load_model(options.against, steps=options.original_steps)
    _refuse_distilled(teacher, options.against)
    _refuse_other_kind(student, teacher, options)
    classifier = _classifier(options.classifier, teacher)
    counts = {} if options.samples is None else {"samples": options.samples}
    with measured_run(teacher, options, **counts) as run:
        model = student.model.with_sample_shape(run.base_model.sample_shape)
        if not student.is_distilled:  # a distilled student has learnt its guidance
            model = model.guided(run.base_model.guidance)
        final = run.final
        samples = final.samples_of(model)
        quality = final.quality_of_samples(samples)
        anchors = {"blurred": final.blurred_anchor(), "another seed": final.other_seed_anchor()}
        facts = _facts(run)
    content: dict[str, Any] = {
        "model": str(options.model),
        "against": str(options.against),
        "steps": model.steps,
        "original_steps": run.base_model.steps,
        "evaluations": {"original": run.base_model.evaluations, "model": model.evaluations},
        **facts,
        **quality.to_dict(),
        "anchors": {name: anchor.to_dict() for name, anchor in anchors.items()},
        "noise_sha256": final.noise_set.sha256,
        "label_accuracy": None,
    }
    labels = final.noise_set.conditions.labels
    if classifier is not None and labels is not None:
        content["label_accuracy"] = {
            "original": label_accuracy(classifier, final.teacher_samples, labels),
            "model": label_accuracy(classifier, samples, labels),
        }
    is_missed = options.threshold is not None and quality.lower_bound < options.threshold
    if options.json:
        say_json(content)
        return 3 if is_missed else 0
    rows = [
        (
            name,
            f"{q.fidelity.value:.4f}",
            f"{q.distribution.value:.4f}" if q.distribution else "-",
            f"{q.band_energy.value:.4f}",
            f"{q.score:.4f}",
            f"{q.lower_bound:.4f}",
        )
        for name, q in {f"{model.steps} steps": quality, **anchors}.items()
    ]
    say(
        f"{options.model} against {options.against} ({run.base_model.steps} steps), "
        f"{_in_words(facts, quality.samples)}"
    )
    say()
    say(table(("", "P", "D", "B", "score", "lower bound"), rows))
    if content["label_accuracy"]:
        say(
            "label accuracy: "
            + ", ".join(f"{k} {v:.3f}" for k, v in content["label_accuracy"].items())
        )
    return 3 if is_missed else 0


def _classifier(name: str | None, teacher: LoadedModel) -> DigitClassifier | None:
    """Return what reads labels off samples; refused before there is any work to lose."""
    if name is None:
        return None
    if name != BUNDLED:
        raise ConfigError(f"--classifier is {name!r}; wanted {BUNDLED}, or leave it out.")
    model = teacher.model
    if (model.sample_shape, model.class_count) != (CLASSIFIER_SHAPE, CLASSIFIER_CLASSES):
        raise ConfigError(
            f"--classifier {name}: it reads {CLASSIFIER_CLASSES} classes off samples of (H, W, C) "
            f"= {CLASSIFIER_SHAPE}; this model makes {model.sample_shape} with "
            f"{model.class_count or 'no'} classes. Leave it out."
        )
    return load_classifier(name)


def _facts(run: RunContext) -> dict[str, Any]:
    """Return under what a model of prompts was measured; nothing for one of pixels."""
    if run.pipeline is None:
        return {}
    guidance, data = run.base_model.guidance, run.config.data
    return {
        "prompts": data.prompts,
        "guidance": {
            "scale": guidance.scale if guidance else 1.0,
            "rescale": guidance.rescale if guidance else 0.0,
            "negative_prompt": run.config.guidance.negative_prompt,
        },
        "size": list(picture_size(run.original, run.pipeline)),
        "modes": {"select": run.spaces[0].mode, "final": run.spaces[1].mode},
    }


def _in_words(facts: dict[str, Any], samples: int) -> str:
    if not facts:
        return f"{samples} samples"
    height, width = facts["size"]
    scale = facts["guidance"]["scale"]
    led = f"guidance {scale:g}" if scale > 1 else "no guidance"
    return f"{samples} samples of {height}x{width}, {facts['prompts']}, {led}"


def _refuse_other_kind(
    student: LoadedModel, teacher: LoadedModel, options: argparse.Namespace
) -> None:
    """Refuse models that do not read and make the same."""
    families = [one.checkpoint.family for one in (student, teacher)]
    if families[0] != families[1]:
        raise ConfigError(
            f"{options.model} and {options.against} are of different kinds ({families[0]}, "
            f"{families[1]}); wanted a student and its original."
        )
    for name in ("sample_shape", "class_count"):
        ours, theirs = getattr(student.model, name), getattr(teacher.model, name)
        if ours != theirs:
            raise ConfigError(
                f"{options.model} has {name} {ours} but {options.against} "
                f"has {theirs}; wanted the same."
            )
    for key in ("cross_attention_dim", "projection_class_embeddings_input_dim"):
        ours, theirs = (one.checkpoint.network_config.get(key) for one in (student, teacher))
        if ours != theirs:
            raise ConfigError(
                f"{options.model} has {key} {ours} but {options.against} has {theirs}; wanted the "
                "same, for both read the prompts of the second."
            )


def doctor(options: argparse.Namespace) -> int:
    """Print what this machine is and whether MLX is at its best on it."""
    from engine import hardware

    machine = hardware.describe_machine()
    speed = hardware.measure_blas()
    runs_dir = next(
        folder
        for folder in (options.runs_dir, *options.runs_dir.absolute().parents)
        if folder.exists()
    )
    disk = shutil.disk_usage(runs_dir)
    content = asdict(machine) | {
        "blas_gflops": speed.mlx_gflops,
        "numpy_gflops": speed.numpy_gflops,
        "is_blas_effective": speed.is_effective,
        "runs_dir": str(options.runs_dir),
        "free_disk_bytes": disk.free,
    }
    if options.json:
        say_json(content)
        return 0
    gib = 2**30
    say(f"machine   {machine.chip}, {machine.cores} cores, {machine.platform}")
    say(
        f"memory    {machine.available_memory_bytes / gib:.1f} of "
        f"{machine.memory_bytes / gib:.1f} GiB available"
    )
    say(f"MLX       {machine.mlx_version} on {machine.backend} ({machine.device_name})")
    if machine.recommended_working_set_bytes:
        say(
            f"          works well with up to {machine.recommended_working_set_bytes / gib:.1f} GiB"
        )
    if machine.can_compile:
        say("compiling yes")
    else:
        say("compiling no: steps run eagerly, which is slower; a C++ compiler (g++) mends that")
    say(f"BLAS      {machine.blas.name}: {machine.blas.reason}")
    verdict = "good" if speed.is_effective else "SLOW: see BLAS above"
    say(
        f"          {speed.mlx_gflops:.0f} GFLOP/s in MLX, "
        f"{speed.numpy_gflops:.0f} in NumPy: {verdict}"
    )
    say(f"disk      {disk.free / gib:.1f} GiB free for runs in {options.runs_dir}")
    return 0


def _refuse_distilled(loaded: LoadedModel, name: str | Path) -> None:
    if loaded.is_distilled:
        raise ConfigError(
            f"{name} is a distilled student of {loaded.model.steps} steps; wanted the "
            "original model to compare with."
        )
