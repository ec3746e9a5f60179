"""Peak memory of a training step, measured and estimated, over networks of different make.

python benchmarks/step_memory.py [eager|compiled] [NAME ...]

The coefficients of engine/model_size.py were fitted to these figures; a fit on another device
starts here. What is measured is MLX's own peak, all that is held included.
"""

import gc
import sys

import mlx.core as mx
import numpy as np

from engine.diffusion.grid import spaced_grid
from engine.diffusion.noise import NoiseSchedule, betas
from engine.model_size import training_memory
from engine.models.checkpoint import make_network
from engine.models.diffusion import DiffusionModel
from engine.settings import LoraSettings, TrainingSettings
from engine.training.states import Batch
from engine.training.trainer import Trainer

ALL = ["attention", "feed_forward", "convolutions"]
TOKENS = 77


def pixels(size: int, channels: list[int], *, attends: bool, **more: object) -> dict:
    """Return the config of a network of pixels."""
    kind = "Attn" if attends else ""
    return {
        "_class_name": "UNet2DModel",
        "in_channels": 3,
        "out_channels": 3,
        "norm_num_groups": 8,
        "sample_size": size,
        "block_out_channels": channels,
        "layers_per_block": 2,
        "down_block_types": [f"{kind}DownBlock2D"] * len(channels),
        "up_block_types": [f"{kind}UpBlock2D"] * len(channels),
        "add_attention": attends,
    } | more


def prompted(size: int, channels: list[int], levels: list[str], **more: object) -> dict:
    """Return the config of a network that reads prompts; `levels` says which attend."""
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": 4,
        "out_channels": 4,
        "norm_num_groups": 16,
        "sample_size": size,
        "block_out_channels": channels,
        "layers_per_block": 2,
        "down_block_types": [f"{kind}DownBlock2D" for kind in levels],
        "up_block_types": [f"{kind}UpBlock2D" for kind in levels[::-1]],
    } | more


NETWORKS: dict[str, tuple[dict, int]] = {
    "conv": (pixels(32, [64, 64], attends=False), 4),
    "wide": (pixels(8, [256, 256], attends=False), 1),
    "attention": (pixels(32, [32, 32], attends=True, attention_head_dim=8), 1),
    "two levels": (
        pixels(16, [64, 128], attends=True, attention_head_dim=32, layers_per_block=1),
        4,
    ),
    "sd": (
        prompted(
            16,
            [64, 128, 256, 256],
            ["CrossAttn"] * 3 + [""],
            attention_head_dim=8,
            cross_attention_dim=128,
        ),
        1,
    ),
    "sdxl": (
        prompted(
            32,
            [32, 64, 64],
            ["", "CrossAttn", "CrossAttn"],
            attention_head_dim=[2, 4, 4],
            cross_attention_dim=96,
            use_linear_projection=True,
            transformer_layers_per_block=[1, 2, 3],
        ),
        1,
    ),
}


def measured(config: dict, batch_size: int, lora: LoraSettings | None, is_compiled: bool) -> int:
    """Return the peak of the second and third step."""
    gc.collect()
    mx.clear_cache()
    before = mx.get_active_memory()
    schedule = NoiseSchedule.from_betas(betas("linear", 1000, 1e-4, 0.02))
    _, network = make_network(config, source="a benchmark")
    size, channels = config["sample_size"], config["in_channels"]
    model = DiffusionModel(
        network,
        schedule,
        spaced_grid(schedule, "trailing", 8),
        prediction_type="v_prediction",
        sample_shape=(size, size, channels),
    )
    mx.eval(model.parameters())
    rng = np.random.default_rng(0)
    z, target = (
        mx.array(rng.standard_normal((batch_size, size, size, channels), dtype=np.float32))
        for _ in range(2)
    )
    condition = {}
    if width := config.get("cross_attention_dim"):
        text = rng.standard_normal((batch_size, TOKENS, width), dtype=np.float32)
        condition = {"encoder_hidden_states": mx.array(text)}
    batch = Batch(z, target, mx.array((np.arange(batch_size) % 8).astype(np.int32)), condition)
    trainer = Trainer(
        model.student(lora=lora),
        TrainingSettings(batch_size=batch_size),
        iterations=10,
        learning_rate=1e-4,
        is_compiled=is_compiled,
    )
    trainer.step(batch)
    mx.reset_peak_memory()
    trainer.step(batch)
    trainer.step(batch)
    return mx.get_peak_memory() - before


def main() -> None:
    """Measure what was named, or everything."""
    is_compiled = "compiled" in sys.argv[1:]
    names = [name for name in sys.argv[1:] if name in NETWORKS] or list(NETWORKS)
    print(f"{'network':<12}{'batch':>6}  {'trained':<10}{'measured':>12}{'estimate':>12}")
    for name in names:
        config, batch_size = NETWORKS[name]
        for lora in (None, LoraSettings(enabled=True, rank=8, alpha=8.0)):
            peak = measured(config, batch_size, lora, is_compiled)
            estimate = training_memory(
                config,
                batch_size=batch_size,
                lora_rank=lora.rank if lora else None,
                lora_targets=ALL if lora else (),
                is_compiled=is_compiled,
            ).total
            trained = "adapters" if lora else "weights"
            figures = f"{peak / 1e6:>9.1f} MB{estimate / 1e6:>9.1f} MB"
            error = f"{100 * (estimate / peak - 1):+.1f} %"
            print(f"{name:<12}{batch_size:>6}  {trained:<10}{figures}  {error}", flush=True)


if __name__ == "__main__":
    main()
