"""Noise is fixed, hashed and never shared between what chooses and what measures."""

import hashlib
from itertools import combinations

import numpy as np

from engine.training.conditions import classes
from engine.training.noise_sets import (
    NoiseSet,
    Purpose,
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
    select, final = NoiseSet.select(30, SHAPE, classes(3)), NoiseSet.final(30, SHAPE, classes(3))
    assert select.sha256 == NoiseSet.select(30, SHAPE, classes(3)).sha256
    assert select.sha256 != final.sha256
    arrays = [select.noise, select.other_noise, final.noise, final.other_noise]
    assert len(np.unique(np.concatenate([a.ravel() for a in arrays]))) == 4 * 30 * 4


def test_the_hash_sees_the_conditions_too() -> None:
    hashes = {NoiseSet.final(30, SHAPE, classes(count)).sha256 for count in (3, 5, None)}
    assert len(hashes) == 3


def test_the_hash_of_a_class_conditional_set_is_the_one_published_before() -> None:
    """Noise, fresh noise, then the labels' bytes: reports name it, so it must not change."""
    found = NoiseSet.final(30, SHAPE, classes(3))
    labels = (np.arange(30) % 3).astype(np.int32)
    parts = (found.noise, found.other_noise, labels)
    assert found.sha256 == hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
