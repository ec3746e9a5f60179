"""Commands get in between any two evaluations of the network, however long a batch is."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.diffusion.names import Solver
from engine.models.diffusion import DiffusionModel
from engine.training.conditions import Conditions
from engine.training.evaluate import sample_all
from engine.training.trajectories import trajectory_chunks

pytestmark = pytest.mark.usefixtures("eager")


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "euler"])
def test_sampling_is_left_after_any_step_and_changes_nothing(
    make_model: Callable[..., DiffusionModel], solver: Solver
) -> None:
    model = make_model(steps=5, class_count=None)
    noise = np.random.default_rng(0).standard_normal((6, *model.sample_shape)).astype(np.float32)
    conditions = Conditions.none(len(noise))
    steps: list[int] = []

    def sampled(between: Callable[[], None] | None) -> np.ndarray:
        return sample_all(model, noise, conditions, batch_size=4, solver=solver, between=between)

    counted = sampled(lambda: steps.append(1))
    assert len(steps) == 2 * 5
    np.testing.assert_array_equal(counted, sampled(None))

    def leave() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise Interrupted

    steps.clear()
    with pytest.raises(Interrupted):
        sampled(leave)
    assert len(steps) == 3

    steps.clear()
    with pytest.raises(Interrupted):
        list(trajectory_chunks(model, noise, conditions, batch_size=4, between=leave))
    assert len(steps) == 3
