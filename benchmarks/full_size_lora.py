"""One LoRA step on the published networks at full size: measured peak against the estimate.

    python benchmarks/full_size_lora.py [sd15] [sd21] [sdxl] [--latent 32] [--rank 64]
        [--dtype bfloat16 | --base int8] [--compiled]

Weights are random, held and computed in float32 (SDXL: 10.3 GB) unless told otherwise; a CPU has
no fast half precision. The peak is MLX's own, all that is held included; beside it stands what the
process held at its peak. The estimate comes from the config alone, as `diffopt inspect` makes it. A
process for each network.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import engine  # noqa: F401  (first of all: MLX takes the first BLAS that it finds)

# isort: split
import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from engine.diffusion.grid import spaced_grid
from engine.diffusion.noise import NoiseSchedule, betas
from engine.model_size import parameter_count, training_memory
from engine.models.checkpoint import make_network
from engine.models.diffusion import DiffusionModel
from engine.settings import LoraSettings, TrainingSettings
from engine.training.states import Batch
from engine.training.trainer import Trainer

CONFIGS = Path(__file__).parent.parent / "tests" / "fixtures" / "published"
GB = 1e9


def main() -> None:
    """Measure what was named, or everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["sd15", "sdxl"], metavar="NAME")
    parser.add_argument("--latent", type=int, default=32, help="height and width of the state")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--base", choices=["bfloat16", "int8"], help="narrowed before the step")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options)))
        return
    for name in options.names:
        command = [sys.executable, __file__, name, "--here", "--latent", str(options.latent)]
        command += ["--rank", str(options.rank), "--dtype", options.dtype]
        command += ["--compiled"] if options.compiled else []
        command += ["--base", options.base] if options.base else []
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        error = found["estimate"] / found["mlx_peak"] - 1
        print(
            f"{name}: {found['parameters']:,} parameters in {found['held']}, adapters of "
            f"{found['adapters'] / 1e6:.1f} million; forward {found['forward_seconds']:.0f} s, "
            f"step {found['step_seconds']:.0f} s; loss {found['loss']:.3g}; peak "
            f"{found['mlx_peak'] / GB:.2f} GB, estimated {found['estimate'] / GB:.2f} GB "
            f"({100 * error:+.1f} %); base alone {found['base'] / GB:.2f} GB, at most "
            f"{found['narrowing'] / GB:.2f} GB while it was narrowed, process "
            f"{found['process_peak'] / GB:.2f} GB",
            flush=True,
        )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one network."""
    (name,) = options.names
    path = CONFIGS / f"{name}_unet.json"
    config = json.loads(path.read_text())
    dtype = getattr(mx, options.dtype)
    size, channels = options.latent, 4
    _, network = make_network(config, source=str(path))

    def held(value: mx.array) -> mx.array:
        # one array at a time: random weights are made as float32
        value = value.astype(dtype)
        mx.eval(value)
        return value

    network.update(tree_map(held, network.parameters()))
    mx.clear_cache()
    base = mx.get_active_memory()
    schedule = NoiseSchedule.from_betas(betas("scaled_linear", 1000, 0.00085, 0.012))
    model = DiffusionModel(
        network,
        schedule,
        spaced_grid(schedule, "trailing", 8),
        prediction_type="epsilon",
        sample_shape=(size, size, channels),
        compute_dtype=dtype,
    )
    rng = np.random.default_rng(0)

    def noise(*shape: int) -> mx.array:
        return mx.array(rng.standard_normal(shape, dtype=np.float32)).astype(dtype)

    condition = {"encoder_hidden_states": noise(1, 77, config["cross_attention_dim"])}
    if config.get("addition_embed_type") == "text_time":
        condition |= {"text_embeds": noise(1, 1280), "time_ids": mx.zeros((1, 6))}
    z = noise(1, size, size, channels).astype(mx.float32)
    began = time.monotonic()
    prediction = model(z, mx.array([500.0]), condition)
    if not mx.isfinite(prediction).all().item():
        raise SystemExit("the prediction is not finite")
    forward_seconds = time.monotonic() - began

    mx.clear_cache()
    mx.reset_peak_memory()
    if options.base:
        model.narrow(options.base)
    narrowing = mx.get_peak_memory()
    if options.base:
        dtype = mx.bfloat16 if options.base == "bfloat16" else mx.float32
        mx.clear_cache()
        base = mx.get_active_memory()

    lora = LoraSettings(enabled=True, rank=options.rank, alpha=float(options.rank))
    student = model.student(lora=lora)
    trainer = Trainer(
        student,
        TrainingSettings(batch_size=1),
        iterations=10,
        learning_rate=1e-4,
        compute_dtype=dtype,
        is_compiled=options.compiled,
    )
    batch = Batch(z, prediction, mx.array([3], mx.int32), condition)
    mx.clear_cache()
    mx.reset_peak_memory()
    began = time.monotonic()
    loss, _ = trainer.step(batch)
    step_seconds = time.monotonic() - began
    estimate = training_memory(
        config,
        batch_size=1,
        height=size,
        width=size,
        lora_rank=options.rank,
        lora_targets=lora.targets,
        base_precision=options.base or options.dtype,
        is_compiled=options.compiled,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "parameters": parameter_count(config),
        "held": options.base or options.dtype,
        "narrowing": narrowing,
        "adapters": estimate.adapters // 4,
        "forward_seconds": forward_seconds,
        "step_seconds": step_seconds,
        "loss": float(loss),
        "mlx_peak": mx.get_peak_memory(),
        "estimate": estimate.total,
        "base": base,
        "process_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


if __name__ == "__main__":
    main()
