"""50 sampling steps against 4 on the bundled model: the ratio of wall-clock medians.

`python benchmarks/sampling.py [REPEATS]` alternates them in one process. The 4-step grid is a
subset of the original's; weights do not matter for time.
"""

import sys

from engine.models.loading import load_model
from engine.training.conditions import classes
from engine.training.distill import uniform_subset
from engine.training.evaluate import measure_cost
from engine.training.noise_sets import NoiseSet


def main() -> None:
    """Measure and print."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    original = load_model("bundled:digits", steps=50).model
    student = original.student(uniform_subset(original, 4))
    noise_set = NoiseSet.select(128, original.sample_shape, classes(original.class_count))
    for batch_size in (1, 128):
        cost = measure_cost(original, student, noise_set, batch_size=batch_size, repeats=repeats)
        print(
            f"batch {batch_size}: {cost.original_seconds:.3f} s against "
            f"{cost.optimized_seconds:.3f} s, {cost.speedup:.1f} times faster (12.5 times fewer "
            f"evaluations); peak memory {cost.original_peak_bytes / 2**20:.1f} against "
            f"{cost.optimized_peak_bytes / 2**20:.1f} MiB"
        )


if __name__ == "__main__":
    main()
