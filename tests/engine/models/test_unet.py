"""The UNet against real diffusers in float64, and what it promises its callers."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine.errors import DataError
from engine.models.checkpoint import Checkpoint, network_tensors
from engine.models.unet import UNet2DConfig, UNet2DModel

# Against diffusers 0.42 in float64 (scripts/make_fixtures.py); its own float32 is off by 1e-6.
OUTPUT_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
FIXTURES = [
    "ddpm_cifar",
    "adm_pipeline",
    "ddpm_flat",
    "learned_sharded",
    "middleless_half",
    "sd15",
    "sd21v",
    "sdxl",
    "sd_labels",
]
CONDITIONS = ("class_labels", "encoder_hidden_states", "text_embeds", "time_ids", "timestep_cond")
TINY = {
    "block_out_channels": [4, 8],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "attention_head_dim": None,
}


class Case:
    """A fixture's network with its reference, NHWC on our side and NCHW on theirs."""

    def __init__(self, checkpoint: Checkpoint, reference: dict[str, np.ndarray]) -> None:
        # in the fixtures that hold more than a network, its keys carry its name
        self.tensors = {key.removeprefix("unet."): value for key, value in reference.items()}
        self.network = checkpoint.network
        self.z = mx.array(self.tensors["in"].transpose(0, 2, 3, 1))
        self.condition = {}
        for key in CONDITIONS:
            if key in self.tensors:
                value = self.tensors[key]
                value = value.astype(np.int32) if value.dtype == np.int64 else value
                self.condition[key] = mx.array(value)

    def loss(self, network: nn.Module, z: mx.array, t: float) -> mx.array:
        """Return the scalar whose gradients the reference holds."""
        cotangent = mx.array(self.tensors["grad.cotangent"].transpose(0, 2, 3, 1))
        return (network(z, t, self.condition) * cotangent).mean()


@pytest.fixture(params=FIXTURES)
def case(request: pytest.FixtureRequest, checkpoint_of: Callable, reference_of: Callable) -> Case:
    """Every fixture in turn."""
    return Case(checkpoint_of(request.param), reference_of(request.param))


def nchw(array: mx.array) -> np.ndarray:
    return np.array(array.transpose(0, 3, 1, 2))


def tiny_network(**changes: object) -> UNet2DModel:
    mx.random.seed(0)
    return UNet2DModel(UNet2DConfig.from_dict(TINY | changes, source="config.json"))


def test_outputs_equal_diffusers_at_every_timestep(case: Case, relative_error: Callable) -> None:
    keys = [key for key in case.tensors if key.startswith("out.t")]
    assert len(keys) >= 3
    for key in keys:
        t = float(key.removeprefix("out.t"))
        out = nchw(case.network(case.z, t, case.condition))
        assert relative_error(out, case.tensors[key]) < OUTPUT_TOLERANCE, key


def test_each_sample_may_have_its_own_timestep(case: Case, relative_error: Callable) -> None:
    key = "batch_t." if "batch_t.out" in case.tensors else ""
    timesteps = mx.array(case.tensors[f"{key}timesteps"])
    out = nchw(case.network(case.z, timesteps, case.condition))
    assert relative_error(out, case.tensors[f"{key}out" if key else "out.batch"]) < OUTPUT_TOLERANCE


def test_gradients_equal_diffusers(case: Case, relative_error: Callable) -> None:
    """With respect to the input and, in the small fixtures, to every parameter."""
    t = 9 if "out.t9" in case.tensors else 999 if "out.t0.25" in case.tensors else 759
    input_grad = mx.grad(lambda z: case.loss(case.network, z, t))(case.z)
    assert relative_error(nchw(input_grad), case.tensors["grad.input"]) < GRADIENT_TOLERANCE

    gradients = mx.grad(lambda tree: case.loss(with_weights(case.network, tree), case.z, t))(
        case.network.trainable_parameters()
    )
    found = network_tensors(with_weights(case.network, gradients))
    wanted = {
        key.removeprefix("grad.param."): value
        for key, value in case.tensors.items()
        if key.startswith("grad.param.")
    }
    assert len(wanted) >= 7
    largest = max(np.abs(value).max() for value in wanted.values())
    for key, value in wanted.items():
        # a gradient that is zero in exact arithmetic (a key's bias) has no scale of its own
        scale = max(float(np.abs(value).max()), 1e-3 * largest)
        assert np.abs(found[key] - value).max() < GRADIENT_TOLERANCE * scale, key


@pytest.mark.parametrize("name", ["ddpm_cifar", "sd15", "sd21v"])
def test_gradient_norms_of_all_parameters_equal_diffusers(
    name: str, fixtures: Path, checkpoint_of: Callable, reference_of: Callable
) -> None:
    """The large fixtures list a norm for each parameter instead of the gradients themselves."""
    case = Case(checkpoint_of(name), reference_of(name))
    meta = json.loads((fixtures / name / "reference.json").read_text())["meta"]
    wanted = meta["unet.grad.norms"]
    gradients = mx.grad(lambda tree: case.loss(with_weights(case.network, tree), case.z, 759))(
        case.network.trainable_parameters()
    )
    found = dict(tree_flatten(gradients))
    assert found.keys() == wanted.keys()
    for key, norm in wanted.items():
        assert float(mx.linalg.norm(found[key])) == pytest.approx(norm, rel=1e-4, abs=1e-8), key


def with_weights(network: nn.Module, tree: dict) -> nn.Module:
    """Return a network with the same structure around other arrays."""
    twin = copy.deepcopy(network)
    return twin.update(tree)


@pytest.mark.parametrize("name", ["adm_pipeline", "ddpm_flat"])
def test_compiled_equals_eager(
    name: str, checkpoint_of: Callable, reference_of: Callable, relative_error: Callable
) -> None:
    """One trace serves every timestep, and the table inside it loses nothing."""
    case = Case(checkpoint_of(name), reference_of(name))
    network = case.network
    forward = mx.compile(lambda z, t: network(z, t, case.condition), inputs=network.state)
    for key in (key for key in case.tensors if key.startswith("out.t")):
        t = mx.array(float(key.removeprefix("out.t")))
        eager = network(case.z, t, case.condition)
        assert relative_error(forward(case.z, t), np.array(eager)) < 1e-6
        assert relative_error(nchw(forward(case.z, t)), case.tensors[key]) < OUTPUT_TOLERANCE


def test_parameter_names_are_those_of_the_file(case: Case) -> None:
    wanted = {key.removeprefix("grad.param.") for key in case.tensors if "grad.param." in key}
    assert wanted <= network_tensors(case.network).keys()


def test_all_arrays_are_parameters(case: Case) -> None:
    """Nothing frozen hides in the module's state, which compiled steps take as their input."""
    state = tree_flatten(case.network.state)
    arrays = {key for key, value in state if isinstance(value, mx.array)}
    assert arrays == dict(tree_flatten(case.network.parameters())).keys()


def test_a_copy_is_independent() -> None:
    network = tiny_network()
    twin = copy.deepcopy(network)
    z = mx.ones((1, 4, 4, 3))
    before = network(z, 3)
    assert mx.array_equal(twin(z, 3), before)
    twin.conv_out.bias = twin.conv_out.bias + 1
    assert mx.array_equal(network(z, 3), before)
    assert mx.allclose(twin(z, 3), before + 1, rtol=0, atol=1e-5)


def test_weights_in_bfloat16_answer_in_the_dtype_of_the_state() -> None:
    network = tiny_network()
    z = mx.random.normal((1, 4, 4, 3), key=mx.random.key(0))
    exact = network(z, 500)
    network.set_dtype(mx.bfloat16)
    assert network(z, 500).dtype == mx.float32
    assert network(z.astype(mx.bfloat16), 500).dtype == mx.bfloat16
    assert mx.allclose(network(z, 500), exact, rtol=0, atol=0.1)


def test_timestep_may_be_a_scalar_or_a_batch() -> None:
    network = tiny_network()
    z = mx.random.normal((3, 4, 4, 3), key=mx.random.key(0))
    wanted = network(z, 7)
    for t in (7.0, mx.array(7), mx.array([7]), mx.full((3,), 7.0), mx.full((3,), 7, mx.int32)):
        assert mx.array_equal(network(z, t), wanted)


@pytest.mark.parametrize("act_fn", ["silu", "swish", "mish", "gelu", "relu"])
def test_every_activation_runs(act_fn: str) -> None:
    assert tiny_network(act_fn=act_fn)(mx.zeros((1, 4, 6, 3)), 0).shape == (1, 4, 6, 3)


def test_middle_without_attention_has_no_attention_parameters() -> None:
    keys = dict(tree_flatten(tiny_network(add_attention=False).parameters())).keys()
    assert not any(key.startswith("mid_block.attentions") for key in keys)
    assert any(key.startswith("mid_block.resnets.1") for key in keys)


def test_scale_shift_leaves_the_middle_attention_without_a_norm() -> None:
    """So it is in diffusers, where only attn_norm_num_groups brings the norm back."""
    norm = "mid_block.attentions.0.group_norm.weight"
    assert norm in dict(tree_flatten(tiny_network().parameters()))
    shifted = {"resnet_time_scale_shift": "scale_shift"}
    assert norm not in dict(tree_flatten(tiny_network(**shifted).parameters()))
    asked_for = tiny_network(**shifted, attn_norm_num_groups=4)
    assert norm in dict(tree_flatten(asked_for.parameters()))


@pytest.mark.parametrize(
    ("changes", "condition", "message"),
    [
        ({}, {"class_labels": mx.array([1])}, "this network has no classes: omit them"),
        ({}, {"prompt": mx.array([1])}, "The condition names prompt, but this network reads"),
        ({"num_class_embeds": 5}, None, r"class-conditional: give class_labels of shape \(1,\)"),
        ({"num_class_embeds": 5}, {}, "class-conditional: give class_labels"),
        (
            {"num_class_embeds": 5},
            {"class_labels": mx.array([1, 2])},
            r"class_labels have shape \(2,\), but \(1,\) is wanted",
        ),
        (
            {"num_class_embeds": 5},
            {"class_labels": mx.array([1.0])},
            "float32, but whole numbers",
        ),
        (
            {"class_embed_type": "identity"},
            {"class_labels": mx.array([1])},
            r"class_labels have shape \(1,\), but \(1, 16\) is wanted",
        ),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(
    changes: dict, condition: dict | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        tiny_network(**changes)(mx.zeros((1, 4, 4, 3)), 0, condition)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 4, 1), r"z has shape \(1, 4, 4, 1\), but \(B, H, W, 3\) is wanted"),
        ((4, 4, 3), r"z has shape \(4, 4, 3\)"),
        ((1, 4, 5, 3), "height 4 and width 5, .* halves them 1 times: multiples of 2"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tiny_network()(mx.zeros(shape), 0)


def test_timesteps_that_do_not_match_the_batch_are_refused() -> None:
    with pytest.raises(DataError, match=r"t has shape \(3,\), but a scalar or \(2,\)"):
        tiny_network()(mx.zeros((2, 4, 4, 3)), mx.array([1, 2, 3]))
