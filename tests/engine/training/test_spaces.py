"""A model of latents is looked at in latents on the way and in decoded pixels at the end."""

from collections.abc import Callable
from typing import ClassVar, cast

import mlx.core as mx
import numpy as np
import pytest

from engine.models.diffusion import DiffusionModel
from engine.models.pipeline import LatentPipeline
from engine.training.conditions import Conditions
from engine.training.evaluate import Evaluator
from engine.training.noise_sets import NoiseSet
from engine.training.spaces import LATENTS, PIXELS, decoded_pixels, decoder_of, spaces_of

pytestmark = pytest.mark.usefixtures("eager")


def twice_as_large(latents: np.ndarray) -> np.ndarray:
    """Decode, for these tests: every latent becomes 2x2 pixels."""
    return 0.5 * latents.repeat(2, 1).repeat(2, 2)


@pytest.mark.parametrize(
    ("mode", "decode", "wanted"),
    [
        ("auto", None, ("pixels", "pixels")),
        ("latents", None, ("pixels", "pixels")),
        ("auto", twice_as_large, ("latents", "pixels")),
        ("latents", twice_as_large, ("latents", "latents")),
        ("pixels", twice_as_large, ("pixels", "pixels")),
    ],
)
def test_the_spaces_follow_from_the_family_and_the_setting(mode, decode, wanted) -> None:
    assert tuple(space.mode for space in spaces_of(mode, decode)) == wanted


def test_pixels_are_clipped_and_latents_are_not() -> None:
    samples = np.array([-3.0, 0.0, 3.0], np.float32).reshape(1, 1, 3, 1)
    ((_, pixels),) = PIXELS.features(samples).blocks()
    ((_, latents),) = LATENTS.features(samples).blocks()
    assert pixels.ravel().tolist() == [0, 0.5, 1]
    assert latents.ravel().tolist() == [-3, 0, 3]
    assert decoded_pixels(twice_as_large).features(samples).shape == (2, 6, 1)


def test_pictures_that_are_read_again_are_decoded_once() -> None:
    decoded: list[int] = []

    def decode(latents: np.ndarray) -> np.ndarray:
        decoded.append(len(latents))
        return twice_as_large(latents)

    samples = np.random.default_rng(0).standard_normal((64, 4, 4, 1), dtype=np.float32)
    space = decoded_pixels(decode)
    kept = space.kept("teacher", samples)
    for _ in range(2):
        ((_, values),) = kept.blocks()
        ((_, passing),) = space.features(samples).blocks()
        np.testing.assert_array_equal(values, passing)
    assert decoded == [64, 1, 64, 1, 64]  # one alone tells the size


def test_large_pictures_are_decoded_a_few_at_a_time() -> None:
    class Pipeline:
        reduction = 8
        seen: ClassVar[list[int]] = []

        def pictures(self, latents: mx.array) -> mx.array:
            self.seen.append(len(latents))
            return mx.repeat(mx.repeat(latents, 8, 1), 8, 2)[..., :3]

    heard: list[None] = []
    decode = decoder_of(cast(LatentPipeline, Pipeline()), lambda: heard.append(None))
    for side, at_once in ((2, [8, 3]), (32, [4, 4, 3]), (64, [1] * 11)):
        Pipeline.seen.clear()
        heard.clear()
        assert decode(np.zeros((11, side, side, 4), np.float32)).shape == (
            11,
            8 * side,
            8 * side,
            3,
        )
        assert Pipeline.seen == at_once
        assert len(heard) == len(at_once)


def test_a_score_says_what_it_was_measured_in(
    gaussian_model: Callable[..., DiffusionModel],
) -> None:
    """And components of the final space come from the select samples, decoded."""
    model = gaussian_model(steps=8)
    noise_set = NoiseSet.select(64, model.sample_shape, Conditions.none(1))
    latents = Evaluator.against(
        model, noise_set, components=None, batch_size=64, resamples=100, space=LATENTS
    )
    again = latents.quality_of(model)
    assert (again.mode, again.fidelity.value, again.band_energy.value) == ("latents", 1, 1)
    pixels = decoded_pixels(twice_as_large)
    components = latents.components_for(64, pixels)
    assert components.mean.shape == (8 * 8,)
    final = Evaluator.from_samples(
        noise_set,
        latents.teacher_samples,
        latents.other_samples,
        components,
        batch_size=64,
        resamples=100,
        space=pixels,
    )
    assert final.quality_of(model).mode == "pixels"
    assert final.blurred_anchor().score < 1
