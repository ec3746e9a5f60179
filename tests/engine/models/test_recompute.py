"""Recomputed activations: the same gradients for less memory."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from engine.models.recompute import Recomputing, recomputed_activations
from engine.models.unet import UNet2DConfig, UNet2DModel
from engine.models.unet_condition import UNet2DConditionConfig, UNet2DConditionModel

PIXELS = UNet2DConfig(
    in_channels=3,
    out_channels=3,
    block_out_channels=(16, 32),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    layers_per_block=2,
    norm_num_groups=8,
)
LATENTS = UNet2DConditionConfig.from_dict(
    {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [16, 32],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 4,
        "cross_attention_dim": 8,
        "norm_num_groups": 8,
    },
    source="test",
)


def pixel_case() -> tuple[nn.Module, Callable[[], mx.array]]:
    network = UNet2DModel(PIXELS)
    z, t = mx.random.normal((4, 16, 16, 3)), mx.array([1.0, 300.0, 600.0, 999.0])
    return network, lambda: network(z, t)


def latent_case() -> tuple[nn.Module, Callable[[], mx.array]]:
    network = UNet2DConditionModel(LATENTS)
    z, t = mx.random.normal((4, 16, 16, 4)), mx.array([1.0, 300.0, 600.0, 999.0])
    condition = {"encoder_hidden_states": mx.random.normal((4, 7, 8))}
    return network, lambda: network(z, t, condition)


@pytest.mark.parametrize("make", [pixel_case, latent_case])
def test_gradients_stay_the_same_and_the_peak_falls(
    make: Callable[[], tuple[nn.Module, Callable[[], mx.array]]],
) -> None:
    mx.random.seed(0)
    network, forward = make()
    weights = network.parameters()
    mx.eval(weights, forward())

    def gradients(is_recomputed: bool) -> tuple[dict[str, mx.array], int]:
        def loss(parameters: dict) -> mx.array:
            network.update(parameters)
            with recomputed_activations(network, is_recomputed):
                return (forward() ** 2).mean()

        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        found = mx.grad(loss)(weights)
        mx.eval(found)
        peak = mx.get_peak_memory() - before
        network.update(weights)
        return dict(tree_flatten(found)), peak

    kept, kept_peak = gradients(is_recomputed=False)
    again, again_peak = gradients(is_recomputed=True)
    assert kept.keys() == again.keys()
    for name, value in kept.items():
        assert mx.allclose(value, again[name], rtol=1e-5, atol=1e-7).item(), name
    assert again_peak < 0.75 * kept_peak


def test_recomputing_ends_with_the_block() -> None:
    network, _ = pixel_case()
    blocks = [module for module in network.modules() if isinstance(module, Recomputing)]
    with recomputed_activations(network):
        assert all(block._recomputes for block in blocks)
    assert len(blocks) == 5
    assert not any(block._recomputes for block in blocks)
