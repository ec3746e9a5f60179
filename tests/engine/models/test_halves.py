"""A small network's forward in two halves is the whole one."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from engine.models import halves
from engine.models.diffusion import DiffusionModel
from engine.models.guidance import Guidance


@pytest.fixture
def cpu() -> None:
    if mx.default_device().type != mx.DeviceType.cpu:
        pytest.skip("a GPU takes the batch whole")


@pytest.mark.parametrize("count", [1, 2, 4, 5])
@pytest.mark.usefixtures("cpu")
def test_halves_make_the_whole(make_model: Callable[..., DiffusionModel], count: int) -> None:
    model = make_model()
    z = mx.random.normal((count, *model.sample_shape), key=mx.random.key(1))
    t = mx.linspace(10, 900, count)
    condition = {"class_labels": mx.arange(count, dtype=mx.int32) % 3}
    halved = model.compiled_forward()(z, t, condition)
    assert halved.shape == z.shape
    np.testing.assert_allclose(halved, model(z, t, condition), atol=2e-6)


@pytest.mark.usefixtures("cpu")
def test_each_half_has_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def forward(z: mx.array, t: mx.array, condition: dict[str, mx.array]) -> mx.array:
        seen.append((len(z), mx.default_stream(mx.cpu)))
        return z + condition["c"]

    doubled = halves.compiled(forward, {})
    made = doubled(mx.zeros((5, 2)), mx.zeros((5,)), {"c": mx.arange(5.0)[:, None]})
    np.testing.assert_array_equal(made, np.arange(5.0)[:, None] * np.ones((5, 2)))
    (first, one), (second, other) = seen
    assert (first, second) == (2, 3)
    assert one != other
    monkeypatch.setattr(halves, "is_small", lambda parameters: False)
    seen.clear()
    halves.compiled(forward, {})(mx.zeros((5, 2)), mx.zeros((5,)), {"c": mx.zeros((5, 1))})
    assert [length for length, _ in seen] == [5], "a large network's products are shared by BLAS"


@pytest.mark.usefixtures("cpu")
def test_guided_halves_keep_their_own_uncond_rows(
    make_model: Callable[..., DiffusionModel],
) -> None:
    model = make_model().guided(Guidance(3.0))
    z = mx.random.normal((4, *model.sample_shape), key=mx.random.key(2))
    labels, t = mx.array([0, 1, 2, 0]), mx.full((4,), 500.0)
    condition = {"class_labels": labels, "uncond_class_labels": mx.array([2, 2, 1, 1])}
    made = model.compiled_forward()(z, t, condition)
    np.testing.assert_allclose(made, model(z, t, condition), atol=5e-6)
