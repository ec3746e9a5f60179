"""Peak memory of a whole stage: adapters over a shared base against all weights, and the floor.

    python benchmarks/lora_memory.py [--steps 2] [--rank 16]

The same network (13 million parameters, convolutions, attention to text) is distilled for a few
steps by `ProgressiveDistillation`, once each way, from the same cached paths, in a process of its
own. Peaks are MLX's, from before the student is made to the end of the stage. The floor is what
must be held between steps, counted: base, adapters or weights, their average and Adam's moments,
and the teacher where it does not share the base.
"""

import argparse
import json
import subprocess
import sys

import engine  # noqa: F401  (first of all: MLX takes the first BLAS that it finds)

# isort: split
import mlx.core as mx
import numpy as np

from engine.diffusion.grid import spaced_grid
from engine.diffusion.noise import NoiseSchedule, betas
from engine.model_size import training_memory
from engine.models.checkpoint import make_network
from engine.models.diffusion import DiffusionModel
from engine.settings import HardwareSettings, LoraSettings, TrainingSettings
from engine.training.conditions import Conditions
from engine.training.distill import ProgressiveDistillation, StageConfig, uniform_subset
from engine.training.trajectories import record_trajectories

CONFIG = {
    "_class_name": "UNet2DConditionModel",
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 8,
    "norm_num_groups": 16,
    "block_out_channels": [64, 128, 192],
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 128,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
BATCH = 2
MB = 1e6


def measure(kind: str, steps: int, rank: int) -> dict[str, float]:
    """Return peak and floor of one stage."""
    lora = LoraSettings(enabled=kind == "adapters", rank=rank, alpha=float(rank))
    schedule = NoiseSchedule.from_betas(betas("scaled_linear", 1000, 0.00085, 0.012))
    _, network = make_network(CONFIG, source="a benchmark")
    teacher = DiffusionModel(
        network,
        schedule,
        spaced_grid(schedule, "trailing", 4),
        prediction_type="v_prediction",
        sample_shape=(8, 8, 4),
    )
    mx.eval(teacher.parameters())
    training = TrainingSettings(
        iterations=[steps], batch_size=BATCH, trajectories=8, learning_rate=1e-4
    )
    manager = ProgressiveDistillation(training, HardwareSettings(compile=False), lora=lora)
    rng = np.random.default_rng(0)
    text = rng.standard_normal((8, 77, 128), dtype=np.float32)
    conditions = Conditions.of_arrays({"encoder_hidden_states": text})
    noise = rng.standard_normal((8, 8, 8, 4), dtype=np.float32)
    paths = record_trajectories(teacher, noise, conditions, batch_size=4)
    mx.clear_cache()
    mx.reset_peak_memory()
    student = manager.student_of(teacher, uniform_subset(teacher, 2))
    manager.distill_stage(teacher, student, StageConfig(trajectories=paths))
    how = {"lora_rank": rank, "lora_targets": lora.targets} if lora.enabled else {}
    estimate = training_memory(CONFIG, batch_size=BATCH, is_compiled=False, **how)
    floor = estimate.total - estimate.activations
    return {"peak": mx.get_peak_memory(), "floor": floor, "estimate": estimate.total}


def main() -> None:
    """Measure both ways and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--here", choices=["weights", "adapters"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.here, options.steps, options.rank)))
        return
    found = {}
    for kind in ("weights", "adapters"):
        command = [sys.executable, __file__, "--here", kind, "--steps", str(options.steps)]
        out = subprocess.run(
            [*command, "--rank", str(options.rank)], check=True, stdout=subprocess.PIPE
        ).stdout
        found[kind] = one = json.loads(out.splitlines()[-1])
        print(
            f"{kind}: peak {one['peak'] / MB:.1f} MB, floor {one['floor'] / MB:.1f} MB, "
            f"estimated {one['estimate'] / MB:.1f} MB",
            flush=True,
        )
    print(f"adapters take {found['adapters']['peak'] / found['weights']['peak']:.2f} of the peak")


if __name__ == "__main__":
    main()
