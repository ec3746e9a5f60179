"""One optimiser step, held against what it is said to be."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine import hardware
from engine.diffusion.noise import x0_and_eps
from engine.models.diffusion import DiffusionModel
from engine.settings import TrainingSettings
from engine.training.states import Batch, loss_weights
from engine.training.trainer import Trainer, parameters_of


def weights_of(model: DiffusionModel) -> dict[str, np.ndarray]:
    return {key: np.array(value) for key, value in tree_flatten(model.network.parameters())}


@pytest.fixture
def batch(unit_normal: Callable[..., np.ndarray]) -> Batch:
    return Batch(
        mx.array(unit_normal(12, 4, 4, 1)),
        mx.array(0.5 * unit_normal(12, 4, 4, 1, seed=1)),
        mx.array(np.arange(12, dtype=np.int32) % 3),
        {"class_labels": mx.array(np.arange(12, dtype=np.int32) % 3)},
    )


@pytest.fixture
def trainer_of(make_model: Callable[..., DiffusionModel]) -> Callable[..., Trainer]:
    def make(
        *,
        iterations: int = 100,
        learning_rate: float = 1e-2,
        student: DiffusionModel | None = None,
        **changes: object,
    ) -> Trainer:
        arguments = {
            key: changes.pop(key)
            for key in ("compute_dtype", "snapshot", "micro_batch_size", "is_recomputed")
            if key in changes
        }
        settings = TrainingSettings(**({"warmup_steps": 0} | changes))  # pyright: ignore[reportArgumentType]
        student = student or make_model(steps=3).student()
        return Trainer(
            student,
            settings,
            iterations=iterations,
            learning_rate=learning_rate,
            is_compiled=False,
            **arguments,  # pyright: ignore[reportArgumentType]
        )

    return make


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_the_loss_is_the_weighted_error_of_the_clean_estimate(
    kind: str,
    batch: Batch,
    trainer_of: Callable[..., Trainer],
    make_model: Callable[..., DiffusionModel],
) -> None:
    student = make_model(steps=3, prediction_type=kind).student()
    trainer = trainer_of(student=student, loss_weight="truncated_snr")
    grid, point = student.grid, np.array(batch.point)
    alpha, sigma, weight = (
        np.array(table, np.float32)[point].reshape(-1, 1, 1, 1)
        for table in (grid.alphas, grid.sigmas, loss_weights(grid, "truncated_snr", 100.0))
    )
    t = mx.array(np.array(grid.timesteps, np.float32)[point])
    assert batch.condition.keys() == {"class_labels"}
    prediction = student(batch.z, t, batch.condition)
    x0, _ = x0_and_eps(prediction, batch.z, mx.array(alpha), mx.array(sigma), kind)  # pyright: ignore[reportArgumentType]
    wanted = float((weight * np.array((x0 - batch.target) ** 2)).mean())
    loss, norm = trainer.step(batch)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert float(norm) > 0


@pytest.mark.parametrize("how", [{}, {"micro_batch_size": 4, "is_recomputed": True}])
def test_a_compiled_step_is_the_eager_step(
    how: dict, batch: Batch, make_model: Callable[..., DiffusionModel]
) -> None:
    if not hardware.can_compile():
        pytest.skip("MLX cannot compile here")
    ends = []
    for is_compiled in (True, False):
        (mx.enable_compile if is_compiled else mx.disable_compile)()
        try:
            student = make_model(steps=3).student()
            trainer = Trainer(
                student,
                TrainingSettings(),
                iterations=100,
                learning_rate=1e-3,
                is_compiled=is_compiled,
                **how,
            )
            losses = [trainer.step(batch)[0].item() for _ in range(3)]
            ends.append((losses, weights_of(student)))
        finally:
            mx.enable_compile()
    (compiled_losses, compiled), (eager_losses, eager) = ends
    assert compiled_losses == pytest.approx(eager_losses, rel=1e-5)
    # Adam divides by the size of a gradient: where that is rounding, so is the direction
    close = [np.abs(compiled[key] - eager[key]) < 1e-6 for key in eager]
    assert np.mean(np.concatenate([part.ravel() for part in close])) > 0.98


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("part", [1, 4, 5, 12, 100])
def test_a_gradient_summed_over_parts_is_that_of_the_batch(
    part: int, batch: Batch, trainer_of: Callable[..., Trainer]
) -> None:
    whole, parted = trainer_of(ema_decay=0.5), trainer_of(ema_decay=0.5, micro_batch_size=part)
    for _ in range(2):
        loss, norm = whole.step(batch)
        parted_loss, parted_norm = parted.step(batch)
        assert parted_loss.item() == pytest.approx(loss.item(), rel=1e-5)
        assert parted_norm.item() == pytest.approx(norm.item(), rel=1e-4)
    wanted, found = whole.snapshot(), parted.snapshot()
    assert wanted.keys() == found.keys()
    for key in (name for name in wanted if ".v." in name or name.endswith(".v")):
        np.testing.assert_allclose(found[key], wanted[key], rtol=1e-3, atol=1e-9)


@pytest.mark.usefixtures("eager")
def test_parts_need_less_memory_than_the_whole(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    count = 240
    large = Batch(
        mx.array(unit_normal(count, 4, 4, 1)),
        mx.array(unit_normal(count, 4, 4, 1, seed=1)),
        mx.array(np.arange(count, dtype=np.int32) % 3),
        {"class_labels": mx.array(np.arange(count, dtype=np.int32) % 3)},
    )

    def peak_of(part: int) -> int:
        trainer = Trainer(
            make_model(steps=3).student(),
            TrainingSettings(),
            iterations=10,
            learning_rate=1e-3,
            is_compiled=False,
            micro_batch_size=part,
        )
        trainer.step(large)
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        trainer.step(large)
        return mx.get_peak_memory() - before

    whole, parted = peak_of(count), peak_of(24)
    assert parted < 0.3 * whole


@pytest.mark.usefixtures("eager")
def test_training_lowers_the_loss(batch: Batch, trainer_of: Callable[..., Trainer]) -> None:
    trainer = trainer_of(learning_rate=5e-3)
    losses = [float(trainer.step(batch)[0]) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.usefixtures("eager")
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(
    batch: Batch, trainer_of: Callable[..., Trainer]
) -> None:
    trainer = trainer_of(iterations=40, learning_rate=1e-3, warmup_steps=4)
    rates = []
    for _ in range(40):
        trainer.step(batch)
        rates.append(trainer.learning_rate)
    peak = int(np.argmax(rates))
    assert 2 <= peak <= 5
    assert max(rates) == pytest.approx(1e-3, rel=0.01)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 0 <= rates[-1] <= 1e-3 * 2 / 36


@pytest.mark.usefixtures("eager")
def test_a_short_stage_is_not_all_warm_up(batch: Batch, trainer_of: Callable[..., Trainer]) -> None:
    trainer = trainer_of(iterations=5, learning_rate=1e-3, warmup_steps=1000)
    trainer.step(batch)
    assert trainer.learning_rate == pytest.approx(1e-3)


@pytest.mark.usefixtures("eager")
def test_clipping_bounds_the_gradient_and_reports_it_unclipped(
    batch: Batch, trainer_of: Callable[..., Trainer]
) -> None:
    """Adam forgets the gradient's scale, so what a clip changes is seen in its moments."""
    for clip in (1e6, 1e-3):
        trainer = trainer_of(gradient_clip=clip)
        _, norm = trainer.step(batch)
        moments = {
            k: v
            for k, v in trainer.snapshot().items()
            if k.startswith("optimizer.") and k.endswith(".m")
        }
        used = np.sqrt(sum(((value / 0.1) ** 2).sum() for value in moments.values()))
        assert used == pytest.approx(min(clip, float(norm)), rel=1e-3)


@pytest.mark.usefixtures("eager")
def test_the_average_is_what_is_kept(batch: Batch, trainer_of: Callable[..., Trainer]) -> None:
    trainer = trainer_of(ema_decay=0.5)
    average = weights_of(trainer.student)
    for step in range(1, 13):
        trainer.step(batch)
        share = min(0.5, (1 + step) / (10 + step))  # a young average forgets faster
        for key, value in weights_of(trainer.student).items():
            average[key] = share * average[key] + (1 - share) * value
    last = weights_of(trainer.student)
    looked_at = weights_of(trainer.averaged_student())
    trainer.keep_average()
    kept = weights_of(trainer.student)
    for key, value in average.items():
        np.testing.assert_allclose(kept[key], value, atol=1e-5)
        np.testing.assert_array_equal(kept[key], looked_at[key])
    assert any(not np.array_equal(kept[key], last[key]) for key in kept)


@pytest.mark.usefixtures("eager")
def test_without_an_average_the_last_weights_are_kept(
    batch: Batch, trainer_of: Callable[..., Trainer]
) -> None:
    trainer = trainer_of(ema_decay=0.0)
    trainer.step(batch)
    last = weights_of(trainer.student)
    trainer.keep_average()
    for key, value in weights_of(trainer.student).items():
        np.testing.assert_array_equal(value, last[key])


@pytest.mark.usefixtures("eager")
def test_master_weights_stay_float32_and_keep_what_bfloat16_would_lose(
    batch: Batch, trainer_of: Callable[..., Trainer]
) -> None:
    """1 + 1e-3 is 1 in bfloat16: a narrow weight would never move at a small rate."""
    trainer = trainer_of(compute_dtype=mx.bfloat16, learning_rate=1e-5)
    before = weights_of(trainer.student)
    loss, norm = trainer.step(batch)
    assert loss.dtype == norm.dtype == mx.float32
    state = trainer.snapshot()
    assert {
        value.dtype for key, value in state.items() if key.startswith(("network.", "average."))
    } == {np.dtype(np.float32)}
    after = weights_of(trainer.student)
    moved = np.concatenate([np.abs(after[key] - before[key]).ravel() for key in after])
    assert np.median(moved) > 1e-6
    assert np.median(moved) < 2e-5


@pytest.mark.usefixtures("eager")
def test_a_narrow_forward_gives_nearly_the_same_loss(
    batch: Batch, trainer_of: Callable[..., Trainer]
) -> None:
    wide, narrow = (
        trainer_of(compute_dtype=dtype).step(batch)[0].item() for dtype in (mx.float32, mx.bfloat16)
    )
    assert narrow == pytest.approx(wide, rel=0.03)
    assert narrow != wide


@pytest.mark.usefixtures("eager")
def test_training_goes_on_from_a_snapshot_to_the_same_bytes(
    batch: Batch, trainer_of: Callable[..., Trainer], make_model: Callable[..., DiffusionModel]
) -> None:
    whole = trainer_of(warmup_steps=3)
    for _ in range(10):
        whole.step(batch)

    first = trainer_of(warmup_steps=3)
    for _ in range(4):
        first.step(batch)
    other = make_model(steps=3, seed=9).student()  # whatever it was, the snapshot is what counts
    second = trainer_of(student=other, warmup_steps=3, snapshot=first.snapshot())
    for _ in range(6):
        second.step(batch)
    wanted, found = whole.snapshot(), second.snapshot()
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.usefixtures("eager")
def test_a_copy_of_weights_is_not_touched_by_training(
    batch: Batch, trainer_of: Callable[..., Trainer]
) -> None:
    trainer = trainer_of()
    kept = parameters_of(trainer.student.network)
    before = {key: np.array(value) for key, value in tree_flatten(kept)}
    trainer.step(batch)
    for key, value in tree_flatten(kept):
        np.testing.assert_array_equal(value, before[key])
