"""AutoencoderKL against diffusers, and what it promises its callers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine.errors import CheckpointError, DataError
from engine.models.autoencoder import AutoencoderConfig, AutoencoderKL
from engine.models.folder import find_weights
from engine.models.tiling import decode_in_tiles
from engine.models.weights import load_weights

TOLERANCE = 1e-5  # calibrated with MLX 0.32.4 on a CPU; measured there: 2e-6
TINY = {
    "block_out_channels": [4, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
    "sample_size": 16,
}


def tiny_autoencoder(**changes: Any) -> AutoencoderKL:
    mx.random.seed(0)
    return AutoencoderKL(AutoencoderConfig.from_dict(TINY | changes, source="config.json"))


def load(folder: Path) -> AutoencoderKL:
    config = json.loads((folder / "config.json").read_text())
    autoencoder = AutoencoderKL(AutoencoderConfig.from_dict(config, source="config.json"))
    load_weights(autoencoder, find_weights(folder), folder / "config.json")
    return autoencoder


def nchw(array: mx.array) -> np.ndarray:
    return np.array(array.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", ["sd15", "sd21v", "sdxl"])
def test_encoding_and_decoding_equal_diffusers(
    name: str,
    fixtures: Path,
    reference_of: Callable,
    to_nhwc: Callable,
    relative_error: Callable,
) -> None:
    """The first of the two has attention's old names."""
    autoencoder, reference = load(fixtures / name / "vae"), reference_of(name)
    mean, logvar = autoencoder.encode(to_nhwc(reference["vae.image"]))
    assert relative_error(nchw(mean), reference["vae.encode.mean"]) < TOLERANCE
    assert relative_error(nchw(logvar), reference["vae.encode.logvar"]) < TOLERANCE
    decoded = autoencoder.decode(to_nhwc(reference["vae.latents"]))
    assert relative_error(nchw(decoded), reference["vae.decode"]) < TOLERANCE


def test_the_published_autoencoder_has_the_published_number_of_parameters(fixtures: Path) -> None:
    """That of all of Stable Diffusion 1.x, 2.x and SDXL; only shapes are asked for."""
    config = json.loads((fixtures / "published" / "sd_vae.json").read_text())
    autoencoder = AutoencoderKL(AutoencoderConfig.from_dict(config, source="sd_vae.json"))
    parameters = dict(tree_flatten(autoencoder.parameters())).values()
    assert sum(value.size for value in parameters) == 83_653_863


def test_pictures_are_scaled_on_the_way_in_and_out() -> None:
    """As pipelines do: times scaling_factor after encoding, divided by it before decoding."""
    autoencoder = tiny_autoencoder(scaling_factor=0.5, shift_factor=0.25)
    pictures = mx.random.uniform(shape=(2, 8, 6, 3), key=mx.random.key(0))
    mean, _ = autoencoder.encode(2 * pictures - 1)
    latents = autoencoder.latents_of(pictures)
    assert mx.allclose(latents, (mean - 0.25) * 0.5, atol=1e-6)
    wanted = mx.clip(autoencoder.decode(mean) / 2 + 0.5, 0, 1)
    assert mx.allclose(autoencoder.pictures_of(latents), wanted, atol=1e-5)


def test_latents_are_drawn_from_their_distribution_with_a_key() -> None:
    autoencoder = tiny_autoencoder()
    pictures = mx.broadcast_to(
        mx.random.uniform(shape=(1, 4, 4, 3), key=mx.random.key(0)), (400, 4, 4, 3)
    )
    mean, logvar = autoencoder.encode(2 * pictures[:1] - 1)
    drawn = autoencoder.latents_of(pictures, mx.random.key(1)) / autoencoder.config.scaling_factor
    spread = mx.exp(0.5 * logvar)[0]
    assert (mx.abs(drawn.mean(axis=0) - mean[0]) < 5 * spread / 20).all()
    assert mx.allclose(drawn.std(axis=0), spread, rtol=0.25)


def test_logvar_is_held_within_what_its_exponential_can_say() -> None:
    autoencoder = tiny_autoencoder()
    assert autoencoder.quant_conv is not None
    autoencoder.quant_conv.weight = 1e4 * autoencoder.quant_conv.weight
    _, logvar = autoencoder.encode(mx.random.normal((1, 8, 8, 3), key=mx.random.key(0)))
    assert (float(logvar.min()), float(logvar.max())) == (-30.0, 20.0)


def test_a_batch_is_decoded_as_its_pictures_one_by_one() -> None:
    autoencoder = tiny_autoencoder()
    latents = mx.random.normal((3, 4, 6, 4), key=mx.random.key(0))
    together = autoencoder.pictures_of(latents)
    for index in range(3):
        one = autoencoder.pictures_of(latents[index : index + 1])
        assert mx.allclose(together[index : index + 1], one, atol=1e-5)


@pytest.mark.parametrize("key", ["use_quant_conv", "use_post_quant_conv"])
def test_the_quantising_convolutions_are_optional(key: str) -> None:
    autoencoder = tiny_autoencoder(**{key: False})
    mean, _ = autoencoder.encode(mx.zeros((1, 8, 8, 3)))
    assert autoencoder.decode(mean).shape == (1, 8, 8, 3)
    assert (
        key.removeprefix("use_") not in autoencoder.parameters()
        or not (autoencoder.parameters()[key.removeprefix("use_")])
    )


def test_the_middle_may_do_without_attention() -> None:
    assert "attentions" not in str(tiny_autoencoder(mid_block_add_attention=False).encoder.keys())


def test_tiles_of_a_decoder_that_sees_one_pixel_make_no_seam() -> None:
    """Where tiles agree, fading from one into the other changes nothing."""
    latents = mx.random.normal((2, 21, 30, 3), key=mx.random.key(0))

    def decode(z: mx.array) -> mx.array:
        return mx.repeat(mx.repeat(mx.tanh(z), 2, axis=1), 2, axis=2)

    tiled = decode_in_tiles(decode, latents, 8, 2)
    assert mx.allclose(tiled, decode(latents), atol=1e-6)


def test_tiles_fade_into_each_other_without_a_step() -> None:
    """Tiles that disagree by a constant are joined by a ramp, not an edge."""
    seen = []

    def decode(z: mx.array) -> mx.array:
        seen.append(z.shape)
        return mx.full((1, *z.shape[1:3], 1), float(len(seen)))

    tiled = decode_in_tiles(decode, mx.zeros((1, 16, 28, 4)), 16, 1)
    assert seen == [(1, 16, 16, 4)] * 2
    across = np.array(tiled[0, 0, :, 0])
    assert across[:12].tolist() == [1] * 12
    assert across[16:].tolist() == [2] * 12
    assert np.abs(np.diff(across)).max() <= 0.25 + 1e-6


@pytest.mark.parametrize(("height", "width"), [(17, 40), (8, 9), (3, 33)])
def test_no_tile_is_thinner_than_the_others(height: int, width: int) -> None:
    """A tile that sees a few lines alone gets its colours wrong."""
    seen = set()

    def decode(z: mx.array) -> mx.array:
        seen.add(z.shape)
        return mx.ones((1, *z.shape[1:3], 1))

    tiled = decode_in_tiles(decode, mx.zeros((1, height, width, 4)), 8, 1)
    assert seen == {(1, min(height, 8), 8, 4)}
    assert mx.allclose(tiled, mx.ones((1, height, width, 1)))


def test_large_pictures_go_by_tiles_and_stay_close_to_whole_ones() -> None:
    """A tile's border sees zeros where the whole sees a picture: the larger, the closer."""
    latents = 0.18 * mx.random.normal((1, 40, 56, 4), key=mx.random.key(0))
    distances = []
    for size in (32, 64):
        autoencoder = tiny_autoencoder(sample_size=size)
        whole = autoencoder.pictures_of(latents)
        tiled = autoencoder.pictures_of(latents, tile_above=100)
        assert tiled.shape == whole.shape
        spread = mx.abs(whole - whole.mean()).mean()
        distances.append(float(mx.abs(tiled - whole).mean() / spread))
    assert 0 < distances[1] < 0.5 * distances[0]
    assert distances[1] < 0.15


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 8, 8, 1), r"Pictures have shape \(1, 8, 8, 1\), but \(B, H, W, 3\) is wanted"),
        ((1, 9, 8, 3), "height 9 and width 8, but multiples of 2 are wanted"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tiny_autoencoder().encode(mx.zeros(shape))


def test_latents_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"Latents have shape \(1, 4, 4, 3\)"):
        tiny_autoencoder().decode(mx.zeros((1, 4, 4, 3)))


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("_class_name", "AutoencoderTiny", "AutoencoderKL is wanted. Other autoencoders"),
        ("latents_mean", [0.0], "None is wanted"),
        ("latents_std", [1.0], "None is wanted"),
        ("down_block_types", ["AttnDownEncoderBlock2D"] * 2, "a list of DownEncoderBlock2D"),
        ("up_block_types", ["UpDecoderBlock2D"], "one entry for each of the 2"),
        ("norm_num_groups", 3, "a divisor of all"),
        ("scaling_factor", 0, "a number above 0"),
    ],
)
def test_what_is_not_supported_is_refused_by_key(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^config\.json: {key} is .*{wanted}"):
        tiny_autoencoder(**{key: value})
