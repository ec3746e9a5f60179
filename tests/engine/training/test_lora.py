"""A stage of adapters alone: the base stays as it was, and a killed one ends in the same bytes."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine.models.diffusion import DiffusionModel
from engine.models.lora import adapters, unfuse
from engine.settings import HardwareSettings, LoraSettings, TrainingSettings
from engine.training.distill import (
    ProgressiveDistillation,
    StageConfig,
    uniform_subset,
)
from engine.training.progress import ProgressKeeper, TrainingProgress
from engine.training.states import Batch
from engine.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("eager")

LORA = LoraSettings(enabled=True, rank=2, alpha=2.0)


def arrays(network: Any) -> dict[str, np.ndarray]:
    return {key: np.array(value) for key, value in tree_flatten(network.parameters())}


def is_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def factors(model: DiffusionModel) -> dict[str, np.ndarray]:
    return {key: value for key, value in arrays(model.network).items() if ".lora_" in key}


@pytest.fixture
def teacher(make_model: Callable[..., DiffusionModel]) -> DiffusionModel:
    return make_model(steps=12)


@pytest.fixture
def manager() -> ProgressiveDistillation:
    training = TrainingSettings(
        iterations=[6], trajectories=16, batch_size=6, learning_rate=1e-2, report_every=1
    )
    return ProgressiveDistillation(training, HardwareSettings(compile=False), lora=LORA)


def test_only_adapters_learn(teacher: DiffusionModel, manager: ProgressiveDistillation) -> None:
    before = arrays(teacher.network)
    (stage,) = manager.create_distillation_stages(teacher, 4, stage_count=1)
    student = manager.distill_stage(teacher, stage.student_model, stage)
    assert isinstance(student, DiffusionModel)
    assert is_same(arrays(teacher.network), before)
    assert is_same(arrays(unfuse(student.network)), before)
    assert all(
        np.abs(np.array(one.lora_B.weight)).max() > 0 for _, one in adapters(student.network)
    )


def test_each_stage_goes_on_from_the_adapter_of_the_one_before(
    teacher: DiffusionModel, manager: ProgressiveDistillation
) -> None:
    first, second = manager.create_distillation_stages(teacher, 3, stage_count=2)
    manager.distill_stage(first.teacher_model, first.student_model, first)
    learnt = factors(first.student_model)  # pyright: ignore[reportArgumentType]
    seen: list[dict[str, np.ndarray]] = []
    manager.training.learning_rate = 1e-12
    manager.on_step = lambda report, trainer: seen.append(factors(trainer.student))
    manager.distill_stage(second.teacher_model, second.student_model, second)
    for key, value in seen[0].items():
        np.testing.assert_allclose(value, learnt[key], atol=1e-6)
    assert is_same(factors(first.student_model), learnt)  # pyright: ignore[reportArgumentType]


def test_a_checkpoint_of_a_stage_holds_adapters_alone(
    teacher: DiffusionModel, manager: ProgressiveDistillation
) -> None:
    student = manager.student_of(teacher, uniform_subset(teacher, 3))
    trainer = Trainer(student, manager.training, iterations=4, learning_rate=1e-3)
    kept = {key for key in trainer.snapshot() if not key.startswith("optimizer.")}
    names = factors(student).keys()
    assert kept == {f"{tree}.{name}" for tree in ("network", "average") for name in names}
    moments = [key for key in trainer.snapshot() if key.endswith((".m", ".v"))]
    assert len(moments) == 2 * len(names)


def test_a_look_during_training_sees_the_averaged_adapters_over_the_same_base(
    teacher: DiffusionModel, manager: ProgressiveDistillation
) -> None:
    looks: list[DiffusionModel] = []
    manager.on_step = lambda report, trainer: looks.append(trainer.averaged_student())
    student = manager.student_of(teacher, uniform_subset(teacher, 3))
    manager.distill_stage(teacher, student, {})
    assert is_same(factors(looks[-1]), factors(student))  # what a finished stage keeps
    assert not is_same(factors(looks[1]), factors(looks[0]))
    for look in looks:
        assert is_same(arrays(unfuse(look.network)), arrays(teacher.network))


@pytest.mark.parametrize("left_at", [1, 4])
def test_a_stage_taken_up_again_ends_in_the_same_bytes(
    left_at: int, teacher: DiffusionModel, manager: ProgressiveDistillation
) -> None:
    def student() -> DiffusionModel:
        return manager.student_of(teacher, uniform_subset(teacher, 3))

    whole = manager.distill_stage(teacher, student(), {})
    kept: list[TrainingProgress] = []

    class LeftError(Exception):
        pass

    def leave(save: Callable[[], Any] | None) -> None:
        assert save is not None
        save()
        if kept[-1].step == left_at:
            raise LeftError

    progress = ProgressKeeper(kept.append, lambda: kept[-1] if kept else None)
    manager.between_steps = leave
    with pytest.raises(LeftError):
        manager.distill_stage(teacher, student(), StageConfig(progress=progress))
    manager.between_steps = None
    again = manager.distill_stage(teacher, student(), StageConfig(progress=progress))
    assert is_same(arrays(again), arrays(whole))


def test_an_adapted_student_learns_to_take_its_teachers_steps_at_once(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    """On noise that nothing was trained on."""
    teacher = make_model(steps=12, class_count=None)
    grid = uniform_subset(teacher, 2)
    training = TrainingSettings(
        iterations=[100], trajectories=64, batch_size=16, learning_rate=1e-2
    )
    lora = LoraSettings(enabled=True, rank=4, alpha=4.0)
    manager = ProgressiveDistillation(training, HardwareSettings(compile=False), lora=lora)
    student = manager.distill_stage(teacher, manager.student_of(teacher, grid), {})
    assert isinstance(student, DiffusionModel)
    noise = mx.array(unit_normal(200, 4, 4, 1, seed=99))
    wanted, hurried = np.array(teacher.sample(noise)), np.array(teacher.sample(noise, grid=grid))
    error = ((np.array(student.sample(noise)) - wanted) ** 2).mean()
    assert error < 0.5 * ((hurried - wanted) ** 2).mean()


def test_a_quantised_teacher_teaches_an_adapted_student(
    make_model: Callable[..., DiffusionModel], manager: ProgressiveDistillation
) -> None:
    exact = make_model(steps=8, channels=32)
    student = manager.student_of(exact, uniform_subset(exact, 3))
    start = factors(student)
    manager.distill_stage(exact.frozen_as(mx.float32, 8), student, {})
    assert is_same(arrays(unfuse(student.network)), arrays(exact.network))
    assert not is_same(factors(student), start)


@pytest.mark.parametrize("how", [{"is_recomputed": True}, {"micro_batch_size": 2}])
def test_adapters_learn_the_same_whatever_is_kept_of_a_step(
    how: dict[str, Any], teacher: DiffusionModel, manager: ProgressiveDistillation
) -> None:
    rng = np.random.default_rng(0)
    z, target = (mx.array(rng.standard_normal((6, 4, 4, 1), dtype=np.float32)) for _ in range(2))
    labels = mx.array((np.arange(6) % 3).astype(np.int32))
    batch = Batch(z, target, labels, {"class_labels": labels})

    def trained(**how: Any) -> dict[str, np.ndarray]:
        student = manager.student_of(teacher, uniform_subset(teacher, 3))
        trainer = Trainer(student, manager.training, iterations=4, learning_rate=1e-3, **how)
        for _ in range(2):
            trainer.step(batch)
        return factors(student)

    plain, other = trained(), trained(**how)
    for key, value in plain.items():
        np.testing.assert_allclose(other[key], value, atol=2e-5)
