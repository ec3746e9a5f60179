"""What students of an epsilon model should predict, and under which loss weight.

The figures behind `training.student_prediction` (docs/latent.md). `python benchmarks/prediction.py
[STEPS]` distils the bundled tiny pipeline, guided by 7.5, from 50 steps to 4 on the uniform grid
with STEPS optimiser steps each way (the conversion takes half of them), and prints the score on
the select noise, in latents. About a quarter of an hour on two quiet cores.
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Literal

from engine.conditioning import as_configured, condition_sets, pipeline_of
from engine.config import load_config
from engine.context import RunContext
from engine.hooks import Hooks
from engine.memory import Memory
from engine.models.loading import load_model
from engine.settings import HardwareSettings, TrainingSettings
from engine.training.distill import ProgressiveDistillation, StageConfig, uniform_subset

Weight = Literal["snr_plus_one", "landing", "truncated_snr"]
Prediction = Literal["same", "v_prediction"]
WAYS: tuple[tuple[Prediction, Weight], ...] = (
    ("same", "snr_plus_one"),
    ("same", "landing"),
    ("v_prediction", "snr_plus_one"),
)


def main() -> None:
    """Measure and print."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp())
    config = load_config("tiny-sd")
    original = load_model(config.model_path, steps=50)
    pipeline = pipeline_of(original)
    hardware = HardwareSettings(evaluation_batch_size=64)
    run = RunContext(
        config,
        "prediction",
        Hooks(memory=Memory(folder)),
        hardware,
        as_configured(original, pipeline, config),
        pipeline=pipeline,
    )
    run.conditions = condition_sets(run)
    paths, teacher = run.trajectories_of(run.base_model, stage=1), run.base_model
    untrained = run.select.quality_of(teacher, uniform_subset(teacher, 4), "ddim")
    print(f"undistilled, uniform DDIM: {untrained.score:.4f}", flush=True)
    for prediction, weight in WAYS:
        started, scores = perf_counter(), []
        settings = TrainingSettings(
            student_prediction=prediction,
            loss_weight=weight,
            batch_size=32,
            learning_rate=1e-3,
            trajectories=config.training.trajectories,
        )
        manager = ProgressiveDistillation(settings, hardware)
        begun, spent = teacher, 0
        if prediction != "same":
            begun, spent = manager.student_of(teacher, teacher.grid), steps // 2
            stage = StageConfig(
                stage_number=0,
                iterations=spent,
                seed_path=(0,),
                trajectories=paths,
                start_from_teacher=False,
            )
            manager.distill_stage(teacher, begun, stage)
            scores.append(f"50: {run.select.quality_of(begun).score:.4f}")
        student = begun.student(uniform_subset(teacher, 4))
        # The teacher's own paths, so that what is compared is the prediction alone.
        stage = StageConfig(iterations=steps - spent, trajectories=paths, start_from_teacher=False)
        manager.distill_stage(teacher, student, stage)
        scores.append(f"4: {run.select.quality_of(student).score:.4f}")
        print(
            f"{prediction:<13} {weight:<13} {', '.join(scores)}  "
            f"({perf_counter() - started:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
