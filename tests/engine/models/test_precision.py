"""A base held in fewer bits: what adapters train on, what is exported, how far teachers move."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from engine.export.student import plain_network
from engine.models.diffusion import DiffusionModel
from engine.models.loading import load_model
from engine.models.lora import adapters, shared_copy
from engine.models.precision import GROUP, widened
from engine.settings import LoraSettings, Precision, TrainingSettings
from engine.training.states import Batch
from engine.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("eager")

NARROW: tuple[Precision, ...] = ("bfloat16", "int8")
LORA = LoraSettings(enabled=True, rank=2, alpha=2.0)


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return load_model("bundled:tiny-sd", steps=4).model


@pytest.fixture(scope="module")
def given() -> tuple[mx.array, dict[str, mx.array]]:
    """Noise and a prompt's embedding, of random numbers."""
    rng = np.random.default_rng(0)
    width = load_model("bundled:tiny-sd").checkpoint.network_config["cross_attention_dim"]
    noise = mx.array(rng.standard_normal((4, 8, 8, 4), dtype=np.float32))
    text = mx.array(rng.standard_normal((4, 77, width), dtype=np.float32))
    return noise, {"encoder_hidden_states": text}


def bytes_of(network: nn.Module) -> int:
    return sum(value.nbytes for value in arrays(network).values())


def moved(student: DiffusionModel, *, by: float = 0.1) -> DiffusionModel:
    """Return a student whose adapters do something."""
    rng = np.random.default_rng(1)
    for _, layer in adapters(student.network):
        shape = layer.lora_B.weight.shape
        layer.lora_B.weight = mx.array(by * rng.standard_normal(shape, dtype=np.float32))
    return student


def arrays(network: nn.Module) -> dict[str, mx.array]:
    return dict(tree_flatten(network.parameters()))


def relative(found: mx.array, wanted: mx.array) -> float:
    return float(mx.abs(found - wanted).max() / mx.abs(wanted).max())


def narrowed(model: DiffusionModel, precision: Precision) -> DiffusionModel:
    """Return the model held in less, apart from the one that all tests share."""
    held = model.with_grid(model.grid, network=shared_copy(model.network))
    held.narrow(precision)
    return held


def held_at_once(model: DiffusionModel, precision: Precision) -> DiffusionModel:
    """Return what narrowing comes to, by MLX's own means and all tensors together."""
    network = shared_copy(model.network)
    if precision == "bfloat16":
        network.update(tree_map(lambda p: p.astype(mx.bfloat16), network.parameters()))
    else:
        nn.quantize(
            network,
            group_size=GROUP,
            bits=8,
            class_predicate=lambda _, m: isinstance(m, nn.Linear) and m.weight.shape[-1] % 32 == 0,
        )
    network.freeze()
    return model.with_grid(model.grid, network=network)


def test_what_is_not_narrowed_keeps_its_arrays(model: DiffusionModel) -> None:
    kept, wanted = arrays(narrowed(model, "float32").network), arrays(model.network)
    assert {name: id(value) for name, value in kept.items()} == {
        name: id(value) for name, value in wanted.items()
    }


@pytest.mark.parametrize(("precision", "share"), [("bfloat16", 0.5), ("int8", 0.9)])
def test_a_held_base_is_smaller_and_the_original_stays(
    precision: Precision, share: float, model: DiffusionModel
) -> None:
    before = bytes_of(model.network)
    held = narrowed(model, precision)
    assert bytes_of(held.network) <= share * before
    assert bytes_of(model.network) == before
    assert not tree_flatten(held.network.trainable_parameters())


@pytest.mark.parametrize("precision", NARROW)
def test_a_network_narrowed_itself_is_the_one_held_and_needs_no_room_beside(
    precision: Precision, model: DiffusionModel, given: tuple
) -> None:
    wanted = held_at_once(model, precision)
    fresh = load_model("bundled:tiny-sd", steps=4).model
    mx.eval(fresh.network.parameters(), wanted.network.parameters())
    before, size = mx.get_active_memory(), bytes_of(fresh.network)
    mx.reset_peak_memory()
    fresh.narrow(precision)
    largest = max(value.nbytes for value in arrays(model.network).values())
    assert mx.get_peak_memory() - before <= largest
    saved = size - bytes_of(fresh.network)
    assert before - mx.get_active_memory() >= 0.8 * saved > 0  # small arrays take whole pages
    found, held = arrays(fresh.network), arrays(wanted.network)
    assert found.keys() == held.keys()
    for key, value in held.items():
        assert found[key].dtype == value.dtype
        assert mx.array_equal(found[key], value)
    assert mx.array_equal(fresh.sample(*given), wanted.sample(*given))
    assert fresh.network.trainable_parameters() == wanted.network.trainable_parameters()


@pytest.mark.parametrize(("precision", "most"), [("bfloat16", 0.01), ("int8", 0.005)])
def test_the_teachers_samples_move_little(
    precision: Precision, most: float, model: DiffusionModel, given: tuple
) -> None:
    moved_by = relative(narrowed(model, precision).sample(*given), model.sample(*given))
    assert 1e-6 < moved_by < most


@pytest.mark.parametrize("precision", NARROW)
def test_a_student_starts_as_the_held_teacher_and_shares_its_arrays(
    precision: Precision, model: DiffusionModel, given: tuple
) -> None:
    held = narrowed(model, precision)
    student = held.student(lora=LORA)
    ours = {id(value) for value in arrays(held.network).values()}
    frozen = [value for name, value in arrays(student.network).items() if ".lora_" not in name]
    assert all(id(value) in ours for value in frozen)
    np.testing.assert_array_equal(student.sample(*given), held.sample(*given))


@pytest.mark.parametrize("precision", NARROW)
def test_an_export_computes_what_the_gate_saw(
    precision: Precision, model: DiffusionModel, given: tuple
) -> None:
    """In float32, from the base as it was held: not from the weights that were once loaded."""
    student = moved(narrowed(model, precision).student(lora=LORA))
    plain = plain_network(student)
    for name, value in arrays(plain).items():
        assert value.dtype == mx.float32, name
    shapes = {name: value.shape for name, value in arrays(model.network).items()}
    assert {name: value.shape for name, value in arrays(plain).items()} == shapes
    exported = student.with_grid(student.grid, network=plain)
    assert relative(exported.sample(*given), student.sample(*given)) < 1e-4


@pytest.mark.parametrize("precision", NARROW)
def test_training_moves_adapters_in_float32_and_leaves_the_base(
    precision: Precision, model: DiffusionModel, given: tuple
) -> None:
    held = narrowed(model, precision)
    student = held.student(lora=LORA)
    before = {
        name: np.array(value.astype(mx.float32))
        for name, value in arrays(held.network).items()
        if value.dtype != mx.uint32
    }
    dtype = mx.bfloat16 if precision == "bfloat16" else mx.float32
    trainer = Trainer(
        student, TrainingSettings(warmup_steps=0), iterations=3, learning_rate=1e-2,
        compute_dtype=dtype, is_compiled=False,
    )  # fmt: skip
    noise, condition = given
    batch = Batch(noise, 0.5 * noise, mx.array([0, 1, 2, 3], mx.int32), condition)
    losses = [float(trainer.step(batch)[0]) for _ in range(3)]
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()
    for name, value in dict(tree_flatten(student.network.trainable_parameters())).items():
        assert value.dtype == mx.float32, name
    for name, value in arrays(held.network).items():
        if name in before:
            np.testing.assert_array_equal(np.array(value.astype(mx.float32)), before[name])


def test_widening_undoes_what_holding_did_but_for_rounding(model: DiffusionModel) -> None:
    wanted = dict(tree_flatten(model.network.parameters()))
    for precision, most in (("bfloat16", 2**-8), ("int8", 2**-7)):
        again = dict(tree_flatten(widened(narrowed(model, precision).network).parameters()))  # type: ignore[arg-type]
        assert again.keys() == wanted.keys()
        for name, value in wanted.items():
            assert float(mx.abs(again[name] - value).max()) <= most * float(mx.abs(value).max())
