"""Weights held in fewer bits than they were loaded in: half precision, or linear layers quantised.

For what is not trained: a frozen teacher, and the base under adapters. What is trained is float32.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map, tree_unflatten

from engine.models.lora import shared_copy
from engine.settings import Precision

GROUP = (
    32  # weights that share a scale; a layer whose input width it does not divide stays as it is
)


def narrow(network: nn.Module, precision: Precision) -> None:
    """Freeze `network` and hold its weights in `precision`, a tensor at a time.

    "bfloat16" rounds every weight; "int8" quantises linear layers to 8 bits in groups of GROUP and
    leaves the rest, convolutions above all, as they are; "float32" changes nothing. Beside the
    network no more than that tensor is held; whoever shares its modules sees them
    narrowed.
    """
    for path in [path for path, _ in network.named_modules()]:
        module = _at(network, path)
        if precision == "bfloat16":
            _round(module)
        elif precision == "int8" and _is_quantisable(module):
            narrowed = nn.QuantizedLinear.from_linear(module, GROUP, 8)
            mx.eval(narrowed.parameters())
            network.update_modules(tree_unflatten([(path, narrowed)]))
    if precision != "float32":
        network.freeze()


def _round(module: nn.Module) -> None:
    for name in list(module):
        if isinstance(module[name], mx.array) and not name.startswith("_"):
            module[name] = module[name].astype(mx.bfloat16)
            mx.eval(module[name])  # and the wide one is let go of


def _at(network: nn.Module, path: str) -> Any:
    place: Any = network
    for part in path.split(".") if path else ():
        place = place[int(part)] if isinstance(place, list) else place[part]
    return place


def _is_quantisable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and module.weight.shape[-1] % GROUP == 0


def quantise(network: nn.Module, bits: int) -> None:
    """Quantise the linear layers of `network` in place, where their width allows."""
    nn.quantize(
        network,
        group_size=GROUP,
        bits=bits,
        class_predicate=lambda _, module: _is_quantisable(module),
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
