"""A model that carries its schedule, grid and solver: copies, frozen forms, one door."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine import hardware
from engine.diffusion.grid import spaced_grid
from engine.models.diffusion import DiffusionModel


def weights_of(model: DiffusionModel) -> dict[str, mx.array]:
    return dict(tree_flatten(model.network.parameters()))


@pytest.fixture
def condition() -> dict[str, mx.array]:
    return {"class_labels": mx.array([0, 1, 2, 0])}


@pytest.fixture
def noise(unit_normal: Callable[..., np.ndarray]) -> mx.array:
    return mx.array(unit_normal(4, 4, 4, 1))


@pytest.mark.usefixtures("eager")
def test_a_student_begins_as_its_teacher(
    make_model: Callable[..., DiffusionModel], noise: mx.array, condition: dict[str, mx.array]
) -> None:
    teacher = make_model(steps=6, clip_range=0.5, solver="dpmpp_2m")
    student = teacher.student()
    assert student.solver == "ddim"
    assert student.clip_range is None
    t = mx.full((4,), 500.0)
    np.testing.assert_array_equal(student(noise, t, condition), teacher(noise, t, condition))


@pytest.mark.usefixtures("eager")
def test_a_student_is_independent_of_its_teacher(
    make_model: Callable[..., DiffusionModel],
    noise: mx.array,
    condition: dict[str, mx.array],
    shift_output: Callable,
) -> None:
    teacher = make_model(steps=6)
    before = np.array(teacher.sample(noise, condition))
    student = teacher.student()
    shift_output(student, 1.0)
    np.testing.assert_array_equal(teacher.sample(noise, condition), before)
    assert np.abs(np.array(student.sample(noise, condition)) - before).max() > 0.1


@pytest.mark.usefixtures("eager")
def test_a_student_of_a_frozen_narrow_teacher_is_wide_and_can_learn(
    make_model: Callable[..., DiffusionModel],
) -> None:
    teacher = make_model(steps=6).frozen_as(mx.bfloat16)
    assert not tree_flatten(teacher.network.trainable_parameters())
    student = teacher.student()
    assert {value.dtype for value in weights_of(student).values()} == {mx.float32}
    assert (
        dict(tree_flatten(student.network.trainable_parameters())).keys()
        == weights_of(student).keys()
    )


@pytest.mark.usefixtures("eager")
def test_a_student_of_a_quantised_teacher_has_plain_weights(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    exact = make_model(steps=6, channels=32)
    teacher = exact.frozen_as(mx.float32, bits=8)
    student = teacher.student()
    assert weights_of(student).keys() == weights_of(exact).keys()
    z, t, condition = (
        mx.array(unit_normal(3, 4, 4, 1)),
        mx.full((3,), 500.0),
        {"class_labels": mx.array([0, 1, 2])},
    )
    np.testing.assert_allclose(student(z, t, condition), teacher(z, t, condition), atol=1e-3)


@pytest.mark.usefixtures("eager")
def test_float32_without_bits_is_the_model_itself(
    make_model: Callable[..., DiffusionModel],
) -> None:
    model = make_model()
    assert model.frozen_as(mx.float32) is model


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("dtype", "bits", "tolerance"),
    [(mx.bfloat16, None, 0.05), (mx.float32, 8, 0.02), (mx.bfloat16, 8, 0.05)],
)
def test_a_frozen_form_predicts_nearly_the_same_in_float32(
    dtype: mx.Dtype,
    bits: int | None,
    tolerance: float,
    make_model: Callable[..., DiffusionModel],
    unit_normal: Callable[..., np.ndarray],
) -> None:
    exact = make_model(channels=32)
    narrow = exact.frozen_as(dtype, bits)
    z, t, condition = (
        mx.array(unit_normal(6, 4, 4, 1)),
        mx.full((6,), 400.0),
        {"class_labels": mx.zeros(6, mx.int32)},
    )
    wanted, found = np.array(exact(z, t, condition)), np.array(narrow(z, t, condition))
    assert narrow(z, t, condition).dtype == mx.float32
    assert 0 < np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()
    quantised = [
        module for module in narrow.network.modules() if isinstance(module, nn.QuantizedLinear)
    ]
    assert bool(quantised) is (bits is not None)


@pytest.mark.usefixtures("eager")
def test_another_grid_shares_the_weights(
    make_model: Callable[..., DiffusionModel], noise: mx.array, condition: dict[str, mx.array]
) -> None:
    model = make_model(steps=6)
    other = model.with_grid(spaced_grid(model.schedule, "trailing", 3), "dpmpp_2m")
    assert other.network is model.network
    assert (other.steps, other.solver, model.steps, model.solver) == (3, "dpmpp_2m", 6, "ddim")
    np.testing.assert_array_equal(
        other.sample(noise, condition),
        model.sample(noise, condition, grid=other.grid, solver="dpmpp_2m"),
    )


@pytest.mark.usefixtures("eager")
def test_clipping_is_for_ddim_alone(
    make_model: Callable[..., DiffusionModel], noise: mx.array, condition: dict[str, mx.array]
) -> None:
    clipped, plain = make_model(steps=6, clip_range=0.1), make_model(steps=6)
    assert np.abs(np.array(clipped.sample(noise, condition))).max() <= 0.1
    for solver in ("dpmpp_2m", "euler"):
        np.testing.assert_array_equal(
            clipped.sample(noise, condition, solver=solver),
            plain.sample(noise, condition, solver=solver),
        )


def test_a_compiled_forward_sees_weights_that_change_later(
    make_model: Callable[..., DiffusionModel],
    noise: mx.array,
    condition: dict[str, mx.array],
    shift_output: Callable,
) -> None:
    if not hardware.can_compile():
        pytest.skip("MLX cannot compile here")
    model, t = make_model(), mx.full((4,), 500.0)
    forward = model.compiled_forward()
    before = np.array(forward(noise, t, condition))
    np.testing.assert_allclose(before, model(noise, t, condition), atol=1e-5)
    shift_output(model, 1.0)
    np.testing.assert_allclose(forward(noise, t, condition), before + 1.0, atol=1e-5)
    assert model.compiled_forward() is forward
