"""Loads the published networks at full size with random weights, predicts once, measures memory.

    python benchmarks/full_size.py [sd15] [sd21] [sdxl] [--latent 32] [--folder DIR]

Each network is written as half-precision shards into a temporary folder (SDXL: 5.2 GB of disk) and
read by a process of its own, which alone is measured: what it holds (resident, at its peak) once
the weights are loaded as float32, and after one forward. The floor is the weights' own size.
"""

# ruff: noqa: E402
import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import engine  # MLX takes the first BLAS it finds: the engine comes before it

assert engine.__version__
import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from safetensors.numpy import save_file

from engine.models.checkpoint import load_checkpoint, make_network
from engine.models.unet_condition import UNet2DConditionConfig

CONFIGS = Path(__file__).parent.parent / "tests" / "fixtures" / "published"
NAMES = ("sd15", "sd21", "sdxl")
SHARD_BYTES = 1 << 30
GIB = 1 << 30


def main() -> None:
    """Write, load and measure each network asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(NAMES), metavar="NAME")
    parser.add_argument("--latent", type=int, default=32, help="height and width of the state")
    parser.add_argument("--folder", type=Path, help="where the temporary folder goes")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.latent)))
        return
    for name in options.names:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write_random(name, Path(folder))
            command = [sys.executable, __file__, "--measure", folder, "--latent"]
            out = subprocess.run(
                [*command, str(options.latent)], check=True, capture_output=True, text=True
            ).stdout
        found = json.loads(out.splitlines()[-1])
        floor = found["parameters"] * 4 / GIB
        print(
            f"{name}: {found['parameters']:,} parameters, {floor:.2f} GiB as float32; loaded in "
            f"{found['load_seconds']:.0f} s, peak {found['load_peak'] / GIB:.2f} GiB; one forward "
            f"at {options.latent}x{options.latent} in {found['forward_seconds']:.1f} s, peak "
            f"{found['peak'] / GIB:.2f} GiB (MLX: {found['mlx_peak'] / GIB:.2f})",
            flush=True,
        )


def write_random(name: str, folder: Path) -> None:
    """Write a network of random half-precision weights in shards, one array at a time."""
    path = CONFIGS / f"{name}_unet.json"
    _, network = make_network(json.loads(path.read_text()), source=str(path))
    shapes = {key: value.shape for key, value in dict(tree_flatten(network.parameters())).items()}
    rng = np.random.default_rng(0)
    weight_map: dict[str, str] = {}
    shard: dict[str, np.ndarray] = {}
    count = 0

    def flush() -> None:
        nonlocal count, shard
        count += 1
        file = f"diffusion_pytorch_model-{count:05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, file))
        shard = {}

    for key, shape in shapes.items():
        if len(shape) == 4:  # convolutions lie on disk as OIHW
            shape = (shape[0], shape[3], shape[1], shape[2])
        if key.endswith("bias"):
            values = np.zeros(shape)
        elif len(shape) == 1:
            values = np.ones(shape)
        else:  # so that what goes in comes out as large
            values = rng.standard_normal(shape, np.float32) * np.prod(shape[1:]) ** -0.5
        shard[key] = values.astype(np.float16)
        if sum(value.nbytes for value in shard.values()) > SHARD_BYTES:
            flush()
    flush()
    (folder / "config.json").write_text(path.read_text())
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def measure(folder: Path, latent: int) -> dict[str, float]:
    """Return seconds and bytes of loading the folder and of one forward."""
    began = time.monotonic()
    checkpoint = load_checkpoint(folder)
    load_seconds = time.monotonic() - began
    load_peak = peak_bytes()

    network, config = checkpoint.network, checkpoint.network.config
    assert isinstance(config, UNet2DConditionConfig)
    parameters = dict(tree_flatten(network.parameters())).values()
    condition = {"encoder_hidden_states": mx.random.normal((1, 77, config.context_dim))}
    if config.has_text_time:
        condition |= {"text_embeds": mx.random.normal((1, 1280)), "time_ids": mx.zeros((1, 6))}
    began = time.monotonic()
    out = network(mx.random.normal((1, latent, latent, 4)), 500, condition)
    if not mx.isfinite(out).all().item():
        raise SystemExit("the prediction is not finite")
    return {
        "parameters": sum(value.size for value in parameters),
        "load_seconds": load_seconds,
        "load_peak": load_peak,
        "forward_seconds": time.monotonic() - began,
        "peak": peak_bytes(),
        "mlx_peak": mx.get_peak_memory(),
    }


def peak_bytes() -> int:
    """Return the most that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
