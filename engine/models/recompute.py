"""Activations computed again in the backward pass instead of being kept: memory for time.

Known as gradient checkpointing (Chen et al. 2016). The layers of a block are the pieces: a residual
block, an attention, a transformer's block. Used by the trainer, around the loss alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
from mlx.nn.utils import checkpoint


class Recomputing(nn.Module):
    """A module that calls its large layers by `_run`, so that they can be recomputed."""

    def __init__(self) -> None:
        super().__init__()
        self._recomputes = False

    def _run(self, layer: nn.Module, *inputs: mx.array | None) -> mx.array:
        """Return ``layer(*inputs)``; None stands at the end of `inputs` if anywhere."""
        if not self._recomputes:
            return layer(*inputs)
        arrays = [value for value in inputs if value is not None]
        missing = [None] * (len(inputs) - len(arrays))
        return checkpoint(layer, lambda *given: layer(*given, *missing))(*arrays)


@contextmanager
def recomputed_activations(network: nn.Module, is_wanted: bool = True) -> Iterator[None]:
    """Let `network` keep no activations inside its blocks while a loss is computed within.

    The layers are left holding the traced weights that the gradient was taken for: put the real
    ones back afterwards, as after any `mx.value_and_grad` over a module.
    """
    blocks = [module for module in network.modules() if isinstance(module, Recomputing)]
    for block in blocks:
        block._recomputes = is_wanted
    try:
        yield
    finally:
        for block in blocks:
            block._recomputes = False
