"""What a stage is: its teacher, its grid, its number of steps, and what is refused."""

from collections.abc import Callable
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest

from engine.config import even_ratio_steps
from engine.diffusion.grid import spaced_grid
from engine.errors import ConfigError
from engine.models.diffusion import DiffusionModel
from engine.records import DistillationStage
from engine.training.distill import ProgressiveDistillation, StageConfig, uniform_subset
from tests.engine.training.distill.weights import same_bytes, weights_of

pytestmark = pytest.mark.usefixtures("eager")


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


def test_stages_past_the_list_are_trained_as_long_as_the_last(
    distillation: Callable[..., ProgressiveDistillation],
) -> None:
    manager = distillation(iterations=[5, 7])
    assert [manager.iterations_of(number) for number in (1, 2, 3, 9)] == [5, 7, 7, 7]
