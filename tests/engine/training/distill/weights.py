"""The weights of a student, to hold against another's."""

import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from engine.models.diffusion import DiffusionModel


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    assert isinstance(model, DiffusionModel)
    return {key: np.array(value) for key, value in tree_flatten(model.network.parameters())}


def same_bytes(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    return one.keys() == two.keys() and all(one[key].tobytes() == two[key].tobytes() for key in one)
