"""Samples in blocks: the cut shows neither in a score nor in the memory that it takes."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine import model_size
from engine.model_size import scoring_memory
from engine.records import Quality
from engine.training import features
from engine.training.features import Features
from engine.training.quality import Components, QualityScorer, blurred, to_unit_range

SHAPE = (24, 20, 3)
COUNT = 128
SMALL_BLOCK = 64 << 10  # five of these pictures


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Cut into smaller blocks, from here on."""

    def cut(size: int) -> None:
        for module in (features, model_size):
            monkeypatch.setattr(module, "SCORING_BLOCK_BYTES", size)

    return cut


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Teacher, another seed, a student and samples for the components, float32 in [-1, 1]."""
    rng = np.random.default_rng(0)
    made = {
        name: blurred(rng.uniform(-1, 1, (count, *SHAPE)), 1.0).astype(np.float32)
        for name, count in (("teacher", COUNT), ("other", COUNT), ("fitted", 2 * COUNT))
    }
    noise = rng.standard_normal((COUNT, *SHAPE), dtype=np.float32)
    return made | {"student": 0.9 * made["teacher"] + np.float32(0.02) * noise}


def scored(pictures: dict[str, np.ndarray]) -> Quality:
    made = {name: Features(some, to_unit_range, SHAPE) for name, some in pictures.items()}
    components = Components.fit(made["fitted"], COUNT)
    scorer = QualityScorer(made["teacher"], made["other"], components, resamples=100)
    return scorer.score(made["student"])


def test_blocks_hold_all_samples_once_and_no_more_than_their_bytes(in_blocks: Callable) -> None:
    in_blocks(SMALL_BLOCK)
    samples = np.arange(COUNT * 60, dtype=np.float32).reshape(COUNT, 4, 5, 3)
    whole = Features.plain(samples)
    assert not Features(samples, to_unit_range, SHAPE).is_one_block
    assert whole.is_one_block
    seen = list(Features(samples, lambda some: some.astype(float), (100, 90, 3)).blocks())
    assert [part for part, _ in seen] == [slice(i, i + 1) for i in range(COUNT)]
    np.testing.assert_array_equal(np.concatenate([values for _, values in seen]), samples)
    columns = np.concatenate([values for _, values in whole.columns()], axis=1)
    np.testing.assert_array_equal(columns, samples.reshape(COUNT, -1))


def test_a_block_holds_a_multiple_of_what_is_decoded_together(in_blocks: Callable) -> None:
    """Or fewer: which pictures are decoded beside which must not depend on the rest."""
    samples = np.zeros((COUNT, 1, 1, 1), np.float32)
    for size, rows in ((100, 96), (17, 16), (8, 8), (7, 7), (0, 1)):
        in_blocks(size * 8 * 2)
        assert Features(samples, np.asarray, (1, 2, 1)).block_rows == rows


def test_fidelity_and_energy_do_not_show_the_blocks_and_the_distribution_hardly(
    in_blocks: Callable, pictures: dict[str, np.ndarray]
) -> None:
    whole = scored(pictures)
    for size in (SMALL_BLOCK, 1 << 20):
        in_blocks(size)
        cut = scored(pictures)
        assert cut.fidelity == whole.fidelity
        assert cut.band_energy == whole.band_energy
        assert cut.distribution is not None
        assert whole.distribution is not None
        assert abs(cut.distribution.value - whole.distribution.value) < 1e-9
        assert abs(cut.distribution.lower - whole.distribution.lower) < 1e-9
        assert scored(pictures) == cut  # to the last bit, run after run


def test_directions_by_columns_are_those_of_a_decomposition_of_everything(
    in_blocks: Callable, pictures: dict[str, np.ndarray]
) -> None:
    fitted = Features(pictures["fitted"], to_unit_range, SHAPE)
    whole = Components.fit(fitted, COUNT)
    in_blocks(SMALL_BLOCK)
    cut = Components.fit(fitted, COUNT)
    np.testing.assert_allclose(cut.mean, whole.mean, atol=1e-15)
    np.testing.assert_allclose(cut.basis.T @ cut.basis, np.eye(12), atol=1e-10)
    signs = np.sign((cut.basis * whole.basis).sum(0))
    np.testing.assert_allclose(cut.basis * signs, whole.basis, atol=1e-9)


def test_memory_is_that_of_a_block_however_many_pictures_there_are(
    in_blocks: Callable, pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    in_blocks(SMALL_BLOCK)
    mapped = {}
    for name, some in pictures.items():
        np.save(tmp_path / name, some)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        scored(mapped)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # beside blocks: the scalar products and the draws of the bootstrap, which no picture enlarges
    draws = 5 * 8 * 100 * COUNT + 3 * 8 * (2 * COUNT) ** 2
    assert peak < scoring_memory(int(np.prod(SHAPE)), COUNT) + draws
    assert peak < 0.5 * 8 * np.prod(SHAPE) * COUNT * 3  # what the teacher alone once took
