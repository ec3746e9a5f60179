"""Low-rank adapters on a frozen network: y = W x + (alpha / rank) B A x (Hu et al. 2021).

An adapted network is another tree of modules over the *same* arrays, so a teacher, its student and
the student's own student hold the base once. Only A and B are trainable; B starts at zero, so a
student starts as its teacher. An adapter's path in the tree is the key that diffusers and peft give
it, `PATH.lora_A.weight`; their files are read and written by lora_files.py.
"""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from engine.errors import ConfigError
from engine.settings import LoraSettings
from engine.unet_layers import LORA_TARGETS, is_lora_target

_QUANTISED = ("group_size", "bits", "mode")
_CONVOLUTION = ("stride", "padding", "dilation")


class Factor(nn.Module):
    """One of the two matrices of an adapter."""

    def __init__(self, weight: mx.array) -> None:
        super().__init__()
        self.weight = weight


class LoraLayer(nn.Module):
    """What both kinds share: the base's own arrays, frozen, and the two factors beside them."""

    weight: mx.array
    bias: mx.array
    scales: mx.array  # of a quantised base

    def __init__(self, base: nn.Module, rank: int, scale: float, key: mx.array) -> None:
        super().__init__()
        for name, value in base.items():
            if isinstance(value, mx.array):
                self[name] = value
        out, *kernel, inputs = _plain_shape(base)
        bound = 1 / math.sqrt(inputs * math.prod(kernel))
        self.scale = scale
        self.rank = rank
        self.lora_A = Factor(mx.random.uniform(-bound, bound, (rank, *kernel, inputs), key=key))
        self.lora_B = Factor(mx.zeros((out, *(1 for _ in kernel), rank)))

    @abstractmethod
    def plain(self) -> nn.Module:
        """Return the layer as it was before, over the same arrays."""

    def merged_weight(self) -> mx.array:
        """Return W + scale B A in float32."""
        a, b = (factor.weight.astype(mx.float32) for factor in (self.lora_A, self.lora_B))
        out = b.shape[0]
        delta = (b.reshape(out, self.rank) @ a.reshape(self.rank, -1)).reshape(out, *a.shape[1:])
        return _plain_weight(self).astype(mx.float32) + self.scale * delta

    @abstractmethod
    def fused(self) -> nn.Module:
        """Return a plain layer that computes the same."""


class LoraLinear(LoraLayer):
    """An adapted linear layer; its base may be quantised."""

    def __init__(self, base: nn.Module, rank: int, scale: float, key: mx.array) -> None:
        super().__init__(base, rank, scale, key)
        self._quantised = (
            {name: getattr(base, name) for name in _QUANTISED if hasattr(base, name)}
            if isinstance(base, nn.QuantizedLinear)
            else None
        )

    def __call__(self, x: mx.array) -> mx.array:
        """Return (..., out) for x (..., in), in the type of x and the base."""
        if self._quantised is not None:
            y = mx.quantized_matmul(
                x, self.weight, self.scales, self.get("biases"), True, **self._quantised
            )
        else:
            y = x @ self.weight.T
        if "bias" in self:
            y = y + self.bias
        low = x @ self.lora_A.weight.astype(x.dtype).T  # (..., rank)
        return y + self.scale * (low @ self.lora_B.weight.astype(x.dtype).T)

    def plain(self) -> nn.Module:
        """Return the base as it was."""
        if self._quantised is None:
            return _with_arrays(nn.Linear(1, 1, bias="bias" in self), self)
        size = self._quantised["group_size"]
        plain = nn.QuantizedLinear(size, 1, bias="bias" in self, **self._quantised)
        return _with_arrays(plain, self)

    def fused(self) -> nn.Module:
        """Return a linear layer of merged weights in float32, whatever the base is held in."""
        fused = nn.Linear(1, 1, bias="bias" in self)
        return _with_arrays(fused, self, weight=self.merged_weight())


class LoraConv2d(LoraLayer):
    """An adapted convolution: A is a convolution like the base's, B one of 1x1."""

    def __init__(self, base: nn.Module, rank: int, scale: float, key: mx.array) -> None:
        super().__init__(base, rank, scale, key)
        self._how = {name: getattr(base, name) for name in _CONVOLUTION}

    def __call__(self, x: mx.array) -> mx.array:
        """Return (B, H', W', out) for x (B, H, W, in)."""
        y = mx.conv2d(x, self.weight, **self._how)
        if "bias" in self:
            y = y + self.bias
        low = mx.conv2d(x, self.lora_A.weight.astype(x.dtype), **self._how)  # (B, H', W', rank)
        up = self.lora_B.weight.astype(x.dtype).reshape(-1, self.rank)
        return y + self.scale * (low @ up.T)

    def plain(self) -> nn.Module:
        """Return the base as it was."""
        return _with_arrays(nn.Conv2d(1, 1, 1, bias="bias" in self, **self._how), self)

    def fused(self) -> nn.Module:
        """Return a convolution of merged weights in float32, whatever the base is held in."""
        fused = nn.Conv2d(1, 1, 1, bias="bias" in self, **self._how)
        return _with_arrays(fused, self, weight=self.merged_weight())


def adapted(network: nn.Module, settings: LoraSettings, *, seed: int = 0) -> nn.Module:
    """Return `network` over the same arrays, frozen, with fresh adapters that change nothing yet.

    Raises:
        ConfigError: the network has none of the target layers.
    """
    count = 0

    def wrap(path: str, layer: nn.Module) -> nn.Module:
        nonlocal count
        kind = _adapter_kind(layer)
        if kind is None or not is_lora_target(path, settings.targets):
            return layer
        count += 1
        # a key for each layer: one more target changes no other layer's draw
        key = mx.random.key(seed * 1_000_003 + count)
        return kind(layer, settings.rank, settings.alpha / settings.rank, key)

    network = shared_copy(network)
    _replace_layers(network, wrap)
    if not count:
        raise ConfigError(
            f"lora.targets is {', '.join(settings.targets)}, but this network has no such layers; "
            f"choose from {', '.join(LORA_TARGETS)}."
        )
    freeze_base(network)
    return network


def adapted_by(
    network: nn.Module, factors: Mapping[str, tuple[mx.array, mx.array, float | None]]
) -> nn.Module:
    """Return `network` over the same arrays with given (A, B, alpha) by path; None is the rank.

    Raises:
        ValueError: a path is no linear layer or convolution of `network`, or has another shape.
    """
    left = dict(factors)

    def wrap(path: str, layer: nn.Module) -> nn.Module:
        kind = _adapter_kind(layer)
        if path not in left or kind is None:
            return layer
        a, b, alpha = left.pop(path)
        rank = a.shape[0]
        new = kind(layer, rank, (rank if alpha is None else alpha) / rank, mx.random.key(0))
        for name, factor, given in (("lora_A", new.lora_A, a), ("lora_B", new.lora_B, b)):
            if factor.weight.shape != given.shape:
                raise ValueError(
                    f"{path}.{name} has shape {given.shape} where {factor.weight.shape} is wanted"
                )
            factor.weight = given
        return new

    network = shared_copy(network)
    _replace_layers(network, wrap)
    if left:
        raise ValueError(f"{next(iter(left))} is no layer of this network that takes an adapter")
    freeze_base(network)
    return network


def freeze_base(network: nn.Module) -> None:
    """Leave the adapters alone trainable."""
    network.freeze()
    for _, layer in adapters(network):
        layer.lora_A.unfreeze()
        layer.lora_B.unfreeze()


def adapters(network: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Yield (path, layer) of every adapted layer, by path."""
    found = [(path, m) for path, m in network.named_modules() if isinstance(m, LoraLayer)]
    yield from sorted(found, key=lambda entry: entry[0])


def has_adapters(network: nn.Module) -> bool:
    """Return whether any layer of `network` is adapted."""
    return next(adapters(network), None) is not None


def fuse(network: nn.Module) -> nn.Module:
    """Return a plain network that computes the same; layers without adapter keep their arrays."""
    return _without_adapters(network, lambda layer: layer.fused())


def unfuse(network: nn.Module) -> nn.Module:
    """Return the base: a plain network over the very arrays it was adapted from."""
    return _without_adapters(network, lambda layer: layer.plain())


def shared_copy(network: nn.Module) -> nn.Module:
    """Return another tree of modules over the same arrays: updating one leaves the other alone."""
    # what deepcopy finds in its memo it does not copy
    memo = {id(value): value for _, value in tree_flatten(network) if isinstance(value, mx.array)}
    return copy.deepcopy(network, memo)


def _adapter_kind(layer: nn.Module) -> type[LoraLayer] | None:
    if isinstance(layer, nn.Linear | nn.QuantizedLinear):
        return LoraLinear
    return LoraConv2d if isinstance(layer, nn.Conv2d) and layer.groups == 1 else None


def _without_adapters(network: nn.Module, restored: Callable[[LoraLayer], nn.Module]) -> nn.Module:
    network = shared_copy(network)
    _replace_layers(
        network, lambda _, layer: restored(layer) if isinstance(layer, LoraLayer) else layer
    )
    network.unfreeze()
    return network


def _replace_layers(
    tree: Any, replaced: Callable[[str, nn.Module], nn.Module], path: str = ""
) -> None:
    """Put what `replaced` returns in the place of every module below `tree`, parents first."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(entries):
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, nn.Module):
            tree[key] = replaced(place, value)
        if tree[key] is value and isinstance(value, dict | list):
            _replace_layers(value, replaced, place)


def _with_arrays(plain: nn.Module, layer: LoraLayer, **changes: mx.array) -> nn.Module:
    for name in ("weight", "bias", "scales", "biases"):
        if name in plain and name in layer:
            plain[name] = changes.get(name, layer[name])
    return plain


def _plain_shape(base: nn.Module) -> tuple[int, ...]:
    out, *rest = base["weight"].shape
    if isinstance(base, nn.QuantizedLinear):
        return out, base["scales"].shape[-1] * base.group_size
    return (out, *rest)


def _plain_weight(layer: LoraLayer) -> mx.array:
    quantised = getattr(layer, "_quantised", None)
    if quantised is None:
        return layer.weight
    return mx.dequantize(layer.weight, layer.scales, layer.get("biases"), **quantised)
