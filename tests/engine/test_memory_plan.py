"""What is cut to fit into the memory, in which order, and what is never overruled."""

import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine import hardware
from engine.config import DiffusionOptimizationConfig, config_from_dict
from engine.context import RunContext
from engine.errors import ConfigError
from engine.fitting import fit_into_memory
from engine.hooks import Hooks
from engine.memory import Memory
from engine.memory_plan import MemoryPlan, plan_memory
from engine.model_size import parameter_count
from engine.models.loading import load_model
from engine.settings import HardwareSettings

UNET = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}  # Stable Diffusion 1.5's
GIB = 2**30


def config_of(**sections: dict) -> DiffusionOptimizationConfig:
    training = {"batch_size": 16} | sections.pop("training", {})
    content = {"model_path": "somewhere", "training": training, **sections}
    return config_from_dict(content, "test")


@pytest.fixture
def plan() -> Callable[..., MemoryPlan]:
    def make(budget_gib: float, *, is_guided: bool = True, **sections: dict) -> MemoryPlan:
        return plan_memory(
            UNET,
            config_of(**sections),
            budget_bytes=int(budget_gib * GIB),
            sample_size=(64, 64),
            is_guided=is_guided,
            is_compiled=True,
        )

    return make


LORA = {"enabled": True, "rank": 16}


def test_with_room_for_everything_nothing_is_cut(plan: Callable[..., MemoryPlan]) -> None:
    found = plan(4000, lora=LORA)
    assert (found.micro_batch_size, found.recompute_activations) == (16, False)
    assert found.evaluation_batch_size == HardwareSettings().evaluation_batch_size


def test_less_room_cuts_more_and_what_is_planned_fits(plan: Callable[..., MemoryPlan]) -> None:
    def work(found: MemoryPlan) -> tuple[bool, int]:
        return not found.recompute_activations, found.micro_batch_size

    plans = [plan(gib, lora=LORA) for gib in (4000, 400, 200, 100, 64, 48, 32, 24)]
    for found in plans:
        assert found.needed_bytes <= found.budget_bytes
        assert 16 % found.micro_batch_size == 0
        assert found.micro_batch_size >= 4 or found.recompute_activations
    ranks = [work(found) for found in plans]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) > 2
    sizes = [found.evaluation_batch_size for found in plans]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_a_guided_teacher_samples_half_as_many(plan: Callable[..., MemoryPlan]) -> None:
    alone = plan(24, lora=LORA, is_guided=False).evaluation_batch_size
    guided = plan(24, lora=LORA).evaluation_batch_size
    assert abs(guided - alone / 2) <= 1


def test_what_cannot_fit_is_refused_with_a_remedy(plan: Callable[..., MemoryPlan]) -> None:
    with pytest.raises(ConfigError, match=r"lora\.enabled: true"):
        plan(8)
    with pytest.raises(ConfigError, match=r"lora\.rank"):
        plan(2, lora=LORA)


def test_what_a_person_set_is_obeyed(plan: Callable[..., MemoryPlan]) -> None:
    found = plan(2, hardware={"micro_batch_size": 1}, lora=LORA)
    assert (found.micro_batch_size, found.recompute_activations) == (1, True)
    assert found.needed_bytes > found.budget_bytes
    found = plan(4000, hardware={"recompute_activations": True, "micro_batch_size": 64}, lora=LORA)
    assert (found.micro_batch_size, found.recompute_activations) == (16, True)
    found = plan(32, hardware={"recompute_activations": False}, lora=LORA)
    assert not found.recompute_activations


def test_a_base_held_in_less_leaves_more_room_for_a_step(plan: Callable[..., MemoryPlan]) -> None:
    def needed(precision: str) -> int:
        hardware = {"base_precision": precision, "micro_batch_size": 1}
        return plan(4000, lora=LORA, hardware=hardware, is_guided=False).needed_bytes

    whole, half, eighth = needed("float32"), needed("bfloat16"), needed("int8")
    parameters = parameter_count(UNET)
    assert whole - half > 2 * parameters  # weights and activations
    assert 0.75 * parameters < whole - eighth < 2.75 * parameters  # linear layers alone
    tight = whole / GIB - 0.5
    assert plan(tight, lora=LORA).recompute_activations
    held = plan(tight, lora=LORA, hardware={"base_precision": "bfloat16"})
    assert held.micro_batch_size >= plan(tight, lora=LORA).micro_batch_size
    # but the original is sampled as it was loaded
    assert held.evaluation_batch_size == plan(tight, lora=LORA).evaluation_batch_size


def test_a_base_held_in_less_is_loaded_in_float32_first(plan: Callable[..., MemoryPlan]) -> None:
    """The original is sampled so: what does not fit then is refused, however little is held."""
    held = {"base_precision": "bfloat16"}
    base = 4 * parameter_count(UNET) / GIB
    assert plan(4000, lora=LORA, hardware=held).needed_bytes > base * GIB
    with pytest.raises(
        ConfigError, match=r"hardware\.base_precision: bfloat16 .* in float32, which"
    ):
        plan(1.5 * base, lora=LORA, hardware=held)
    insisted = held | {"micro_batch_size": 1}
    assert plan(1.5 * base, lora=LORA, hardware=insisted).evaluation_batch_size == 1


def test_scoring_counts_where_it_needs_more_than_a_step() -> None:
    found = plan_memory(
        UNET,
        config_of(lora=LORA),
        budget_bytes=4000 * GIB,
        sample_size=(8, 8),
        is_guided=True,
        is_compiled=True,
        scoring_bytes=900 * GIB,
    )
    assert found.needed_bytes > 900 * GIB


def test_a_plan_is_kept_and_comes_back(plan: Callable[..., MemoryPlan]) -> None:
    found = plan(32, lora=LORA)
    kept = json.loads(json.dumps(found.to_dict() | {"looks": {}}))
    assert MemoryPlan.from_dict(kept) == found
    settings = found.applied_to(HardwareSettings(compile=False))
    assert settings.micro_batch_size == found.micro_batch_size
    assert not settings.compile
    assert "GiB" in found.summary


def test_a_run_taken_up_elsewhere_keeps_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_from_dict({"model_path": "bundled:digits"}, "test")
    original = load_model("bundled:digits")

    def fitted(budget_bytes: int) -> tuple[MemoryPlan, HardwareSettings]:
        monkeypatch.setattr(hardware, "memory_budget_bytes", lambda: budget_bytes)
        run = RunContext(config, "test", Hooks(memory=Memory(tmp_path)), config.hardware, original)
        return fit_into_memory(run), run.hardware

    tight, settings = fitted(40_000_000)
    assert tight.needed_bytes <= 40_000_000
    assert settings.micro_batch_size == tight.micro_batch_size < config.training.batch_size
    assert fitted(400 * GIB) == (tight, settings)


def test_the_budget_is_no_more_than_there_is() -> None:
    assert 0 < hardware.memory_budget_bytes() <= psutil.virtual_memory().total
