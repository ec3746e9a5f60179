"""The student that a run ended with, or has reached so far, made again from the run's folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.config import DiffusionOptimizationConfig, load_config
from engine.errors import ConfigError, RunError
from engine.memory import Memory, Record
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model
from engine.records import StageReport
from engine.run import RunFolder
from engine.training.trainer import put_parameters


@dataclass(frozen=True)
class RunStudent:
    """A run's last accepted student, with what an export tells of it."""

    student: DiffusionModel
    original: LoadedModel
    config: DiffusionOptimizationConfig
    facts: dict[str, Any]


def student_of_run(folder: RunFolder) -> RunStudent:
    """Return the last student that passed the run's gate.

    Raises:
        RunError: none has passed yet, or its weights are not there any more.
        ConfigError: the run's settings cannot be read, or are not those it was trained with.
    """
    config = load_config(folder.config_path)
    name, report, trained = _last_accepted(folder)
    original = load_model(
        config.model_path,
        steps=config.original.steps,
        spacing=config.original.spacing,
        solver=config.original.sampler,
    )
    precision = config.hardware.base_precision if config.apple_silicon_optimization else "float32"
    # as it was when the gate accepted it
    original.model.narrow(precision)
    grid = original.model.grid
    places = {t: i for i, t in enumerate(grid.timesteps)}
    if lost := [t for t in report.timesteps if t not in places]:
        raise ConfigError(
            f"{folder.config_path}: the student was trained at timestep {lost[0]}, which is not "
            f"among those of original.steps {config.original.steps} with original.spacing "
            f"{config.original.spacing or 'null'}; set both, and model_path, to what the run began "
            "with."
        )
    chosen = grid.subset([places[t] for t in report.timesteps], report.grid_name)
    kind = config.training.student_prediction
    student = original.model.student(
        chosen,
        None if kind == "same" else kind,
        lora=config.lora if config.lora.enabled else None,
    )
    try:
        put_parameters(student.network, {k: mx.array(v) for k, v in trained.tensors.items()})
    except KeyError as error:
        raise RunError(
            f"{folder.name}: the record {name} lacks {error}; it is of another model."
        ) from error
    quality = report.final_quality or report.select_quality
    facts: dict[str, Any] = {
        "name": folder.name,
        "base_model": config.model_path,
        "original_steps": original.model.steps,
        "threshold": config.quality_threshold,
    }
    if quality is not None:
        facts |= {"quality_score": quality.score, "quality_lower_bound": quality.lower_bound}
    return RunStudent(student, original, config, facts | _facts_of_export(folder.export_path))


def _last_accepted(folder: RunFolder) -> tuple[str, StageReport, Record]:
    memory = Memory(folder.checkpoints_path)
    accepted: list[tuple[StageReport, str]] = []
    for name in memory.names():
        if name.endswith("-verdict"):
            record = memory.recall(name)
            report = StageReport.from_dict(record.facts["report"]) if record else None
            if report is not None and report.is_accepted:
                accepted.append((report, name.removesuffix("-verdict")))
    if not accepted:
        raise RunError(
            f"{folder.name}: no student has passed the gate yet; there is nothing to export."
        )
    report, name = min(accepted, key=lambda entry: entry[0].output_steps)
    trained = memory.recall(name)
    if trained is None or not trained.tensors:
        raise RunError(
            f"{folder.name}: the weights of the {report.output_steps}-step student are not in "
            f"{folder.checkpoints_path} any more."
        )
    return name, report, trained


def _facts_of_export(export: Path) -> dict[str, Any]:
    """Return what only the end of a run knew, from the manifest of its own export."""
    try:
        manifest = json.loads((export / "diffopt_manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = ("guidance", "quality_mode", "quality_score", "quality_lower_bound")
    return {key: manifest[key] for key in known if manifest.get(key) is not None}
