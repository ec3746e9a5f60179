"""Training states and targets, held against brute force."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from engine.diffusion.grid import Grid, spaced_grid
from engine.diffusion.noise import NoiseSchedule
from engine.models.diffusion import DiffusionModel
from engine.training.conditions import Conditions
from engine.training.distill import uniform_subset
from engine.training.states import (
    StatePool,
    data_source,
    loss_weights,
    rollout_source,
    trajectory_source,
)
from engine.training.trajectories import Trajectories, record_trajectories

NONE = Conditions.none(20)

pytestmark = pytest.mark.usefixtures("eager")


def test_a_pool_reads_only_its_own_paths_and_is_the_same_from_the_whole_grid(
    gaussian_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    teacher = gaussian_model(steps=12)
    grid = uniform_subset(teacher, 4)
    whole = record_trajectories(
        teacher, unit_normal(20, 4, 4, 1), Conditions.none(20), batch_size=20
    )
    few = {"states": 8, "seed": (3,)}
    from_whole = trajectory_source(whole, grid, **few).renew(1, lambda: None)
    from_subset = trajectory_source(
        whole.on_subset(whole.grid.indices_of(grid)), grid, **few
    ).renew(1, lambda: None)
    assert from_whole.z.shape == (4, 2, 4, 4, 1)
    np.testing.assert_array_equal(from_whole.z, from_subset.z)
    np.testing.assert_array_equal(from_whole.target, from_subset.target)


def paths_of(
    teacher: DiffusionModel, noise: np.ndarray, grid: Grid, labels: np.ndarray | None = None
) -> Trajectories:
    conditions = Conditions.of_labels(labels, len(noise))
    paths = record_trajectories(teacher, noise, conditions, batch_size=64)
    return paths.on_subset(teacher.grid.indices_of(grid))


def landed(z: np.ndarray, x0: np.ndarray, grid: Grid, k: int) -> np.ndarray:
    """Return where one DDIM step of `grid` from point k lands with x0."""
    eps = (z - grid.alphas[k] * x0) / grid.sigmas[k]
    return grid.alphas[k + 1] * x0 + grid.sigmas[k + 1] * eps


def teacher_landing(teacher: DiffusionModel, z: np.ndarray, grid: Grid, k: int) -> np.ndarray:
    """Return where the teacher's own steps from point k of `grid` to its next point land."""
    indices = [*teacher.grid.indices_of(grid), teacher.grid.steps]
    denoise, state = teacher.denoise_at(teacher.grid, "ddim", {}), mx.array(z)
    for i in range(indices[k], indices[k + 1]):
        x0, eps = denoise(state, i)
        state = teacher.grid.alphas[i + 1] * x0 + teacher.grid.sigmas[i + 1] * eps
    return np.array(state)


def student_x0(student: DiffusionModel, z: np.ndarray, k: int) -> np.ndarray:
    return np.array(student.denoise_at(student.grid, "ddim", {})(mx.array(z), k)[0])


@pytest.fixture
def images(unit_normal: Callable[..., np.ndarray]) -> np.ndarray:
    return 0.5 * unit_normal(20, 4, 4, 1, seed=7)


@pytest.mark.parametrize("kind", ["rollout", "data", "trajectory"])
def test_a_student_on_its_teachers_grid_has_nothing_to_learn(
    kind: str,
    make_model: Callable[..., DiffusionModel],
    unit_normal: Callable[..., np.ndarray],
    images: np.ndarray,
) -> None:
    teacher = make_model(steps=5, class_count=None)
    student = teacher.student()
    paths = paths_of(teacher, unit_normal(8, 4, 4, 1), teacher.grid)
    source = {
        "rollout": lambda: rollout_source(
            student, teacher, paths, states=40, seed=(0,), batch_size=8
        ),
        "data": lambda: data_source(
            teacher, student.grid, images, NONE, states=40, seed=(0,), batch_size=8
        ),
        "trajectory": lambda: trajectory_source(paths, student.grid, states=40, seed=(0,)),
    }[kind]()
    pool = source.renew(0, lambda: None)
    assert pool.z.shape == pool.target.shape == (5, 8, 4, 4, 1)
    for k in range(5):
        # the cache holds states, and dividing their differences by a short step costs some digits
        np.testing.assert_allclose(pool.target[k], student_x0(student, pool.z[k], k), atol=2e-4)


@pytest.mark.parametrize("clip_range", [None, 0.3])
@pytest.mark.parametrize("kind", ["rollout", "data"])
def test_targets_land_where_the_teachers_own_steps_land(
    kind: str,
    clip_range: float | None,
    make_model: Callable[..., DiffusionModel],
    unit_normal: Callable[..., np.ndarray],
    images: np.ndarray,
) -> None:
    teacher = make_model(steps=12, class_count=None, clip_range=clip_range)
    student = teacher.student(uniform_subset(teacher, 3))
    assert student.clip_range is None
    paths = paths_of(teacher, unit_normal(8, 4, 4, 1), student.grid)
    source = (
        rollout_source(student, teacher, paths, states=24, seed=(0,), batch_size=8)
        if kind == "rollout"
        else data_source(teacher, student.grid, images, NONE, states=24, seed=(0,), batch_size=8)
    )
    pool = source.renew(0, lambda: None)
    for k in range(3):
        wanted = teacher_landing(teacher, pool.z[k], student.grid, k)
        np.testing.assert_allclose(
            landed(pool.z[k], pool.target[k], student.grid, k), wanted, atol=2e-5
        )


def test_cached_states_aim_at_the_cached_next_state(
    gaussian_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    teacher = gaussian_model(steps=12, solver="dpmpp_2m")
    grid = uniform_subset(teacher, 4)
    paths = paths_of(teacher, unit_normal(8, 4, 4, 1), grid)
    pool = trajectory_source(paths, grid, states=1000, seed=(0,)).renew(0, lambda: None)
    order = [int(np.abs(paths.states[:, 0] - z).sum((1, 2, 3)).argmin()) for z in pool.z[0]]
    assert sorted(order) == list(range(8))
    for k in range(4):
        np.testing.assert_allclose(
            landed(pool.z[k], pool.target[k], grid, k), paths.states[order, k + 1], atol=1e-5
        )


def test_rollouts_visit_what_the_student_visits(
    make_model: Callable[..., DiffusionModel], unit_normal: Callable[..., np.ndarray]
) -> None:
    teacher = make_model(steps=8, class_count=None)
    student = teacher.student(uniform_subset(teacher, 3))
    paths = paths_of(teacher, unit_normal(6, 4, 4, 1), student.grid)
    pool = rollout_source(student, teacher, paths, states=18, seed=(0,), batch_size=4).renew(
        0, lambda: None
    )
    states: list[np.ndarray] = []
    student.sample(mx.array(pool.z[0]), on_step=lambda i, z, x0: states.append(np.array(z)))
    for k in (1, 2):
        np.testing.assert_allclose(pool.z[k], states[k - 1], atol=1e-5)


def test_rollouts_follow_the_student_as_it_learns(
    make_model: Callable[..., DiffusionModel],
    unit_normal: Callable[..., np.ndarray],
    shift_output: Callable,
) -> None:
    teacher = make_model(steps=8, class_count=None)
    student = teacher.student(uniform_subset(teacher, 3))
    source = rollout_source(
        student,
        teacher,
        paths_of(teacher, unit_normal(6, 4, 4, 1), student.grid),
        states=18,
        seed=(0,),
        batch_size=8,
    )
    before = source.renew(0, lambda: None)
    shift_output(student, 0.5)
    after = source.renew(0, lambda: None)
    np.testing.assert_array_equal(after.z[0], before.z[0])
    assert np.abs(after.z[1] - before.z[1]).max() > 0.01


@pytest.mark.parametrize("kind", ["rollout", "data", "trajectory"])
def test_labels_stay_with_their_states(
    kind: str,
    make_model: Callable[..., DiffusionModel],
    unit_normal: Callable[..., np.ndarray],
    images: np.ndarray,
) -> None:
    teacher = make_model(steps=6)
    student = teacher.student(uniform_subset(teacher, 2))
    labels = (np.arange(9) % 3).astype(np.int32)
    paths = paths_of(teacher, unit_normal(9, 4, 4, 1), student.grid, labels)
    image_labels = Conditions.of_labels((np.arange(20) % 3).astype(np.int32))
    source = {
        "rollout": lambda: rollout_source(
            student, teacher, paths, states=18, seed=(1,), batch_size=4
        ),
        "data": lambda: data_source(
            teacher, student.grid, images, image_labels, states=18, seed=(1,), batch_size=4
        ),
        "trajectory": lambda: trajectory_source(paths, student.grid, states=18, seed=(1,)),
    }[kind]()
    pool = source.renew(0, lambda: None)
    labels = pool.conditions.labels
    assert labels is not None
    assert labels.shape == (2, 9)
    # the last target is the teacher's sample under the state's own label and no other
    indices = [*teacher.grid.indices_of(student.grid), 6]
    denoise = teacher.denoise_at(teacher.grid, "ddim", {"class_labels": mx.array(labels[1])})
    state = mx.array(pool.z[1])
    for i in range(indices[1], 6):
        x0, eps = denoise(state, i)
        state = teacher.grid.alphas[i + 1] * x0 + teacher.grid.sigmas[i + 1] * eps
    np.testing.assert_allclose(pool.target[1], state, atol=1e-4)


@pytest.mark.parametrize("kind", ["rollout", "data", "trajectory"])
def test_a_last_step_of_no_length_has_a_finite_target(
    kind: str,
    gaussian_model: Callable[..., DiffusionModel],
    unit_normal: Callable[..., np.ndarray],
    images: np.ndarray,
    linear_schedule: NoiseSchedule,
) -> None:
    """set_alpha_to_one: false ends at the level of timestep 0, a point of every leading grid."""
    schedule = linear_schedule.ending_at("first")
    for clip_range in (None, 0.3):
        teacher = gaussian_model(
            schedule=schedule, grid=spaced_grid(schedule, "leading", 8), clip_range=clip_range
        )
        student = teacher.student(teacher.grid.subset([0, 4, 7]))
        paths = paths_of(teacher, unit_normal(6, 4, 4, 1), student.grid)
        source = {
            "rollout": lambda s=student, t=teacher, p=paths: rollout_source(
                s, t, p, states=18, seed=(1,), batch_size=4
            ),
            "data": lambda s=student, t=teacher: data_source(
                t, s.grid, images, NONE, states=18, seed=(1,), batch_size=4
            ),
            "trajectory": lambda s=student, p=paths: trajectory_source(
                p, s.grid, states=18, seed=(1,)
            ),
        }[kind]()
        pool = source.renew(0, lambda: None)
        assert np.isfinite(pool.target).all()
        assert np.abs(pool.target).max() < 10


def test_pools_are_the_same_for_the_same_seed_and_other_for_others(
    make_model: Callable[..., DiffusionModel], images: np.ndarray
) -> None:
    teacher = make_model(steps=4, class_count=None)
    grid = uniform_subset(teacher, 2)

    def pool(seed: tuple[int, ...], renewals: int) -> np.ndarray:
        source = data_source(teacher, grid, images, NONE, states=8, seed=seed, batch_size=8)
        return source.renew(renewals, lambda: None).z

    np.testing.assert_array_equal(pool((1, 2), 3), pool((1, 2), 3))
    assert not np.array_equal(pool((1, 2), 3), pool((1, 3), 3))
    assert not np.array_equal(pool((1, 2), 3), pool((1, 2), 4))


def test_a_batch_spreads_evenly_over_the_grid(unit_normal: Callable[..., np.ndarray]) -> None:
    pool = StatePool(
        unit_normal(4, 10, 2, 2, 1), unit_normal(4, 10, 2, 2, 1, seed=1), NONE.at_points(4)
    )
    for size in (4, 7, 64):
        batch = pool.batch(size, np.random.default_rng(size))
        counts = np.bincount(np.array(batch.point), minlength=4)
        assert counts.max() - counts.min() <= 1
        assert batch.condition == {}
        for z, target, point in zip(
            np.array(batch.z), np.array(batch.target), np.array(batch.point), strict=True
        ):
            place = int(np.abs(pool.z[point] - z).sum((1, 2, 3)).argmin())
            np.testing.assert_array_equal(pool.z[point, place], z)
            np.testing.assert_array_equal(pool.target[point, place], target)


def test_no_point_is_favoured_where_the_batch_is_smaller_than_the_grid(
    unit_normal: Callable[..., np.ndarray],
) -> None:
    pool = StatePool(unit_normal(16, 2, 1, 1, 1), unit_normal(16, 2, 1, 1, 1), NONE.at_points(16))
    points = np.concatenate(
        [np.array(pool.batch(5, np.random.default_rng(k)).point) for k in range(400)]
    )
    counts = np.bincount(points, minlength=16)
    assert counts.min() > 0.7 * counts.mean()


def test_weights_are_the_published_ones(linear_schedule: NoiseSchedule) -> None:
    grid = spaced_grid(linear_schedule, "trailing", 8)
    alphas, sigmas = np.array(grid.alphas), np.array(grid.sigmas)
    snr = (alphas[:-1] / sigmas[:-1]) ** 2
    np.testing.assert_allclose(
        loss_weights(grid, "truncated_snr", 1e9), np.maximum(snr, 1), rtol=1e-5
    )
    np.testing.assert_allclose(loss_weights(grid, "snr_plus_one", 1e9), snr + 1, rtol=1e-5)
    landing = (alphas[1:] - sigmas[1:] * alphas[:-1] / sigmas[:-1]) ** 2
    np.testing.assert_allclose(loss_weights(grid, "landing", 1e9), landing, rtol=1e-5)
    for kind in ("truncated_snr", "snr_plus_one", "landing"):
        weights = loss_weights(grid, kind, 2.0)
        assert weights.dtype == np.float32
        assert (weights > 0).all()  # plain SNR would vanish at the first point
        assert weights.max() <= 2.0
    with pytest.raises(ValueError, match="unknown loss weight 'snr'"):
        loss_weights(grid, "snr", 1.0)


def test_the_weight_snr_plus_one_is_the_loss_in_v(linear_schedule: NoiseSchedule) -> None:
    """|v - v*|^2 = (SNR + 1) |x - x*|^2 from the same state (Salimans & Ho 2022, section 4)."""
    grid = spaced_grid(linear_schedule, "trailing", 6)
    weights = loss_weights(grid, "snr_plus_one", 1e9)
    for k in range(6):
        alpha, sigma, z, x, wanted = grid.alphas[k], grid.sigmas[k], 0.7, 0.3, -0.4
        v, v_wanted = ((alpha * (z - alpha * x0) / sigma - sigma * x0) for x0 in (x, wanted))
        assert (v - v_wanted) ** 2 == pytest.approx(float(weights[k]) * (x - wanted) ** 2, rel=1e-4)


@pytest.mark.parametrize(("kind", "expected"), [("rollout", 4 * 3), ("data", 3 * 3)])
def test_every_batch_of_evaluations_is_told(
    kind: str,
    expected: int,
    make_model: Callable[..., DiffusionModel],
    unit_normal: Callable[..., np.ndarray],
    images: np.ndarray,
) -> None:
    teacher = make_model(steps=8, class_count=None)
    student = teacher.student(uniform_subset(teacher, 3))
    paths = paths_of(teacher, unit_normal(9, 4, 4, 1), student.grid)
    source = {
        "rollout": lambda: rollout_source(
            student, teacher, paths, states=27, seed=(0,), batch_size=4
        ),
        "data": lambda: data_source(
            teacher, student.grid, images, NONE, states=27, seed=(0,), batch_size=4
        ),
    }[kind]()
    told: list[int] = []
    source.renew(0, lambda: told.append(1))
    assert len(told) == expected, "three batches of nine states, at each of three points"
