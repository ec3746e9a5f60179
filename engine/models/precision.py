"""Weights held in fewer bits than they were loaded in: half precision, or linear layers quantised.

For what is not trained: a frozen teacher, and the base under adapters. What is trained is float32.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from engine.models.lora import shared_copy
from engine.settings import Precision

GROUP = (
    32  # weights that share a scale; a layer whose input width it does not divide stays as it is
)


def held_in(network: nn.Module, precision: Precision) -> nn.Module:
    """Return a frozen network of the same layers with its weights held in `precision`.

    "bfloat16" rounds every weight; "int8" quantises linear layers to 8 bits in groups of GROUP and
    leaves the rest, convolutions above all, as they are. "float32" gives the network itself.
    """
    if precision == "float32":
        return network
    network = shared_copy(network)
    if precision == "bfloat16":
        network.update(tree_map(lambda p: p.astype(mx.bfloat16), network.parameters()))
    else:
        quantise(network, 8)
    network.freeze()
    mx.eval(network.parameters())
    return network


def quantise(network: nn.Module, bits: int) -> None:
    """Quantise the linear layers of `network` in place, where their width allows."""
    nn.quantize(
        network,
        group_size=GROUP,
        bits=bits,
        class_predicate=lambda _, m: isinstance(m, nn.Linear) and m.weight.shape[-1] % GROUP == 0,
    )


def widened(network: nn.Module) -> nn.Module:
    """Return a network in float32 that computes the same, nothing of it quantised."""
    network = shared_copy(network)
    plain = tree_map(_unquantised, network.leaf_modules(), is_leaf=nn.Module.is_module)
    network.update_modules(plain)
    network.update(tree_map(lambda p: p.astype(mx.float32), network.parameters()))
    return network


def _unquantised(module: Any) -> nn.Module:
    if not isinstance(module, nn.QuantizedLinear):
        return module
    weight = mx.dequantize(
        module.weight, module.scales, module.biases, module.group_size, module.bits
    )
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in module)
    plain.update({"weight": weight} | ({"bias": module.bias} if "bias" in module else {}))
    return plain
