"""Guidance is u + g (c - u) from one forward of two batches, and a student has none of it."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.diffusion.grid import spaced_grid
from engine.diffusion.noise import NoiseSchedule
from engine.models.diffusion import Condition, DiffusionModel
from engine.models.guidance import Guidance, conditional
from engine.settings import TrainingSettings
from engine.training.states import Batch
from engine.training.trainer import Trainer


class Told(nn.Module):
    """Predicts z scaled by the first number of its prompt, and counts the states it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = mx.ones((1,))
        self.seen: list[tuple[int, tuple[str, ...]]] = []

    def __call__(self, z: mx.array, t: mx.array, condition: Condition) -> mx.array:
        self.seen.append((len(z), tuple(sorted(condition))))
        word = condition["encoder_hidden_states"][:, 0, 0].reshape(-1, 1, 1, 1)
        scale = condition["time_ids"][:, 0].reshape(-1, 1, 1, 1)
        return self.gain * (z * word + scale)


@pytest.fixture
def condition() -> Condition:
    return {
        "encoder_hidden_states": mx.array([[[2.0]], [[3.0]]]),
        "uncond_encoder_hidden_states": mx.array([[[0.5]], [[0.5]]]),
        "time_ids": mx.array([[1.0], [4.0]]),
    }


@pytest.fixture
def model(linear_schedule: NoiseSchedule) -> DiffusionModel:
    return DiffusionModel(
        Told(),
        linear_schedule,
        spaced_grid(linear_schedule, "trailing", 4),
        prediction_type="epsilon",
        sample_shape=(2, 2, 1),
    )


@pytest.fixture
def z(unit_normal: Callable[..., np.ndarray]) -> mx.array:
    return mx.array(unit_normal(2, 2, 2, 1))


def seen(model: DiffusionModel) -> list[tuple[int, tuple[str, ...]]]:
    assert isinstance(model.network, Told)
    return model.network.seen


def test_a_guided_prediction_is_one_forward_of_both_conditions(
    model: DiffusionModel, condition: Condition, z: mx.array
) -> None:
    found = model.guided(Guidance(7.5))(z, mx.array([5.0, 5.0]), condition)
    word, extra = np.array([2.0, 3.0]), np.array([1.0, 4.0])
    c = np.array(z) * word.reshape(-1, 1, 1, 1) + extra.reshape(-1, 1, 1, 1)
    u = np.array(z) * 0.5 + extra.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(found, u + 7.5 * (c - u), rtol=1e-5)
    assert seen(model) == [(4, ("encoder_hidden_states", "time_ids"))]


def test_rescaling_in_full_gives_the_deviation_of_the_conditional_prediction(
    model: DiffusionModel, condition: Condition, z: mx.array
) -> None:
    t = mx.array([5.0, 5.0])
    plain, led = model(z, t, condition), model.guided(Guidance(5.0))(z, t, condition)
    full = model.guided(Guidance(5.0, rescale=1.0))(z, t, condition)
    half = model.guided(Guidance(5.0, rescale=0.5))(z, t, condition)
    np.testing.assert_allclose(
        np.std(np.array(full), axis=(1, 2, 3)), np.std(np.array(plain), axis=(1, 2, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(half, (np.array(full) + np.array(led)) / 2, rtol=1e-5)


def test_a_scale_of_one_is_the_conditional_prediction_in_half_the_batch(
    model: DiffusionModel, condition: Condition, z: mx.array
) -> None:
    one = model.guided(Guidance(1.0))
    assert one.guidance is None
    found = one(z, mx.array([5.0, 5.0]), condition)
    assert seen(model) == [(2, ("encoder_hidden_states", "time_ids"))]
    np.testing.assert_array_equal(found, model(z, mx.array([5.0, 5.0]), conditional(condition)))


def test_a_guided_model_stays_so_on_other_grids_and_its_student_does_not(
    model: DiffusionModel,
) -> None:
    guided = model.guided(Guidance(4.0, 0.3))
    assert guided.with_grid(guided.grid, "dpmpp_2m").guidance == Guidance(4.0, 0.3)
    assert guided.frozen_as(mx.bfloat16).guidance == Guidance(4.0, 0.3)
    student = guided.student()
    assert student.guidance is None
    assert student.prediction_type == "epsilon"
    assert guided.student(prediction_type="v_prediction").prediction_type == "v_prediction"


def test_a_student_trains_on_its_own_condition_alone(
    model: DiffusionModel, condition: Condition, z: mx.array, eager: None
) -> None:
    student = model.guided(Guidance(4.0)).student()
    trainer = Trainer(student, TrainingSettings(), iterations=10, learning_rate=1e-3)
    seen(student).clear()
    trainer.step(Batch(z, z, mx.array([0, 1], mx.int32), condition))
    assert seen(student) == [(2, ("encoder_hidden_states", "time_ids"))]


def test_guidance_away_from_nothing_is_refused(model: DiffusionModel, z: mx.array) -> None:
    words = {"encoder_hidden_states": mx.ones((2, 1, 1)), "time_ids": mx.ones((2, 1))}
    with pytest.raises(ValueError, match="without an uncond_"):
        model.guided(Guidance(4.0))(z, mx.array([5.0, 5.0]), words)


@pytest.mark.parametrize(("scale", "rescale"), [(0.5, 0.0), (2.0, 1.5), (2.0, -0.1)])
def test_a_scale_below_one_and_a_share_above_one_are_refused(scale: float, rescale: float) -> None:
    with pytest.raises(ValueError, match="wanted a scale from 1"):
        Guidance(scale, rescale)
