"""What the score calls the same, and what it does not let pass; on synthetic pictures."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.training.quality import (
    Components,
    QualityScorer,
    UndefinedScoreError,
    blurred,
    laplacian_bands,
    squared_frechet,
    to_unit_range,
)

COUNT = 400


def scorer_of(
    teacher: np.ndarray,
    other: np.ndarray,
    fitted_on: np.ndarray,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> QualityScorer:
    components = Components.fit(fitted_on, len(teacher))
    return QualityScorer(teacher, other, components, resamples=resamples, seed=seed)


@pytest.fixture(scope="module")
def teacher(random_images: Callable[..., np.ndarray]) -> np.ndarray:
    return random_images(COUNT, seed=1)


@pytest.fixture(scope="module")
def other(random_images: Callable[..., np.ndarray]) -> np.ndarray:
    return random_images(COUNT, seed=2)


@pytest.fixture(scope="module")
def scorer(
    teacher: np.ndarray, other: np.ndarray, random_images: Callable[..., np.ndarray]
) -> QualityScorer:
    return scorer_of(teacher, other, random_images(COUNT, seed=3))


def test_the_teacher_run_again_scores_exactly_one(
    scorer: QualityScorer, teacher: np.ndarray
) -> None:
    quality = scorer.score(teacher.copy())
    assert quality.distribution is not None
    for part in (quality.fidelity, quality.distribution, quality.band_energy):
        assert part.value == 1
        assert part.lower == 1
    assert quality.score == quality.lower_bound == 1


def test_another_seed_has_the_distribution_but_not_the_pictures(
    scorer: QualityScorer, other: np.ndarray
) -> None:
    quality = scorer.score(other)
    assert quality.fidelity.value == 0
    assert quality.distribution is not None
    assert quality.distribution.value > 0.95
    assert quality.band_energy.value > 0.9
    assert quality.score == 0


def test_a_third_seed_is_as_far_away_as_the_second(
    scorer: QualityScorer, random_images: Callable[..., np.ndarray]
) -> None:
    quality = scorer.score(random_images(COUNT, seed=4))
    assert quality.fidelity.value < 0.1
    assert quality.distribution is not None
    assert quality.distribution.value > 0.95


def test_shrinking_to_the_mean_fails_by_its_energy_alone(
    scorer: QualityScorer, teacher: np.ndarray
) -> None:
    """The case for which B exists: paired error and distribution hardly see it."""
    mean = teacher.mean(0)
    quality = scorer.score(mean + 0.9 * (teacher - mean))
    assert quality.distribution is not None
    assert quality.fidelity.value > 0.99
    assert quality.distribution.value > 0.98
    assert quality.band_energy.value < 0.95
    assert quality.score == quality.band_energy.value


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_blur_fails(sigma: float, scorer: QualityScorer, teacher: np.ndarray) -> None:
    quality = scorer.score(blurred(teacher, sigma))
    assert quality.score < 0.95
    assert quality.band_energy.value < quality.fidelity.value


def test_added_noise_fails_by_its_fine_band(scorer: QualityScorer, teacher: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal(teacher.shape)
    assert scorer.score(teacher + 0.1 * noise).score < 0.95
    assert scorer.score(teacher + 0.1 * noise).band_energy.value < 0.95


def test_pure_noise_and_the_mean_picture_score_nothing(
    scorer: QualityScorer, teacher: np.ndarray
) -> None:
    noise = np.random.default_rng(0).uniform(size=teacher.shape)
    assert scorer.score(noise).score < 0.05
    assert scorer.score(np.broadcast_to(teacher.mean(0), teacher.shape)).score < 0.1


def test_more_damage_never_scores_better(scorer: QualityScorer, teacher: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal(teacher.shape)
    scores = [
        scorer.score(teacher + strength * noise).score for strength in (0, 0.01, 0.03, 0.1, 0.3)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1


def test_lower_bounds_stand_below_their_estimates(
    scorer: QualityScorer, teacher: np.ndarray
) -> None:
    noise = np.random.default_rng(0).standard_normal(teacher.shape)
    for strength in (0.02, 0.1, 0.15):
        quality = scorer.score(teacher + strength * noise)
        assert quality.distribution is not None
        for part in (quality.fidelity, quality.distribution, quality.band_energy):
            assert part.lower <= part.value
        assert quality.lower_bound < quality.score


def test_bounds_tighten_with_more_samples(random_images: Callable[..., np.ndarray]) -> None:
    gaps = []
    for count in (100, 1600):
        teacher = random_images(count, seed=1)
        scorer = scorer_of(teacher, random_images(count, seed=2), random_images(count, seed=3))
        student = teacher + 0.1 * np.random.default_rng(0).standard_normal(teacher.shape)
        quality = scorer.score(student)
        gaps.append(quality.fidelity.value - quality.fidelity.lower)
    assert gaps[1] < gaps[0] / 2


def test_the_bound_holds_as_often_as_it_says(random_images: Callable[..., np.ndarray]) -> None:
    """A one-sided 95 % bound of P exceeds the value of a large sample one time in twenty."""
    size, tries = 100, 40
    everyone, other = (random_images(size * tries, seed=seed) for seed in (1, 2))
    rng = np.random.default_rng(0)
    student = everyone + rng.uniform(0.03, 0.12, (size * tries, 1, 1, 1)) * rng.standard_normal(
        everyone.shape
    )
    fitted = random_images(100, seed=3)
    truth = scorer_of(everyone, other, fitted, resamples=100).score(student).fidelity.value
    exceeded = 0
    for k in range(tries):
        part = slice(size * k, size * (k + 1))
        found = scorer_of(everyone[part], other[part], fitted, resamples=100).score(student[part])
        exceeded += found.fidelity.lower > truth
    assert exceeded <= 6  # 2 expected; more than 6 has a chance below 0.5 %


def test_scoring_is_deterministic(
    scorer: QualityScorer, teacher: np.ndarray, other: np.ndarray
) -> None:
    student = 0.5 * teacher + 0.5 * other
    assert scorer.score(student) == scorer.score(student)


def test_fewer_than_64_samples_are_inconclusive(random_images: Callable[..., np.ndarray]) -> None:
    for count, is_conclusive in ((63, False), (64, True)):
        teacher = random_images(count, seed=1)
        quality = scorer_of(
            teacher, random_images(count, seed=2), random_images(count, seed=3)
        ).score(teacher)
        assert quality.is_conclusive is is_conclusive
        assert (quality.distribution is None) is not is_conclusive


@pytest.mark.parametrize("value", [0.0, 0.3, 1 / 3, 0.7, 1.0])
def test_a_teacher_that_never_varies_has_no_score(
    value: float, random_images: Callable[..., np.ndarray]
) -> None:
    constant = np.full((100, 8, 8, 1), value)
    with pytest.raises(UndefinedScoreError, match="all the same picture"):
        scorer_of(constant, constant, random_images(100, seed=3))


def test_one_and_the_same_picture_again_and_again_has_no_score(
    random_images: Callable[..., np.ndarray],
) -> None:
    picture = np.repeat(random_images(1, seed=5), 100, axis=0)
    with pytest.raises(UndefinedScoreError):
        scorer_of(picture, picture, random_images(100, seed=3))


def test_a_band_without_energy_is_dropped(random_images: Callable[..., np.ndarray]) -> None:
    """Pictures of 2x2 blocks have no finest band; noise below sight must not rule the score."""
    small = random_images(100, 4, 4, seed=1)
    teacher = small.repeat(2, 1).repeat(2, 2)
    other = random_images(100, 4, 4, seed=2).repeat(2, 1).repeat(2, 2)
    scorer = scorer_of(teacher, other, random_images(100, seed=3))
    assert (
        scorer.score(teacher + 1e-9 * np.random.default_rng(0).standard_normal(teacher.shape)).score
        > 0.999
    )


def test_a_narrow_condition_is_held_to_the_teachers_variance_not_to_another_seeds(
    random_images: Callable[..., np.ndarray],
) -> None:
    """With one prompt another seed may be the same picture; P then divides by its floor."""
    teacher = random_images(200, seed=1)
    scorer = scorer_of(teacher, teacher + 1e-6, random_images(200, seed=3))
    noise = np.random.default_rng(0).standard_normal(teacher.shape)
    assert 0.5 < scorer.score(teacher + 0.01 * noise).fidelity.value < 1


@pytest.mark.parametrize(
    ("height", "width"), [(8, 8), (7, 7), (9, 5), (13, 8), (2, 2), (3, 2), (1, 1)]
)
def test_bands_add_up_to_the_picture_whatever_its_size(
    height: int, width: int, random_images: Callable[..., np.ndarray]
) -> None:
    images = random_images(3, height, width, 2)
    bands = laplacian_bands(images)
    assert min(bands[-1].shape[1:3]) <= 2
    rebuilt = bands[-1]
    for band in reversed(bands[:-1]):
        rows, columns = band.shape[1:3]
        rebuilt = rebuilt.repeat(2, 1).repeat(2, 2)[:, :rows, :columns] + band
    np.testing.assert_allclose(rebuilt, images, atol=1e-12)


def test_eight_pixels_have_two_bands_and_a_residual(
    random_images: Callable[..., np.ndarray],
) -> None:
    assert [band.shape[1] for band in laplacian_bands(random_images(2))] == [8, 4, 2]


@pytest.mark.parametrize(("height", "width", "channels"), [(7, 7, 1), (5, 9, 3), (16, 16, 3)])
def test_any_size_of_picture_can_be_scored(
    height: int, width: int, channels: int, random_images: Callable[..., np.ndarray]
) -> None:
    teacher, other, fitted = (
        random_images(80, height, width, channels, seed=seed) for seed in (1, 2, 3)
    )
    scorer = scorer_of(teacher, other, fitted)
    assert scorer.score(teacher).score == 1
    assert scorer.score(other).score == 0


def test_components_are_as_many_as_the_samples_bear(
    random_images: Callable[..., np.ndarray],
) -> None:
    images = random_images(300)
    assert Components.fit(images, 1000).basis.shape == (64, 30)
    assert Components.fit(images, 80).basis.shape == (64, 8)
    assert Components.fit(images, 5).basis.shape == (64, 1)
    assert Components.fit(random_images(1000), 1000).basis.shape == (64, 64)
    basis = Components.fit(images, 300).basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(30), atol=1e-9)


def test_frechet_distance_of_known_gaussians() -> None:
    """Two Gaussians with diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200_000, 2)) * [1.0, 2.0]
    b = rng.standard_normal((200_000, 2)) * [1.5, 2.0] + [3.0, 0.0]
    assert squared_frechet(a, b) == pytest.approx(9 + 0.25, rel=0.01)
    assert squared_frechet(a, b) == pytest.approx(squared_frechet(b, a), rel=1e-9)
    assert squared_frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_a_blur_keeps_the_mean_of_a_flat_picture_and_lowers_the_rest(
    random_images: Callable[..., np.ndarray],
) -> None:
    np.testing.assert_allclose(blurred(np.full((1, 5, 7, 1), 0.4), 0.5), 0.4)
    images = random_images(5)
    assert blurred(images, 0.5).std() < images.std()


def test_samples_are_seen_as_every_viewer_shows_them() -> None:
    np.testing.assert_array_equal(
        to_unit_range(np.array([-2.0, -1.0, 0.0, 1.0, 7.0])), [0, 0, 0.5, 1, 1]
    )


def test_other_numbers_of_samples_are_refused(scorer: QualityScorer, teacher: np.ndarray) -> None:
    with pytest.raises(ValueError, match="10 samples to score against 400"):
        scorer.score(teacher[:10])
