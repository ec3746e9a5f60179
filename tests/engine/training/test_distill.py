"""Stages of fewer and fewer steps: what a student starts from, what it learns, how it ends."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine.config import even_ratio_steps
from engine.diffusion.grid import spaced_grid
from engine.errors import ConfigError, TrainingError
from engine.models.diffusion import DiffusionModel
from engine.records import DistillationStage, StepReport
from engine.settings import HardwareSettings, TrainingSettings
from engine.training.conditions import Conditions
from engine.training.distill import (
    ProgressiveDistillation,
    StageConfig,
    uniform_subset,
)
from engine.training.progress import ProgressKeeper, TrainingProgress

pytestmark = pytest.mark.usefixtures("eager")


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    assert isinstance(model, DiffusionModel)
    return {key: np.array(value) for key, value in tree_flatten(model.network.parameters())}


def same_bytes(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    return one.keys() == two.keys() and all(one[key].tobytes() == two[key].tobytes() for key in one)


@pytest.fixture
def distillation() -> Callable[..., ProgressiveDistillation]:
    def make(images: np.ndarray | None = None, **changes: Any) -> ProgressiveDistillation:
        hardware: dict[str, Any] = {
            key: changes.pop(key)
            for key in list(changes)
            if key in HardwareSettings.__dataclass_fields__
        }
        training: dict[str, Any] = {
            "iterations": [6],
            "trajectories": 16,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "refresh_steps": 3,
            "report_every": 1,
        }
        hardware.setdefault("compile", False)
        return ProgressiveDistillation(
            TrainingSettings(**(training | changes)),
            HardwareSettings(**hardware),
            images,
        )

    return make


@pytest.fixture
def teacher(make_model: Callable[..., DiffusionModel]) -> DiffusionModel:
    return make_model(steps=12)


def test_each_stage_is_taught_by_the_student_before_it(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    manager = distillation()
    stages = manager.create_distillation_stages(teacher, 2, stage_count=3)
    assert stages is manager.distillation_stages
    assert [(s.stage_number, s.input_steps, s.output_steps) for s in stages] == [
        (1, 12, 7),
        (2, 7, 4),
        (3, 4, 2),
    ]
    assert stages[0].teacher_model is teacher
    assert stages[1].teacher_model is stages[0].student_model
    assert stages[2].teacher_model is stages[1].student_model
    for stage in stages:
        assert isinstance(stage.teacher_model, DiffusionModel)
        assert stage.grid is not None
        assert stage.teacher_model.grid.indices_of(stage.grid)[0] == 0


def test_any_ratio_is_a_stage(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    stages = distillation().create_distillation_stages(teacher, 1, stage_steps=[11, 3, 1])
    assert [s.output_steps for s in stages] == [11, 3, 1]
    assert (
        len(distillation().create_distillation_stages(teacher, 11, stage_count=3)) == 1
    )  # no room for three


def test_a_grid_may_be_given_by_its_number_of_steps(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    grid = teacher.grid.subset([0, 1, 11], "mine")
    (stage,) = distillation().create_distillation_stages(teacher, 3, stage_count=1, grids={3: grid})
    assert stage.grid is grid
    assert isinstance(stage.student_model, DiffusionModel)
    assert stage.student_model.grid is grid


@pytest.mark.parametrize("target", [12, 13, 0, -1])
def test_a_target_that_is_no_reduction_is_refused(
    target: int, teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    with pytest.raises(
        ConfigError, match=f"target_steps is {target}; the teacher takes 12, so choose 1 to 11"
    ):
        distillation().create_distillation_stages(teacher, target)


@pytest.mark.parametrize("steps", [[8, 8, 2], [6, 8, 2], [12, 2], [6, 3]])
def test_stage_steps_that_do_not_fall_to_the_target_are_refused(
    steps: list[int], teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    with pytest.raises(ConfigError, match="wanted counts falling from 12 to 2"):
        distillation().create_distillation_stages(teacher, 2, stage_steps=steps)


def test_only_a_model_that_carries_its_schedule_can_teach(
    distillation: Callable[..., ProgressiveDistillation], teacher: DiffusionModel
) -> None:
    with pytest.raises(ConfigError, match="the model is a Linear; wanted a DiffusionModel"):
        distillation().create_distillation_stages(nn.Linear(2, 2), 1)
    with pytest.raises(ConfigError, match="the model is a Linear; wanted a DiffusionModel"):
        distillation().distill_stage(teacher, nn.Linear(2, 2), {})


def test_steps_even_in_ratio_fall_strictly_and_end_at_the_target() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        original = int(rng.integers(2, 1000))
        target = int(rng.integers(1, original))
        stages = int(rng.integers(1, min(10, original - target) + 1))
        steps = even_ratio_steps(original, target, stages)
        assert len(steps) == stages
        assert steps[-1] == target
        assert all(a > b for a, b in zip([original, *steps], steps, strict=False))
    assert even_ratio_steps(64, 4, 4) == [32, 16, 8, 4]


def test_a_stage_a_config_and_a_mapping_mean_the_same(
    make_model: Callable[..., DiffusionModel], distillation: Callable[..., ProgressiveDistillation]
) -> None:
    ends = []
    for kind in ("stage", "config", "mapping"):
        manager, teacher = distillation(), make_model(steps=8)
        (stage,) = manager.create_distillation_stages(teacher, 2, stage_count=1)
        given: Any = {
            "stage": stage,
            "config": StageConfig(grid=stage.grid),
            "mapping": {"grid": stage.grid, "stage_number": 1},
        }[kind]
        assert isinstance(given, DistillationStage | StageConfig | dict)
        student = manager.distill_stage(stage.teacher_model, stage.student_model, given)
        assert student is stage.student_model
        ends.append(weights_of(student))
    assert same_bytes(ends[0], ends[1])
    assert same_bytes(ends[0], ends[2])


def test_an_unknown_key_of_a_stage_is_refused(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    with pytest.raises(
        ConfigError, match=r"stage_config: unknown key iteration; known are grid, iterations"
    ):
        distillation().distill_stage(teacher, teacher.student(), {"iteration": 3})


def test_a_student_off_its_teachers_grid_is_refused(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    student = teacher.student(spaced_grid(teacher.schedule, "leading", 4))
    with pytest.raises(ConfigError, match="the student's grid is not a subset of its teacher's"):
        distillation().distill_stage(teacher, student, {})


def test_noised_images_are_wanted_where_the_states_come_from_data(
    teacher: DiffusionModel, distillation: Callable[..., ProgressiveDistillation]
) -> None:
    with pytest.raises(ConfigError, match=r"training\.states is data but no images were given"):
        distillation(states="data").distill_stage(
            teacher, teacher.student(uniform_subset(teacher, 3)), {}
        )


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
    """Wherever it was left: within a pool of states, at its end, and after the last report."""
    teacher = make_model(steps=8)
    manager = distillation(iterations=[8], refresh_steps=3, states="rollout")

    def student() -> DiffusionModel:
        return teacher.student(uniform_subset(teacher, 3))

    whole = weights_of(manager.distill_stage(teacher, student(), {}))
    for left_at in (1, 3, 5, 6):
        kept: list[TrainingProgress] = []

        class LeftError(Exception):
            pass

        def leave(
            save: Callable[[], Any] | None, left_at: int = left_at, kept: list = kept
        ) -> None:
            assert save is not None
            save()
            if kept[-1].step == left_at:
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
        assert same_bytes(found, whole), left_at


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


def test_stages_past_the_list_are_trained_as_long_as_the_last(
    distillation: Callable[..., ProgressiveDistillation],
) -> None:
    manager = distillation(iterations=[5, 7])
    assert [manager.iterations_of(number) for number in (1, 2, 3, 9)] == [5, 7, 7, 7]
