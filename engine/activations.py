"""SiLU: MLX's own, or on a Linux CPU one that is ten times faster there. Used by every network.

Measured on small compiled UNets: forwards 1.3-1.7 times faster, training steps 1.1-1.2 times,
outputs within 1e-6 of those with MLX's own.
"""

import sys
from typing import cast

import mlx.core as mx
import mlx.nn as nn

# tanh(x) = x P(x^2) / Q(x^2) on [-7.9, 7.9], beyond which float32 knows only 1.
# The coefficients are those of Eigen's fast tanh.
_TANH_LIMIT = 7.90531110763549805
_TANH_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def _fast_sigmoid(x: mx.array) -> mx.array:
    """Return 1/2 + tanh(x/2)/2 with the rational tanh: arithmetic that a compiler vectorises."""
    half = mx.clip(0.5 * x, -_TANH_LIMIT, _TANH_LIMIT)
    square = half * half
    above = _TANH_P[0] * square + _TANH_P[1]
    for coefficient in _TANH_P[2:]:
        above = above * square + coefficient
    below = _TANH_Q[0] * square + _TANH_Q[1]
    for coefficient in _TANH_Q[2:]:
        below = below * square + coefficient
    return 0.5 * (half * above / below) + 0.5


def silu(x: mx.array) -> mx.array:
    """Return x sigmoid(x) by whichever way is fast on the default device."""
    is_linux_cpu = sys.platform == "linux" and mx.default_device().type == mx.DeviceType.cpu
    return fast_silu(x) if is_linux_cpu else nn.silu(x)


def fast_silu(x: mx.array) -> mx.array:
    """Return x sigmoid(x), within 2.5e-6 of the exact value in float32 (|x| up to 2000 tried).

    MLX's CPU backend calls the C library's exp once an element; this is a dozen multiplications.
    Other types are computed in float32 and rounded.
    """
    return cast(mx.array, _fast_silu(x))


@mx.custom_function
def _fast_silu(x: mx.array) -> mx.array:
    wide = x.astype(mx.float32)
    return (wide * _fast_sigmoid(wide)).astype(x.dtype)


@_fast_silu.vjp
def _fast_silu_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    """Return cotangent * (s + y (1 - s)), s = sigmoid(x), y = x s."""
    wide = x.astype(mx.float32)
    sigmoid = _fast_sigmoid(wide)
    return (cotangent * (sigmoid + wide * sigmoid * (1 - sigmoid))).astype(x.dtype)
