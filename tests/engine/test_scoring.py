"""Pictures behind the final score are decoded once, kept on the disk, and a kill costs a few."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.conditioning import as_configured, pipeline_of
from engine.config import config_from_dict
from engine.context import RunContext
from engine.estimate import _disk, _host_bytes
from engine.hooks import Hooks
from engine.memory import Memory, Record
from engine.model_cost import model_cost
from engine.models.loading import LoadedModel, load_model
from engine.models.pipeline import LatentPipeline
from engine.records import Quality
from engine.settings import HardwareSettings
from engine.training.conditions import Conditions, ConditionSets

COUNT = 64


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def sd15() -> LoadedModel:
    return load_model(Path(__file__).parents[1] / "fixtures" / "sd15", steps=4)


@pytest.fixture(autouse=True)
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Decode by repeating latents; the list says how many at each time."""
    seen: list[int] = []

    def pictures(_: LatentPipeline, latents: mx.array) -> mx.array:
        seen.append(len(latents))
        return mx.clip(mx.repeat(mx.repeat(latents[..., :3], 8, 1), 8, 2) / 4 + 0.5, 0, 1)

    monkeypatch.setattr(LatentPipeline, "pictures", pictures)
    return seen


@pytest.fixture
def run_in(sd15: LoadedModel) -> Callable[..., RunContext]:
    """A run whose teacher has sampled already; `dies_at` counts what is decoded before a kill."""
    rng = np.random.default_rng(0)
    made = {
        name: {key: rng.standard_normal((COUNT, 8, 8, 4), np.float32) for key in ("own", "other")}
        for name in ("select", "final")
    }
    content = {
        "model_path": "sd15",
        "target_steps": 2,
        "optimization_stages": 1,
        "original": {"steps": 4},
        "quality": {"samples": COUNT, "select_samples": COUNT, "bootstrap": 100},
    }
    config = config_from_dict(content, "test")

    def make(folder: Path, dies_at: int | None = None) -> RunContext:
        memory, left = Memory(folder), [dies_at]
        for name, tensors in made.items():
            memory.keep(f"{name}-samples", Record(tensors, {"looks": {}}))

        def between(_: object) -> None:
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

        pipeline = pipeline_of(sd15)
        hooks = Hooks(memory=memory, between_steps=between)
        original = as_configured(sd15, pipeline, config)
        run = RunContext(config, "test", hooks, HardwareSettings(), original, pipeline=pipeline)
        run.conditions = ConditionSets.same(Conditions.none(1))
        return run

    return make


def looks(run: RunContext) -> list[Quality]:
    student = run.final.teacher_samples + np.float32(0.1) * run.final.other_samples
    final = run.final
    return [
        final.quality_of_samples(student), final.blurred_anchor(), final.other_seed_anchor(),
        run.select.quality_of_samples(run.select.teacher_samples),
    ]  # fmt: skip


def test_a_killed_look_scores_the_same_and_decodes_what_is_missing(
    run_in: Callable[..., RunContext], tmp_path: Path, decoded: list[int]
) -> None:
    whole = looks(run_in(tmp_path / "whole"))
    everything = sum(decoded)
    assert whole[0].mode == "pixels"
    assert whole[3].mode == "latents"
    for dies_at in (3, 12, 20, 30):
        folder = tmp_path / f"killed-{dies_at}"
        with pytest.raises(Killed):
            looks(run_in(folder, dies_at))
        decoded.clear()
        assert looks(run_in(folder)) == whole
        assert sum(decoded) < everything
    # the teacher's pictures of the final noise stay, those of the select noise go
    kept = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {"final-pictures.pictures.npy", "final-components.safetensors"} <= kept
    assert not any(name.startswith("select-both") for name in kept)


def test_without_a_folder_the_score_is_the_same(
    run_in: Callable[..., RunContext], tmp_path: Path
) -> None:
    kept, held = run_in(tmp_path), run_in(tmp_path / "other")
    samples = {n: kept.hooks.memory.recall(f"{n}-samples") for n in ("select", "final")}

    class Remembering(Memory):
        def recall(self, name: str) -> Record | None:
            return samples.get(name.removesuffix("-samples"))

    held.hooks = replace(held.hooks, memory=Remembering())
    assert looks(held) == looks(kept)


def test_an_estimate_holds_a_block_in_memory_and_the_pictures_on_the_disk() -> None:
    cost = model_cost("bundled:tiny-sd", 512, 512)
    few, many = (
        config_from_dict(
            {"model_path": "bundled:tiny-sd", "quality": {"samples": n, "select_samples": 64}},
            "test",
        )
        for n in (128, 1128)
    )
    picture = 4 * 3 * 512 * 512
    assert _disk(many, cost) - _disk(few, cost) > 1000 * picture
    # a thousand pictures more: their latents and a hundred directions more, and no picture
    assert _host_bytes(many, cost) - _host_bytes(few, cost) < 0.3 * 1000 * picture
    in_latents = config_from_dict(
        {"model_path": "bundled:tiny-sd", "quality": {"mode": "latents"}}, "test"
    )
    assert _disk(in_latents, cost) < _disk(few, cost) - 200 * picture
