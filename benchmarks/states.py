"""Where training states should come from, and which loss weight.

The figures behind the defaults (docs/method.md). `python benchmarks/states.py [SEED...]` distils
the bundled model 50 -> 16 -> 8 -> 4 with each, on the uniform grid, and prints the score after
every stage on the select noise (256 samples). About two minutes for each line and seed.
"""

import sys
from time import perf_counter
from typing import Literal

from engine.models.loading import load_model
from engine.settings import HardwareSettings, TrainingSettings
from engine.training.conditions import Conditions, classes
from engine.training.digits import TRAINING_COUNT, load_digits
from engine.training.distill import ProgressiveDistillation, StageConfig, uniform_subset
from engine.training.evaluate import Evaluator
from engine.training.noise_sets import NoiseSet, Purpose, unit_noise
from engine.training.trajectories import record_trajectories

STAGES, ITERATIONS = (16, 8, 4), (150, 150, 300)
States = Literal["trajectory", "rollout", "data"]
LossWeight = Literal["truncated_snr", "snr_plus_one", "landing"]
CHOICES: tuple[tuple[States, LossWeight], ...] = (
    ("trajectory", "snr_plus_one"),
    ("trajectory", "landing"),
    ("trajectory", "truncated_snr"),
    ("rollout", "landing"),
    ("rollout", "snr_plus_one"),
    ("data", "landing"),
    ("data", "snr_plus_one"),
)


def main() -> None:
    """Measure and print."""
    seeds = [int(seed) for seed in sys.argv[1:]] or [0]
    original = load_model("bundled:digits", steps=50).model
    noise_set = NoiseSet.select(256, original.sample_shape, classes(original.class_count))
    evaluator = Evaluator.against(
        original, noise_set, components=None, batch_size=128, resamples=200
    )
    conditions = classes(original.class_count).repeated(1024)
    noise = unit_noise(Purpose.TRAIN, 1024, original.sample_shape)
    paths = record_trajectories(original, noise, conditions, batch_size=128)
    images, image_labels = (part[:TRAINING_COUNT] for part in load_digits())
    for seed in seeds:
        for states, weight in CHOICES:
            settings = TrainingSettings(
                iterations=list(ITERATIONS),
                learning_rate=1e-3,
                states=states,
                loss_weight=weight,
                seed=seed,
            )
            hardware = HardwareSettings(evaluation_batch_size=128)
            distillation = ProgressiveDistillation(
                settings, hardware, images, Conditions.of_labels(image_labels)
            )
            teacher, scores, started = original, [], perf_counter()
            for number, steps in enumerate(STAGES, start=1):
                student = teacher.student(uniform_subset(teacher, steps))
                cached = paths if number == 1 else None
                stage = StageConfig(stage_number=number, trajectories=cached)
                distillation.distill_stage(teacher, student, stage)
                scores.append(evaluator.quality_of(student).score)
                teacher = student
            reached = ", ".join(
                f"{steps}: {score:.4f}" for steps, score in zip(STAGES, scores, strict=True)
            )
            seconds = perf_counter() - started
            print(
                f"seed {seed}  {states:<10} {weight:<13} {reached}  ({seconds:.0f} s)", flush=True
            )


if __name__ == "__main__":
    main()
