"""CLIP's text encoders against transformers in float32, and what they promise their callers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine.errors import CheckpointError, DataError
from engine.models.folder import find_weights
from engine.models.text import CLIPTextConfig, CLIPTextModel, text_key
from engine.models.weights import load_weights

TOLERANCE = 3e-6  # calibrated with MLX 0.32.4 on a CPU; measured there: 4e-7
TINY = {
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 16,
    "projection_dim": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 7,
    "eos_token_id": 19,
}
IDS = mx.array([[18, 4, 5, 19, 19, 19]])


def tiny_encoder(has_projection: bool = False, **changes: Any) -> CLIPTextModel:
    mx.random.seed(0)
    config = CLIPTextConfig.from_dict(TINY | changes, source="config.json")
    return CLIPTextModel(config, has_projection=has_projection)


def load(folder: Path, *, has_projection: bool = False) -> CLIPTextModel:
    config = json.loads((folder / "config.json").read_text())
    encoder = CLIPTextModel(
        CLIPTextConfig.from_dict(config, source="config.json"), has_projection=has_projection
    )
    load_weights(
        encoder,
        find_weights(folder, "model.safetensors"),
        folder / "config.json",
        partial(text_key, has_projection=has_projection),
    )
    return encoder


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("sd15", "text_encoder"),
        ("sd21v", "text_encoder"),
        ("sdxl", "text_encoder"),
        ("sdxl", "text_encoder_2"),
    ],
)
def test_prompts_are_encoded_as_transformers_does(
    name: str, component: str, fixtures: Path, reference_of: Callable, relative_error: Callable
) -> None:
    reference = reference_of(name)
    encoder = load(fixtures / name / component, has_projection=component.endswith("2"))
    encoded = encoder(mx.array(reference[f"{component}.input_ids"].astype(np.int32)))
    pooled = "pooled" if name == "sdxl" else "pooler_output"
    for found, key in (
        (encoded.last, "last_hidden_state"),
        (encoded.penultimate, "hidden_states.-2"),
        (encoded.pooled, pooled),
    ):
        assert relative_error(found, reference[f"{component}.{key}"]) < TOLERANCE, key


def test_keys_with_and_without_the_prefix_are_the_same(
    copy_of: Callable, rewrite: Callable, fixtures: Path
) -> None:
    folder = copy_of("sd15") / "text_encoder"

    def drop_prefix(tensors: dict[str, np.ndarray]) -> None:
        for key in list(tensors):
            tensors[key.removeprefix("text_model.")] = tensors.pop(key)

    rewrite(folder / "model.safetensors", drop_prefix)
    ids = mx.array([[537, 3, 538]])
    found, wanted = load(folder)(ids), load(fixtures / "sd15" / "text_encoder")(ids)
    assert mx.array_equal(found.last, wanted.last)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("sd15_text_encoder", 123_060_480),
        ("sd21_text_encoder", 340_387_840),
        ("sdxl_text_encoder_2", 694_659_840),
    ],
)
def test_published_encoders_have_the_published_number_of_parameters(
    name: str, count: int, fixtures: Path
) -> None:
    """Only shapes are asked for, so no weight is ever made."""
    config = json.loads((fixtures / "published" / f"{name}.json").read_text())
    encoder = CLIPTextModel(
        CLIPTextConfig.from_dict(config, source=name), has_projection=name.endswith("2")
    )
    assert sum(value.size for value in dict(tree_flatten(encoder.parameters())).values()) == count


def test_what_is_no_parameter_is_left_alone() -> None:
    assert text_key("text_model.embeddings.position_ids", has_projection=True) is None
    assert text_key("text_projection.weight", has_projection=False) is None
    assert text_key("text_projection.weight", has_projection=True) == "text_projection.weight"
    assert text_key("text_model.final_layer_norm.bias", has_projection=True) == (
        "final_layer_norm.bias"
    )


def test_a_token_sees_those_before_it_alone() -> None:
    encoder = tiny_encoder()
    changed = mx.array([[18, 4, 5, 19, 3, 3]])
    first, second = encoder(IDS).last, encoder(changed).last
    assert mx.allclose(first[:, :4], second[:, :4], rtol=0, atol=1e-6)
    assert not mx.allclose(first[:, 4:], second[:, 4:], atol=1e-3)


def test_the_whole_prompt_is_read_at_its_first_end() -> None:
    encoded = tiny_encoder()(IDS)
    assert mx.array_equal(encoded.pooled, encoded.last[:, 3])


def test_an_end_of_2_means_the_highest_id_as_it_did_before_transformers_4_31() -> None:
    encoder = tiny_encoder(eos_token_id=2)
    encoded = encoder(mx.array([[18, 2, 5, 19, 1, 1]]))
    assert mx.array_equal(encoded.pooled, encoded.last[:, 3])


def test_a_projection_is_of_the_whole_prompt() -> None:
    encoder = tiny_encoder(has_projection=True)
    encoded = encoder(IDS)
    assert encoded.pooled.shape == (1, 6)
    assert encoder.text_projection is not None
    assert mx.allclose(
        encoded.pooled, encoded.last[:, 3] @ encoder.text_projection.weight.T, atol=1e-6
    )


def test_the_penultimate_state_is_what_the_last_layer_reads() -> None:
    encoder = tiny_encoder()
    encoded = encoder(IDS)
    after = encoder.encoder.layers[-1](encoded.penultimate)
    assert mx.allclose(encoder.final_layer_norm(after), encoded.last, atol=1e-6)


def test_more_tokens_than_positions_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(1, 8\), but \(N, L\) with L at most 7"):
        tiny_encoder()(mx.zeros((1, 8), mx.int32))


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("model_type", "t5", "clip_text_model is wanted. Other text encoders"),
        ("use_attention_mask", True, "False is wanted"),
        ("hidden_act", "gelu_new", "one of quick_gelu, gelu"),
        ("num_attention_heads", 3, "a divisor of hidden_size, 8,"),
        ("vocab_size", 0, "a whole number from 1"),
        ("eos_token_id", [1, 2], "a token's number"),
        ("layer_norm_eps", -1, "a number above 0"),
    ],
)
def test_what_is_not_supported_is_refused_by_key(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^config\.json: {key} is .*{wanted}"):
        tiny_encoder(**{key: value})
