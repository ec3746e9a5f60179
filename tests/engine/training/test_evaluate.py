"""Measuring a sampler against the original: quality, anchors, time, memory."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from engine.diffusion.grid import spaced_grid
from engine.models.diffusion import DiffusionModel
from engine.training.conditions import Conditions, classes
from engine.training.evaluate import Cost, Evaluator, measure_cost, sample_all
from engine.training.noise_sets import NoiseSet

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def teacher(make_model: Callable[..., DiffusionModel]) -> DiffusionModel:
    return make_model(steps=8)


@pytest.fixture
def evaluator(teacher: DiffusionModel) -> Evaluator:
    noise_set = NoiseSet.select(80, teacher.sample_shape, classes(teacher.class_count))
    return Evaluator.against(teacher, noise_set, components=None, batch_size=32, resamples=100)


def test_the_teacher_run_again_is_exactly_itself(
    teacher: DiffusionModel, evaluator: Evaluator
) -> None:
    """The determinism check behind every score: same noise, same batches, same bytes."""
    np.testing.assert_array_equal(evaluator.samples_of(teacher), evaluator.teacher_samples)
    quality = evaluator.quality_of(teacher)
    assert quality.score == quality.lower_bound == 1


def test_a_student_that_knows_nothing_yet_is_the_teacher_hurried(
    teacher: DiffusionModel, evaluator: Evaluator
) -> None:
    grid = spaced_grid(teacher.schedule, "trailing", 2)
    assert evaluator.quality_of(teacher.student(grid)) == evaluator.quality_of(
        teacher, grid, "ddim"
    )


def test_more_steps_of_the_teacher_are_nearer(
    teacher: DiffusionModel, evaluator: Evaluator
) -> None:
    scores = [
        evaluator.quality_of(teacher, spaced_grid(teacher.schedule, "trailing", steps)).fidelity
        for steps in (1, 2, 4, 8)
    ]
    assert [s.value for s in scores] == sorted(s.value for s in scores)


def test_anchors_say_what_a_score_is_blind_to(evaluator: Evaluator) -> None:
    assert evaluator.blurred_anchor().score < 0.95
    other = evaluator.other_seed_anchor()
    assert other.fidelity.value < 0.1
    assert other.distribution is not None
    assert other.distribution.value > 0.9


def test_looks_are_counted_by_the_name_of_the_noise(
    teacher: DiffusionModel, evaluator: Evaluator
) -> None:
    assert evaluator.looks["select"] == 0
    for looks in (1, 2):
        evaluator.quality_of(teacher, spaced_grid(teacher.schedule, "trailing", 2))
        assert evaluator.looks["select"] == looks


def test_batches_make_no_difference(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    model, noise = make_model(steps=4), unit_normal(10, 4, 4, 1)
    labels = (np.arange(10) % 3).astype(np.int32)
    seen: list[tuple[int, int]] = []
    conditions = Conditions.of_labels(labels)
    whole = sample_all(model, noise, conditions, batch_size=10)
    parts = sample_all(
        model,
        noise,
        conditions,
        batch_size=4,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert seen == [(4, 10), (8, 10), (10, 10)]
    alone = model.sample(mx.array(noise[7:8]), {"class_labels": mx.array(labels[7:8])})
    np.testing.assert_allclose(whole[7:8], alone, atol=1e-5)


def test_progress_covers_both_runs_of_the_teacher(teacher: DiffusionModel) -> None:
    seen: list[tuple[int, int]] = []
    noise_set = NoiseSet.select(64, teacher.sample_shape, classes(teacher.class_count))
    Evaluator.against(
        teacher,
        noise_set,
        components=None,
        batch_size=32,
        resamples=100,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(32, 128), (64, 128), (96, 128), (128, 128)]


def test_components_for_another_set_are_fitted_on_all_of_this_one(evaluator: Evaluator) -> None:
    components = evaluator.components_for(1000)
    both = np.concatenate([evaluator.teacher_samples, evaluator.other_samples])
    assert components.basis.shape == (16, min(16, len(both) // 10))


def test_a_cost_is_measured_for_both_and_says_how(teacher: DiffusionModel) -> None:
    noise_set = NoiseSet.final(64, teacher.sample_shape, classes(teacher.class_count))
    student = teacher.student(spaced_grid(teacher.schedule, "trailing", 2))
    looks: list[tuple[int, int]] = []
    cost = measure_cost(
        teacher,
        student,
        noise_set,
        batch_size=16,
        repeats=5,
        on_repeat=lambda *at: looks.append(at),
    )
    assert looks == [(repeat, 6) for repeat in range(6) for _ in range(2)]
    assert (cost.batch_size, cost.repeats) == (16, 5)
    assert cost.original_seconds > 0
    assert cost.optimized_seconds > 0
    assert cost.original_peak_bytes > 0


def test_ratios_are_what_their_names_say() -> None:
    cost = Cost(10.0, 2.0, 1000, 750, batch_size=8, repeats=5)
    assert cost.speedup == 5
    assert cost.memory_reduction == 0.25
    assert Cost(1.0, 1.0, 100, 150, 1, 5).memory_reduction == -0.5
