"""Adapters change nothing until trained, hold the base once, and come off without a trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file

from engine.errors import ConfigError
from engine.models.diffusion import DiffusionModel
from engine.models.loading import load_model
from engine.models.lora import adapted, adapters, fuse, has_adapters, unfuse
from engine.models.lora_files import load_lora
from engine.settings import LoraSettings
from engine.unet_layers import LORA_TARGETS, unet_layers

pytestmark = pytest.mark.usefixtures("eager")


def settings(**changes: Any) -> LoraSettings:
    return LoraSettings(**({"enabled": True, "rank": 2, "alpha": 3.0} | changes))


def stirred(network: nn.Module, seed: int = 1) -> nn.Module:
    """Give every B numbers, so that the adapters do something."""
    rng = np.random.default_rng(seed)
    for _, layer in adapters(network):
        shape = layer.lora_B.weight.shape
        layer.lora_B.weight = mx.array(0.1 * rng.standard_normal(shape, dtype=np.float32))
    return network


def answer(network: nn.Module) -> np.ndarray:
    z = mx.array(np.random.default_rng(0).standard_normal((3, 4, 4, 1), dtype=np.float32))
    return np.array(
        network(z, mx.array([5.0, 300.0, 999.0]), {"class_labels": mx.array([0, 1, 2])})
    )


def arrays(tree: Any) -> dict[str, mx.array]:
    return dict(tree_flatten(tree))


def address(array: mx.array) -> int:
    """Return where an array's numbers lie in memory."""
    return np.array(array, copy=False).ctypes.data


def is_same_memory(one: nn.Module, other: nn.Module) -> bool:
    """Whether every array of `other` lies in `one` by the same name, at the same place."""
    held = arrays(one.parameters())
    return all(
        address(held[key]) == address(value) for key, value in arrays(other.parameters()).items()
    )


@pytest.fixture
def network(make_model: Callable[..., DiffusionModel]) -> nn.Module:
    return make_model(channels=32).network


def test_a_fresh_adapter_changes_not_one_bit(network: nn.Module) -> None:
    np.testing.assert_array_equal(answer(adapted(network, settings())), answer(network))


def test_the_base_is_held_once_and_frozen(network: nn.Module) -> None:
    new = adapted(network, settings())
    assert is_same_memory(new, network)
    trainable = arrays(new.trainable_parameters())
    assert trainable
    assert all(key.endswith((".lora_A.weight", ".lora_B.weight")) for key in trainable)
    assert not has_adapters(network)
    assert arrays(network.trainable_parameters()).keys() == arrays(network.parameters()).keys()


@pytest.mark.parametrize("targets", [[name] for name in LORA_TARGETS] + [list(LORA_TARGETS)])
def test_adapters_sit_where_the_config_of_the_network_says(
    targets: list[str], network: nn.Module
) -> None:
    """The arithmetic of memory and the network agree on which layers, and how large."""
    config = {
        "block_out_channels": [32],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "layers_per_block": 1,
        "in_channels": 1,
        "out_channels": 1,
        "num_class_embeds": 3,
    }
    wanted = {
        layer.path: layer.adapter_parameters(2)
        for layer in unet_layers(config, 4, 4)
        if layer.is_target(targets)
    }
    if targets == ["feed_forward"]:  # a UNet2DModel has none
        with pytest.raises(ConfigError, match=r"lora\.targets is feed_forward, but this network"):
            adapted(network, settings(targets=targets))
        assert not wanted
        return
    found = {
        path: layer.lora_A.weight.size + layer.lora_B.weight.size
        for path, layer in adapters(adapted(network, settings(targets=targets)))
    }
    assert found == wanted


def test_an_adapter_is_the_low_rank_product_times_alpha_over_rank(network: nn.Module) -> None:
    new = stirred(adapted(network, settings()))
    for path, layer in adapters(new):
        a, b = (np.array(f.weight, np.float64) for f in (layer.lora_A, layer.lora_B))
        delta = 3.0 / 2 * (b.reshape(-1, 2) @ a.reshape(2, -1)).reshape(layer.weight.shape)
        plain = np.array(arrays(network.parameters())[f"{path}.weight"], np.float64)
        np.testing.assert_allclose(np.array(layer.merged_weight()), plain + delta, atol=1e-6)


def test_fusing_changes_no_answer_and_unfusing_gives_the_bytes_back(network: nn.Module) -> None:
    new = stirred(adapted(network, settings()))
    assert np.abs(answer(new) - answer(network)).max() > 1e-2
    fused = fuse(new)
    assert not has_adapters(fused)
    assert arrays(fused.parameters()).keys() == arrays(network.parameters()).keys()
    np.testing.assert_allclose(answer(fused), answer(new), atol=2e-5)
    base = unfuse(new)
    assert is_same_memory(base, network)
    np.testing.assert_array_equal(answer(base), answer(network))
    assert arrays(base.trainable_parameters()).keys() == arrays(base.parameters()).keys()


def test_a_quantised_base_is_adapted_and_fused_in_float(
    make_model: Callable[..., DiffusionModel],
) -> None:
    held = make_model(channels=32).frozen_as(mx.float32, 8).network
    new = adapted(held, settings(targets=["attention"]))
    np.testing.assert_array_equal(answer(new), answer(held))
    stirred(new)
    np.testing.assert_allclose(answer(fuse(new)), answer(new), atol=2e-5)
    np.testing.assert_array_equal(answer(unfuse(new)), answer(held))


def test_a_half_precision_base_answers_in_its_own_type(
    make_model: Callable[..., DiffusionModel],
) -> None:
    held = make_model(channels=32).frozen_as(mx.bfloat16).network
    new = stirred(adapted(held, settings()))
    assert {layer.weight.dtype for _, layer in adapters(new)} == {mx.bfloat16}
    layer = next(layer for path, layer in adapters(new) if path.endswith("conv1"))
    assert layer(mx.zeros((1, 4, 4, layer.weight.shape[-1]), mx.bfloat16)).dtype == mx.bfloat16


def test_the_draw_follows_the_seed(network: nn.Module) -> None:
    def first(seed: int) -> np.ndarray:
        return np.array(next(adapters(adapted(network, settings(), seed=seed)))[1].lora_A.weight)

    np.testing.assert_array_equal(first(3), first(3))
    assert np.abs(first(3) - first(4)).max() > 1e-3


def test_a_student_of_an_adapted_student_goes_on_from_its_adapters_over_the_same_base(
    make_model: Callable[..., DiffusionModel],
) -> None:
    teacher = make_model(channels=32)
    first = teacher.student(lora=settings())
    stirred(first.network)
    second = first.student()
    assert is_same_memory(second.network, first.network)
    assert is_same_memory(second.network, teacher.network)
    before = answer(first.network)
    stirred(second.network, seed=2)
    np.testing.assert_array_equal(answer(first.network), before)
    assert np.abs(answer(second.network) - before).max() > 1e-3


@pytest.mark.parametrize("held", [(mx.bfloat16, None), (mx.float32, 8)])
def test_an_adapted_teacher_may_be_held_in_fewer_bits(
    held: Any, make_model: Callable[..., DiffusionModel]
) -> None:
    student = make_model(channels=32).student(lora=settings())
    stirred(student.network)
    teacher = student.frozen_as(*held)
    assert not has_adapters(teacher.network)
    wanted = answer(student.network)
    assert np.abs(answer(teacher.network) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_adapters_written_by_peft_answer_as_in_diffusers(
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    """Rank 2, alpha 5 in the file's header, on linear layers and convolutions."""
    fixtures = Path(__file__).parents[2] / "fixtures"
    known = load_file(fixtures / "sd15_lora" / "reference.safetensors")
    plain = load_model(fixtures / "sd15").model.network
    new = load_lora(plain, fixtures / "sd15_lora")
    z = mx.array(np.ascontiguousarray(known["in"].transpose(0, 2, 3, 1)))
    condition = {"encoder_hidden_states": mx.array(known["encoder_hidden_states"])}
    found, base, fused = (
        np.array(network(z, mx.array([500.0]), condition)).transpose(0, 3, 1, 2)
        for network in (new, plain, fuse(new))
    )
    wanted = known["out.t500"]
    assert relative_to_largest(found, wanted) < 1e-5
    assert relative_to_largest(fused, wanted) < 1e-5
    assert relative_to_largest(base, wanted) > 0.05
