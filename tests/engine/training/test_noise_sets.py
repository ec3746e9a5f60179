"""Noise is fixed, hashed and never shared between what chooses and what measures."""

from itertools import combinations

import numpy as np

from engine.training.noise_sets import (
    NoiseSet,
    Purpose,
    balanced_labels,
    condition_of,
    generator,
    unit_noise,
)

SHAPE = (2, 2, 1)


def test_no_two_purposes_share_a_draw() -> None:
    draws = [unit_noise(purpose, 50, SHAPE).ravel() for purpose in Purpose]
    for a, b in combinations(draws, 2):
        assert not set(a.tolist()) & set(b.tolist())


def test_the_same_numbers_give_the_same_draws_and_others_other_ones() -> None:
    draws = [
        generator(Purpose.ORDER, *parts).random(4).tolist()
        for parts in ((0, 1), (0, 1), (1, 2), (0, 1, 2), (2,))
    ]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 4


def test_more_noise_begins_with_the_noise_of_fewer() -> None:
    np.testing.assert_array_equal(
        unit_noise(Purpose.TRAIN, 20, SHAPE, 3)[:7], unit_noise(Purpose.TRAIN, 7, SHAPE, 3)
    )


def test_noise_has_unit_variance() -> None:
    noise = unit_noise(Purpose.FINAL, 5000, SHAPE)
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03


def test_select_and_final_noise_are_the_same_for_every_run_and_have_nothing_in_common() -> None:
    select, final = NoiseSet.select(30, SHAPE, 3), NoiseSet.final(30, SHAPE, 3)
    assert select.sha256 == NoiseSet.select(30, SHAPE, 3).sha256
    assert select.sha256 != final.sha256
    arrays = [select.noise, select.other_noise, final.noise, final.other_noise]
    assert len(np.unique(np.concatenate([a.ravel() for a in arrays]))) == 4 * 30 * 4


def test_the_hash_sees_the_conditions_too() -> None:
    assert NoiseSet.final(30, SHAPE, 3).sha256 != NoiseSet.final(30, SHAPE, 5).sha256
    assert NoiseSet.final(30, SHAPE, 3).sha256 != NoiseSet.final(30, SHAPE, None).sha256


def test_labels_are_balanced() -> None:
    labels = balanced_labels(31, 10)
    assert labels is not None
    assert np.bincount(labels).tolist() == [4] + [3] * 9
    assert balanced_labels(31, None) is None
    assert condition_of(None) == {}
    assert list(condition_of(labels)) == ["class_labels"]
