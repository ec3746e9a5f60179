"""The fast SiLU is SiLU, with its gradient, and only a Linux CPU takes it."""

import sys
from types import SimpleNamespace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine import activations
from engine.activations import fast_silu


def test_only_a_linux_cpu_takes_the_fast_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, taken = mx.zeros(1), []
    monkeypatch.setattr(activations, "fast_silu", lambda x: taken.append("fast"))
    monkeypatch.setattr(nn, "silu", lambda x: taken.append("mlx"))
    for system in ("linux", "darwin"):
        for device in (mx.DeviceType.cpu, mx.DeviceType.gpu):
            monkeypatch.setattr(sys, "platform", system)
            monkeypatch.setattr(
                mx, "default_device", lambda kind=device: SimpleNamespace(type=kind)
            )
            activations.silu(x)
    assert taken == ["fast", "mlx", "mlx", "mlx"]


def exact_silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def test_the_fast_silu_is_silu_eager_and_compiled() -> None:
    x = mx.concatenate([mx.linspace(-80, 80, 20_001), mx.array([0.0, -0.0, -1e-8, 1e-8])])
    expected = exact_silu(np.array(x, dtype=np.float64))
    assert np.abs(np.array(fast_silu(x)) - expected).max() <= 3e-6
    assert np.abs(np.array(mx.compile(fast_silu)(x)) - expected).max() <= 3e-6


def test_the_fast_silu_has_the_gradient_of_silu() -> None:
    x = mx.linspace(-40, 40, 4001)
    sigmoid = 1 / (1 + np.exp(-np.array(x, dtype=np.float64)))
    expected = sigmoid + np.array(x) * sigmoid * (1 - sigmoid)
    gradient = mx.grad(lambda x: fast_silu(x).sum())(x)
    assert np.abs(np.array(gradient) - expected).max() <= 3e-6


def test_the_fast_silu_keeps_infinities_apart_and_passes_nan_on() -> None:
    large, nan = np.array(fast_silu(mx.array([3e38, float("nan")])))
    assert large == pytest.approx(3e38)
    assert np.isnan(nan)


def test_the_fast_silu_keeps_the_type_it_was_given() -> None:
    x = mx.linspace(-8, 8, 1001).astype(mx.bfloat16)
    assert fast_silu(x).dtype == mx.bfloat16
    assert mx.grad(lambda x: fast_silu(x).sum())(x).dtype == mx.bfloat16
    exact = exact_silu(np.array(x.astype(mx.float32), dtype=np.float64))
    assert np.abs(np.array(fast_silu(x).astype(mx.float32)) - exact).max() <= 8 / 256
