"""What a student learns, from what it starts, and how a stage ends."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.errors import TrainingError
from engine.models.diffusion import DiffusionModel
from engine.records import StepReport
from engine.training.conditions import Conditions
from engine.training.distill import ProgressiveDistillation, StageConfig, uniform_subset
from engine.training.progress import ProgressKeeper, TrainingProgress
from tests.engine.training.distill.weights import same_bytes, weights_of

pytestmark = pytest.mark.usefixtures("eager")


@pytest.mark.parametrize("states", ["rollout", "data", "trajectory"])
def test_on_its_teachers_own_grid_a_student_starts_and_stays_the_teacher(
    states: str,
    teacher: DiffusionModel,
    distillation: Callable[..., ProgressiveDistillation],
    unit_normal: Callable[..., np.ndarray],
) -> None:
    losses: list[float] = []
    manager = distillation(0.5 * unit_normal(10, 4, 4, 1), states=states, learning_rate=1e-9)
    manager.image_conditions = Conditions.of_labels((np.arange(10) % 3).astype(np.int32))
    manager.on_step = lambda report, trainer: losses.append(report.loss)
    student = manager.distill_stage(teacher, teacher.student(), {})
    assert max(losses) < 1e-8
    for key, value in weights_of(student).items():
        np.testing.assert_allclose(value, weights_of(teacher)[key], atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    make_model: Callable[..., DiffusionModel], distillation: Callable[..., ProgressiveDistillation]
) -> None:
    def trained(seed: int) -> dict[str, np.ndarray]:
        teacher = make_model(steps=8)
        student = teacher.student(uniform_subset(teacher, 3))
        return weights_of(distillation(seed=seed).distill_stage(teacher, student, {}))

    first = trained(0)
    assert same_bytes(first, trained(0))
    assert not same_bytes(first, trained(1))


def test_stages_and_tries_draw_apart(
    make_model: Callable[..., DiffusionModel], distillation: Callable[..., ProgressiveDistillation]
) -> None:
    def trained(**config: Any) -> dict[str, np.ndarray]:
        teacher = make_model(steps=8)
        return weights_of(
            distillation().distill_stage(
                teacher, teacher.student(uniform_subset(teacher, 3)), config
            )
        )

    ends = [
        trained(**c)
        for c in ({}, {"stage_number": 2}, {"seed_path": (1, 2)}, {"seed_path": (2, 1)})
    ]
    assert not any(same_bytes(a, b) for i, a in enumerate(ends) for b in ends[:i])


@pytest.mark.parametrize("states", ["rollout", "trajectory"])
def test_a_distilled_student_is_nearer_to_its_teacher_than_the_teacher_hurried(
    states: str,
    gaussian_model: Callable[..., DiffusionModel],
    make_model: Callable[..., DiffusionModel],
    distillation: Callable[..., ProgressiveDistillation],
    unit_normal: Callable[..., np.ndarray],
) -> None:
    """On noise that nothing was trained on."""
    teacher = make_model(steps=12, class_count=None)
    grid = uniform_subset(teacher, 2)
    manager = distillation(
        states=states,
        iterations=[100],
        trajectories=64,
        batch_size=16,
        learning_rate=5e-3,
        refresh_steps=50,
    )
    losses: list[float] = []
    manager.on_step = lambda report, trainer: losses.append(report.loss)
    student = manager.distill_stage(teacher, teacher.student(grid), {})
    assert isinstance(student, DiffusionModel)

    noise = mx.array(unit_normal(200, 4, 4, 1, seed=99))
    wanted = np.array(teacher.sample(noise))
    hurried, distilled = (
        np.array(teacher.sample(noise, grid=grid)),
        np.array(student.sample(noise)),
    )
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    assert ((distilled - wanted) ** 2).mean() < 0.5 * ((hurried - wanted) ** 2).mean()


def test_the_second_stage_starts_from_the_trained_first_student(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    manager = distillation(learning_rate=1e-2)
    first, second = manager.create_distillation_stages(teacher, 3, stage_count=2)
    untrained = weights_of(second.student_model)
    manager.distill_stage(first.teacher_model, first.student_model, first)
    trained = weights_of(first.student_model)
    assert not same_bytes(untrained, trained)

    seen: list[dict[str, np.ndarray]] = []
    manager.training.learning_rate = 1e-12
    manager.on_step = lambda report, trainer: seen.append(weights_of(trainer.student))
    manager.distill_stage(second.teacher_model, second.student_model, second)
    for key, value in seen[0].items():
        np.testing.assert_allclose(value, trained[key], atol=1e-6)


def test_a_student_that_already_learnt_may_go_on(
    teacher: DiffusionModel,
    distillation: Callable[..., ProgressiveDistillation],
    shift_output: Callable,
) -> None:
    student = teacher.student(uniform_subset(teacher, 3))
    shift_output(student, 1.0)
    before = weights_of(student)
    distillation(learning_rate=1e-12).distill_stage(teacher, student, {"start_from_teacher": False})
    for key, value in weights_of(student).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)


def test_the_teacher_is_never_touched(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    before = weights_of(teacher)
    distillation(learning_rate=0.1).distill_stage(
        teacher, teacher.student(uniform_subset(teacher, 3)), {}
    )
    assert same_bytes(weights_of(teacher), before)


@pytest.mark.parametrize(
    "held",
    [{"dtype": mx.bfloat16}, {"dtype": mx.float32, "bits": 8}, {"dtype": mx.bfloat16, "bits": 4}],
)
def test_a_teacher_held_in_fewer_bits_teaches_a_float32_student(
    held: dict[str, Any],
    make_model: Callable[..., DiffusionModel],
    distillation: Callable[..., ProgressiveDistillation],
) -> None:
    """The student starts from the exact weights, not from those the teacher is held in."""
    exact = make_model(steps=8, channels=32)
    teacher, student = exact.frozen_as(**held), exact.student(uniform_subset(exact, 3))
    trained = distillation(learning_rate=1e-9).distill_stage(teacher, student, {})
    weights = weights_of(trained)
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    assert weights.keys() == weights_of(exact).keys()
    for key, value in weights_of(exact).items():
        np.testing.assert_allclose(weights[key], value, atol=1e-6)


def test_a_narrow_teacher_teaches_nearly_the_same(
    make_model: Callable[..., DiffusionModel], distillation: Callable[..., ProgressiveDistillation]
) -> None:
    losses: dict[str, list[float]] = {}
    for name, held in {"exact": None, "quantised": {"dtype": mx.float32, "bits": 8}}.items():
        exact = make_model(steps=8, channels=32)
        teacher = exact.frozen_as(**held) if held else exact
        manager, losses[name] = distillation(), []
        manager.on_step = lambda report, trainer, into=losses[name]: into.append(report.loss)
        manager.distill_stage(teacher, exact.student(uniform_subset(exact, 3)), {})
    assert losses["quantised"] == pytest.approx(losses["exact"], rel=0.2)
    assert losses["quantised"] != losses["exact"]


class Broken(nn.Module):
    """A network whose predictions are no numbers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def __call__(self, z: mx.array, t: mx.array, condition: dict[str, mx.array]) -> mx.array:
        """Return NaN."""
        return self.network(z, t, condition) * mx.array(float("nan"))


@pytest.mark.parametrize("states", ["rollout", "trajectory"])
def test_a_teacher_that_gives_no_numbers_ends_the_stage_and_leaves_the_student_as_it_was(
    states: str, teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    broken = teacher.with_grid(teacher.grid)
    broken.network = Broken(teacher.network)
    student = teacher.student(uniform_subset(teacher, 3))
    before, rates = weights_of(student), []
    config = StageConfig(start_from_teacher=False, on_diverged=lambda why, rate: rates.append(rate))
    with pytest.raises(
        TrainingError,
        match=r"stage 1 \(12 to 3 steps\): the loss is nan at step 1, at learning rates",
    ):
        distillation(states=states).distill_stage(broken, student, config)
    assert same_bytes(weights_of(student), before)
    assert rates == pytest.approx([1e-3 / 4, 1e-3 / 16, 1e-3 / 64])  # a bounded number of times


def test_a_rate_that_is_too_high_is_lowered_until_it_learns(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    student, rates, seen = teacher.student(uniform_subset(teacher, 3)), [], []
    manager = distillation()

    def fail_at_first(report: StepReport, trainer: Any) -> None:
        seen.append(report.learning_rate)
        if not rates:
            raise FloatingPointError("the loss is inf at step 1")

    manager.on_step = fail_at_first
    manager.distill_stage(
        teacher, student, StageConfig(on_diverged=lambda why, rate: rates.append(rate))
    )
    assert rates == [pytest.approx(2.5e-4)]
    assert seen[1] == pytest.approx(seen[0] / 4)


def test_a_stage_taken_up_again_ends_in_the_same_bytes(
    make_model: Callable[..., DiffusionModel], distillation: Callable[..., ProgressiveDistillation]
) -> None:
    """Wherever it was left: between two steps, and while states were made anew."""
    teacher = make_model(steps=8)
    manager = distillation(iterations=[8], refresh_steps=3, states="rollout")

    def student() -> DiffusionModel:
        return teacher.student(uniform_subset(teacher, 3))

    whole = weights_of(manager.distill_stage(teacher, student(), {}))
    for left_at, times in ((1, 1), (3, 1), (6, 1), (0, 2), (3, 2), (6, 3)):
        kept: list[TrainingProgress] = []

        class LeftError(Exception):
            pass

        def leave(
            save: Callable[[], Any] | None,
            left_at: int = left_at,
            times: int = times,
            kept: list = kept,
        ) -> None:
            assert save is not None
            save()
            if [progress.step for progress in kept].count(left_at) == times:
                raise LeftError

        manager.between_steps = leave
        progress = ProgressKeeper(
            keep=kept.append, recall=lambda kept=kept: kept[-1] if kept else None
        )
        with pytest.raises(LeftError):
            manager.distill_stage(teacher, student(), StageConfig(progress=progress))
        manager.between_steps = None
        found = weights_of(
            manager.distill_stage(teacher, student(), StageConfig(progress=progress))
        )
        assert same_bytes(found, whole), (left_at, times)


def test_reports_come_when_asked_for_and_at_the_end(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    reports: list[StepReport] = []
    calls: list[int] = []
    manager = distillation(iterations=[7], report_every=3)
    manager.on_step = lambda report, trainer: reports.append(report)
    manager.between_steps = lambda save: calls.append(1)
    manager.distill_stage(teacher, teacher.student(uniform_subset(teacher, 3)), {})
    assert [report.step for report in reports] == [3, 6, 7]
    assert {report.total_steps for report in reports} == {7}
    assert len(calls) == 7
    assert all(report.images_per_second > 0 and report.gradient_norm >= 0 for report in reports)


def test_a_pause_is_no_part_of_the_pace(
    teacher: DiffusionModel,
    distillation: Callable[..., ProgressiveDistillation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("engine.training.distill.monotonic", lambda: now[0])
    reports: list[StepReport] = []

    def half_an_hour(save: object) -> None:
        now[0] += 1800

    manager = distillation(iterations=[3], report_every=3, batch_size=8)
    manager.on_step = lambda report, trainer: reports.append(report)
    manager.between_steps = half_an_hour
    manager.distill_stage(teacher, teacher.student(uniform_subset(teacher, 3)), {})
    assert reports[0].images_per_second > 1e6, "the clock stood still while it worked"
