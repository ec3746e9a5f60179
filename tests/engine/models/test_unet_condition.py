"""What the prompt-reading UNet promises its callers; test_unet.py holds it against diffusers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from engine.errors import DataError
from engine.models.checkpoint import load_checkpoint, make_network, save_network
from engine.models.unet_condition import UNet2DConditionConfig, UNet2DConditionModel

TINY = {
    "block_out_channels": [4, 8],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "attention_head_dim": 2,
    "cross_attention_dim": 6,
}
TEXT_TIME = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 29,
}
TEXT = mx.random.normal((1, 5, 6), key=mx.random.key(1))
Z = mx.random.normal((1, 4, 4, 4), key=mx.random.key(2))


def tiny_network(**changes: Any) -> UNet2DConditionModel:
    mx.random.seed(0)
    return UNet2DConditionModel(
        UNet2DConditionConfig.from_dict(TINY | changes, source="config.json")
    )


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: value.shape for key, value in dict(tree_flatten(network.parameters())).items()}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("sd15_unet", 859_520_964),
        ("sd21_unet", 865_910_724),
        ("sdxl_unet", 2_567_463_684),
    ],
)
def test_published_networks_have_the_published_number_of_parameters(
    name: str, count: int, fixtures: Path
) -> None:
    """Only shapes are asked for, so no weight is ever made."""
    path = fixtures / "published" / f"{name}.json"
    family, network = make_network(json.loads(path.read_text()), source=str(path))
    assert family == "unet2d_condition"
    assert sum(math.prod(shape) for shape in shapes(network).values()) == count


def test_the_prompt_matters_to_every_attention() -> None:
    network = tiny_network()
    other = mx.random.normal((1, 5, 6), key=mx.random.key(3))
    first = network(Z, 7, {"encoder_hidden_states": TEXT})
    assert not mx.allclose(first, network(Z, 7, {"encoder_hidden_states": other}), atol=1e-4)


def test_the_order_of_tokens_does_not_matter_to_attention() -> None:
    """Positions are in the text encoder; here the prompt is a set."""
    network = tiny_network()
    first = network(Z, 7, {"encoder_hidden_states": TEXT})
    turned = network(Z, 7, {"encoder_hidden_states": TEXT[:, ::-1]})
    assert mx.allclose(first, turned, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 7), (1, 3), (6, 4), (9, 12)])
def test_odd_sizes_come_back_as_they_went_in(size: tuple[int, int]) -> None:
    assert tiny_network()(mx.zeros((1, *size, 4)), 0, {"encoder_hidden_states": TEXT}).shape == (
        1,
        *size,
        4,
    )


def test_sizes_and_the_whole_prompt_are_told_to_a_network_like_sdxl() -> None:
    network = tiny_network(**TEXT_TIME)
    condition = {
        "encoder_hidden_states": TEXT,
        "text_embeds": mx.ones((1, 5)),
        "time_ids": mx.array([[512, 512, 0, 0, 512, 512]]),
    }
    first = network(Z, 7, condition)
    smaller = condition | {"time_ids": mx.array([[64, 512, 0, 0, 512, 512]])}
    assert not mx.allclose(first, network(Z, 7, smaller), atol=1e-5)
    other = condition | {"text_embeds": mx.zeros((1, 5))}
    assert not mx.allclose(first, network(Z, 7, other), atol=1e-5)


def test_a_guidance_scale_may_be_told_and_zero_is_as_good_as_none() -> None:
    network = tiny_network(time_cond_proj_dim=3)
    condition = {"encoder_hidden_states": TEXT}
    first = network(Z, 7, condition)
    assert mx.array_equal(first, network(Z, 7, condition | {"timestep_cond": mx.zeros((1, 3))}))
    told = network(Z, 7, condition | {"timestep_cond": mx.ones((1, 3))})
    assert not mx.allclose(first, told, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"num_class_embeds": 5}, mx.array([3])),
        ({"class_embed_type": "timestep"}, mx.array([3.5])),
        ({"class_embed_type": "identity"}, mx.ones((1, 16))),
        (
            {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 7},
            mx.ones((1, 7)),
        ),
        (
            {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": 7},
            mx.ones((1, 7)),
        ),
    ],
)
def test_labels_of_every_kind_are_read(changes: dict[str, Any], labels: mx.array) -> None:
    network = tiny_network(**changes)
    condition = {"encoder_hidden_states": TEXT, "class_labels": labels}
    first = network(Z, 7, condition)
    other = network(Z, 7, condition | {"class_labels": mx.zeros_like(labels)})
    assert not mx.allclose(first, other, atol=1e-6)


def test_depths_may_differ_by_attention_and_on_the_way_up() -> None:
    network = tiny_network(
        transformer_layers_per_block=[[2], 3],
        reverse_transformer_layers_per_block=[1, [4, 0]],
    )
    keys = shapes(network).keys()
    depths = {
        name: len({key.split(".")[5] for key in keys if key.startswith(f"{name}.transformer")})
        for name in (
            "down_blocks.0.attentions.0",
            "up_blocks.1.attentions.0",
            "up_blocks.1.attentions.1",
        )
    }
    assert list(depths.values()) == [2, 4, 0]
    middle = {key.split(".")[4] for key in keys if "mid_block.attentions.0.transformer" in key}
    assert len(middle) == 3


def test_without_its_attention_the_middle_is_one_residual_block() -> None:
    """So it is in diffusers, unlike in UNet2DModel."""
    keys = shapes(tiny_network(mid_block_type="UNetMidBlock2D")).keys()
    assert {key.split(".")[2] for key in keys if key.startswith("mid_block.")} == {"0"}
    assert not any(key.startswith("mid_block") for key in shapes(tiny_network(mid_block_type=None)))


@pytest.mark.parametrize(("is_linear", "ndim"), [(True, 2), (False, 4)])
def test_projections_are_linear_or_convolutions(is_linear: bool, ndim: int) -> None:
    found = shapes(tiny_network(use_linear_projection=is_linear))
    assert len(found["down_blocks.0.attentions.0.proj_in.weight"]) == ndim


def test_scores_are_made_in_float32_where_the_config_asks() -> None:
    """In float32 that changes nothing; in half precision only the last digits."""
    plain, upcast = tiny_network(), tiny_network(upcast_attention=True)
    condition = {"encoder_hidden_states": TEXT}
    assert mx.array_equal(plain(Z, 7, condition), upcast(Z, 7, condition))
    for network in (plain, upcast):
        network.set_dtype(mx.bfloat16)
    assert mx.allclose(plain(Z, 7, condition), upcast(Z, 7, condition), atol=0.05)


@pytest.mark.parametrize(
    ("changes", "condition", "message"),
    [
        ({}, None, r"no encoder_hidden_states: give them with shape \(1, L, 6\)"),
        ({}, {"encoder_hidden_states": TEXT[0]}, r"encoder_hidden_states have shape \(5, 6\)"),
        ({}, {"encoder_hidden_states": TEXT[..., :5]}, r"\(1, L, 6\) is wanted"),
        ({}, {"encoder_hidden_states": TEXT, "prompt": TEXT}, "The condition names prompt"),
        (
            {},
            {"encoder_hidden_states": TEXT, "time_ids": mx.zeros((1, 6))},
            "time_ids were given, but this network has no use for them",
        ),
        (TEXT_TIME, {"encoder_hidden_states": TEXT}, r"no text_embeds: give them with shape"),
        (
            TEXT_TIME,
            {
                "encoder_hidden_states": TEXT,
                "text_embeds": mx.zeros((1, 5)),
                "time_ids": mx.zeros((1, 5)),
            },
            r"make 5 \+ 5 x 4 = 25 numbers for each sample, but 29 are wanted",
        ),
        (
            {},
            {"encoder_hidden_states": TEXT, "timestep_cond": mx.zeros((1, 3))},
            "timestep_cond was given, but this network has no use",
        ),
        (
            {},
            {"encoder_hidden_states": TEXT, "class_labels": mx.array([1])},
            "this network has no classes: omit them",
        ),
        (
            {"num_class_embeds": 3},
            {"encoder_hidden_states": TEXT},
            r"class-conditional: give class_labels of shape \(1,\)",
        ),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(
    changes: dict[str, Any], condition: dict[str, mx.array] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        tiny_network(**changes)(Z, 0, condition)


def test_saved_and_loaded_again_the_tensors_are_the_same_bytes(
    checkpoint_of: Callable, tmp_path: Path
) -> None:
    for name in ("sd15", "sd21v"):
        first = checkpoint_of(name)
        save_network(first.network, tmp_path / name, first.network_config)
        again = load_checkpoint(tmp_path / name)
        before = dict(tree_flatten(first.network.parameters()))
        after = dict(tree_flatten(again.network.parameters()))
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert bytes(memoryview(value)) == bytes(memoryview(after[key])), key
