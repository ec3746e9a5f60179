"""What a model takes, counted from its config and headers, is what it takes."""

import gc
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.errors import CheckpointError
from engine.model_size import (
    adapter_parameter_count,
    component_parameters,
    component_sizes,
    forward_flops,
    parameter_count,
    training_memory,
)
from engine.models.loading import load_model
from engine.settings import LoraSettings, TrainingSettings
from engine.training.states import Batch
from engine.training.trainer import Trainer

FIXTURES = Path(__file__).parents[1] / "fixtures"
ALL = ["attention", "feed_forward", "convolutions"]


def config_of(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / name / "unet" / "config.json").read_text(encoding="utf-8"))


def test_components_are_measured_by_their_headers() -> None:
    sizes, counts = (
        measure(FIXTURES / "sd15") for measure in (component_sizes, component_parameters)
    )
    assert sizes.keys() == counts.keys() == {"unet", "vae", "text_encoder"}
    assert counts["unet"] == parameter_count(config_of("sd15"))
    assert sizes["unet"] == 4 * counts["unet"]
    for name in sizes:
        on_disk = sum(
            path.stat().st_size for path in (FIXTURES / "sd15" / name).glob("*.safetensors")
        )
        assert 0 < on_disk - sizes[name] < 100_000  # the header


def test_half_precision_and_shards_are_measured_too() -> None:
    half = FIXTURES / "middleless_half"
    assert component_sizes(half)["unet"] == 2 * component_parameters(half)["unet"]
    shards = FIXTURES / "learned_sharded"
    config = json.loads((shards / "config.json").read_text(encoding="utf-8"))
    assert component_parameters(shards)["unet"] == parameter_count(config)


def test_of_several_variants_the_full_one_counts(tmp_path: Path) -> None:
    for name, dtype in (("", np.float32), (".fp16", np.float16)):
        path = tmp_path / f"diffusion_pytorch_model{name}.safetensors"
        save_file({"weight": np.zeros((3, 5), dtype)}, path)
    assert component_sizes(tmp_path) == {"unet": 60}


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        component_sizes(tmp_path)


def test_adapters_share_the_base_and_train_a_fraction() -> None:
    config = config_of("sd15")
    full = training_memory(config, batch_size=1)
    lora = training_memory(config, batch_size=1, lora_rank=2, lora_targets=ALL)
    parameters = parameter_count(config)
    adapters = adapter_parameter_count(config, 2, ALL)
    assert (full.weights, full.teacher, full.adapters) == (4 * parameters, 4 * parameters, 0)
    assert (full.average, full.optimizer) == (4 * parameters, 8 * parameters)
    assert (lora.weights, lora.teacher, lora.adapters) == (4 * parameters, 0, 4 * adapters)
    assert (lora.average, lora.optimizer) == (4 * adapters, 8 * adapters)
    half = training_memory(
        config, batch_size=1, lora_rank=2, lora_targets=ALL, base_precision="bfloat16"
    )
    assert half.weights == lora.weights // 2
    assert half.adapters == lora.adapters
    eighth = training_memory(
        config, batch_size=1, lora_rank=2, lora_targets=ALL, base_precision="int8"
    )
    assert half.activations < eighth.activations == lora.activations
    assert eighth.weights < lora.weights
    assert half.activations < lora.activations


def test_activations_grow_with_the_batch_and_the_sample() -> None:
    config = config_of("sd15")

    def activations(**changes: Any) -> int:
        settings = {"batch_size": 8, "lora_rank": 2, "lora_targets": ALL} | changes
        return training_memory(config, **settings).activations

    assert activations(batch_size=16) == pytest.approx(2 * activations(), rel=0.05)
    assert activations(height=16, width=16) > 3.9 * activations(height=8, width=8)
    assert forward_flops(config, 16, 16) == pytest.approx(4 * forward_flops(config, 8, 8), rel=0.3)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("rank", [None, 8])
def test_the_estimate_is_near_the_measured_peak(rank: int | None) -> None:
    """On a CPU, where the coefficients come from, and on a network that they were fitted to."""
    if mx.default_device().type != mx.DeviceType.cpu:
        pytest.skip("fitted on a CPU")
    batch_size = 64
    original = load_model("bundled:digits", steps=8)
    lora = LoraSettings(enabled=True, rank=rank, alpha=8.0) if rank else None
    gc.collect()  # what other tests left would be given back while this one counts
    before = mx.get_active_memory()
    student = original.model.student(lora=lora)
    trainer = Trainer(student, TrainingSettings(), iterations=10, learning_rate=1e-4)
    z = mx.random.normal((batch_size, 8, 8, 1))
    points = mx.array((np.arange(batch_size) % 8).astype(np.int32))
    batch = Batch(z, z, points, {"class_labels": points})
    trainer.step(batch)
    mx.reset_peak_memory()
    trainer.step(batch)
    config = original.checkpoint.network_config
    weights = 4 * parameter_count(config)  # held before the count began
    measured = mx.get_peak_memory() - before + weights
    estimate = training_memory(
        config, batch_size=batch_size, lora_rank=rank, lora_targets=ALL, is_compiled=False
    )
    assert estimate.total == pytest.approx(measured, rel=0.15)
