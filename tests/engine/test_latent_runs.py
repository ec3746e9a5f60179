"""Whole runs of tiny models of prompts: SDXL, v-prediction, adapters on a base held in less.

Weights are random, so no score is worth a look; what is held is that every part of a run does its
work and that what comes out is what went through the gate.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.config import config_from_dict, config_to_yaml
from engine.export.from_run import student_of_run
from engine.hooks import Hooks
from engine.memory import Memory
from engine.models.loading import load_model
from engine.models.pipeline import LatentPipeline
from engine.optimizer import AdaptiveDiffusionOptimizer
from engine.run import RunFolder
from engine.run.events import Event, PhaseFinished

pytestmark = [pytest.mark.usefixtures("eager", "few_candidates", "no_charts"), pytest.mark.slow]

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode by repeating latents: the autoencoders are held elsewhere and take most of a run."""

    def pictures(_: LatentPipeline, latents: mx.array) -> mx.array:
        return mx.clip(mx.repeat(mx.repeat(latents[..., :3], 8, 1), 8, 2) / 4 + 0.5, 0, 1)

    monkeypatch.setattr(LatentPipeline, "pictures", pictures)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[RunFolder, dict[str, Any], list[Event]]]:
    """Run a model to its end; a gate of 0 lets everything through."""

    def whole(model: str | Path, **sections: Any) -> tuple[RunFolder, dict[str, Any], list[Event]]:
        settings: dict[str, Any] = {
            "model_path": model if ":" in str(model) else str(FIXTURES / model),
            "target_steps": 2,
            "optimization_stages": 1,
            "quality_threshold": 1e-9,
            "original": {"steps": 3},
            "data": {"prompt_count": 8, "height": 32, "width": 32},
            "schedule": {"search": False},
            "training": {
                "iterations": [3],
                "trajectories": 8,
                "batch_size": 2,
                "learning_rate": 1e-5,
                "report_every": 1,
                "sample_every": 0,
                "retries": 0,
            },
            "quality": {"samples": 64, "select_samples": 64, "bootstrap": 100},
            "hardware": {"compile": False},
            "export": {"timing_batch_size": 1, "samples": 2},
        }
        config = config_from_dict(settings | sections, "test")
        folder = RunFolder.create(tmp_path, config_to_yaml(config), name=f"run-{len(sections)}")
        told: list[Event] = []
        hooks = Hooks(emit=told.append, folder=folder.path, memory=Memory(folder.checkpoints_path))
        optimizer = AdaptiveDiffusionOptimizer(config, hooks=hooks, name=folder.name)
        return folder, optimizer.optimize_diffusion_model(), told

    return whole


def exported_latents(
    folder: RunFolder, model: str | Path, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the run's own export samples, and what its kept student does."""
    rng = np.random.default_rng(0)
    found = student_of_run(folder)
    manifest = json.loads((folder.export_path / "diffopt_manifest.json").read_text())
    is_lora = manifest["what"] == "lora"
    source = FIXTURES / model if is_lora else folder.export_path
    again = load_model(source, adapters=folder.export_path if is_lora else None)
    assert again.is_distilled
    noise = mx.array(rng.standard_normal((2, *found.student.sample_shape), dtype=np.float32))
    text = mx.array(rng.standard_normal((2, 77, width), dtype=np.float32))
    condition = {"encoder_hidden_states": text}
    if found.original.checkpoint.network_config.get("addition_embed_type") == "text_time":
        condition |= {
            "text_embeds": mx.array(rng.standard_normal((2, 20), dtype=np.float32)),
            "time_ids": mx.array([[64.0, 64, 0, 0, 64, 64]] * 2),
        }
    exported = again.model.sample(noise, condition)
    return np.array(exported), np.array(found.student.sample(noise, condition))


def test_sdxl_is_distilled_guided_from_prompts_to_an_export(run: Callable) -> None:
    """With its own autoencoder: two text encoders, sizes and pooled prompts on the way."""
    folder, result, told = run("sdxl")
    assert result["stages"][-1]["is_accepted"]
    assert (result["modes"], result["quality"]["mode"]) == (
        {"select": "latents", "final": "pixels"},
        "pixels",
    )
    assert result["guidance"]["scale"] == 5.0
    assert result["metrics"]["evaluation_ratio"] == 3  # 3 guided steps against 2
    (probe,) = [e for e in told if isinstance(e, PhaseFinished) and e.phase == "probe"]
    assert "first verdict planned after" in probe.summary
    exported, kept = exported_latents(folder, "sdxl", 40)
    np.testing.assert_allclose(exported, kept, atol=1e-4 * np.abs(kept).max())
    index = json.loads((folder.export_path / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionXLPipeline"
    assert (folder.export_path / "tokenizer_2").is_dir()
    assert "guidance of 5" in (folder.export_path / "README.md").read_text()


@pytest.mark.usefixtures("few_pixels")
def test_a_v_model_with_zero_snr_becomes_adapters_on_a_base_of_8_bits(
    run: Callable, tmp_path: Path
) -> None:
    ignore = shutil.ignore_patterns("reference.*")
    source = Path(shutil.copytree(FIXTURES / "sd21v", tmp_path / "model", ignore=ignore))
    path = source / "scheduler" / "scheduler_config.json"
    changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    folder, result, _ = run(
        source,
        guidance={"scale": 6.0, "rescale": 0.7, "negative_prompt": "a blurred picture"},
        lora={"enabled": True, "rank": 2, "alpha": 2.0},
        hardware={"compile": False, "base_precision": "int8"},
        export={"timing_batch_size": 1, "samples": 2, "format": "lora"},
    )
    assert result["guidance"]["rescale"] == 0.7
    assert result["guidance"]["negative_prompt"] == "a blurred picture"
    # scores compare with the original in float32: this is what holding it in less costs
    held = next(a for a in result["anchors"] if a["label"] == "original, held in int8")
    assert 0.9 < held["quality"]["fidelity"]["value"] < 1
    assert "int8" in result["metrics"]["measured"]["memory_reduction"]
    manifest = json.loads((folder.export_path / "diffopt_manifest.json").read_text())
    assert manifest["base_precision"] == "int8"
    # adapters alone go on the original's own weights
    exported, kept = exported_latents(folder, source, 32)
    np.testing.assert_allclose(exported, kept, atol=2e-2 * np.abs(kept).max())
