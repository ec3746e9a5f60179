"""The pieces of a network against closed forms."""

import math

import mlx.core as mx
import numpy as np
import pytest

from engine.models.layers import (
    Attention,
    ResnetBlock2D,
    SinusoidalEmbedding,
    downsample_mean,
    upsample_nearest,
)


def embed_in_float64(t: np.ndarray, channels: int, freq_shift: float) -> np.ndarray:
    half = channels // 2
    frequencies = np.exp(-math.log(10000.0) * np.arange(half) / (half - freq_shift))
    angles = t.astype(np.float64)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


@pytest.mark.parametrize(("channels", "freq_shift"), [(8, 0), (16, 1), (128, 1), (320, 0)])
@pytest.mark.parametrize("compiled", [False, True])
def test_time_embedding_is_exact_for_whole_and_fractional_timesteps(
    channels: int, freq_shift: float, compiled: bool
) -> None:
    """Whatever t in [0, 1000], the float32 embedding stays within 1e-6 of float64."""
    embed = SinusoidalEmbedding(channels, flip_sin_to_cos=False, freq_shift=freq_shift)
    fractional = np.random.default_rng(0).uniform(0, 1000, 4000).astype(np.float32)
    t = np.concatenate([np.arange(1001, dtype=np.float32), fractional])
    found = (mx.compile(embed) if compiled else embed)(mx.array(t))
    assert found.dtype == mx.float32
    assert np.abs(np.array(found) - embed_in_float64(t, channels, freq_shift)).max() < 1e-6


def test_time_embedding_reads_integers_as_it_reads_floats() -> None:
    embed = SinusoidalEmbedding(16, flip_sin_to_cos=True, freq_shift=0)
    t = mx.array([0, 1, 999], dtype=mx.int32)
    assert mx.array_equal(embed(t), embed(t.astype(mx.float32)))


def test_flipped_time_embedding_swaps_its_halves() -> None:
    t = mx.array([0.5, 759.0])
    sine_first = SinusoidalEmbedding(16, flip_sin_to_cos=False, freq_shift=1)(t)
    cosine_first = SinusoidalEmbedding(16, flip_sin_to_cos=True, freq_shift=1)(t)
    assert mx.array_equal(mx.roll(sine_first, 8, 1), cosine_first)


def test_odd_time_embedding_ends_in_zero() -> None:
    found = SinusoidalEmbedding(9, flip_sin_to_cos=True, freq_shift=0)(mx.array([7.0]))
    assert found.shape == (1, 9)
    assert found[0, -1].item() == 0


def test_time_embedding_has_no_parameters() -> None:
    assert SinusoidalEmbedding(16, flip_sin_to_cos=True, freq_shift=0).parameters() == {}


def test_downsampling_undoes_nearest_upsampling() -> None:
    x = mx.random.normal((2, 3, 5, 4), key=mx.random.key(0))
    assert upsample_nearest(x).shape == (2, 6, 10, 4)
    assert mx.allclose(downsample_mean(upsample_nearest(x)), x, rtol=0, atol=1e-6)


def test_attention_of_equal_pixels_changes_them_equally() -> None:
    attention = Attention(8, head_dim=4, groups=None, eps=1e-5)
    x = mx.broadcast_to(mx.arange(8.0), (1, 2, 3, 8))
    out = attention(x)
    assert mx.allclose(out, mx.broadcast_to(out[:, :1, :1], out.shape), rtol=0, atol=1e-5)


def test_output_scale_factor_divides_the_residual_sum() -> None:
    def make(factor: float) -> ResnetBlock2D:
        return ResnetBlock2D(
            4,
            4,
            time_embed_dim=8,
            groups=2,
            eps=1e-5,
            act_fn="silu",
            time_scale_shift="default",
            output_scale_factor=factor,
        )

    plain, scaled = make(1.0), make(2.0)
    scaled.update(plain.parameters())
    x, time = mx.random.normal((1, 4, 4, 4), key=mx.random.key(1)), mx.ones((1, 8))
    assert mx.allclose(plain(x, time), 2.0 * scaled(x, time), rtol=0, atol=1e-6)
