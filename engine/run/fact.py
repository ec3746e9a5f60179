"""A fact that does not change: the base of all events and of what is seen of a run.

A child is an ordinary dataclass to whoever reads its fields, replaces or prints it; only its
methods are these for all of them. Eighty times generated ones took an eighth of the processor time
that a dashboard needs to open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

_Fact = TypeVar("_Fact", bound="Fact")


@dataclass_transform(frozen_default=True)
class Fact:
    """Base of frozen records; a child names its fields as a dataclass does, and no more."""

    _names: ClassVar[tuple[str, ...]] = ()
    _wanted: ClassVar[frozenset[str]] = frozenset()
    _defaults: ClassVar[dict[str, Any]] = {}
    _factories: ClassVar[dict[str, Callable[[], Any]]] = {}

    def __init_subclass__(cls) -> None:
        """Make the child a dataclass without methods of its own."""
        dataclass(init=False, repr=False, eq=False)(cls)
        own = fields(cls)  # pyright: ignore[reportArgumentType]  (it is one since the line above)
        cls._names = tuple(field.name for field in own)
        cls._wanted = frozenset(cls._names)
        cls._defaults = {one.name: one.default for one in own if one.default is not MISSING}
        cls._factories = {
            one.name: one.default_factory for one in own if one.default_factory is not MISSING
        }

    def __init__(self, *given: Any, **named: Any) -> None:
        """Take the fields; TypeError for one that is missing, not known or given twice."""
        kind, values = type(self), self.__dict__
        values.update(kind._defaults)
        for name, make in kind._factories.items():
            values[name] = make()
        in_order = dict(zip(kind._names, given, strict=False))
        values.update(in_order)
        values.update(named)
        if values.keys() != kind._wanted or len(in_order) != len(given) or in_order.keys() & named:
            raise TypeError(f"{kind.__name__} {_misfit(kind._names, values, len(given))}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a fact does not change."""
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: a fact does not change."""
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same fact."""
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Return a hash of kind and fields."""
        return hash((type(self), *(self.__dict__[name] for name in self._names)))

    def __repr__(self) -> str:
        """Return it as it would be written."""
        values = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._names)
        return f"{type(self).__name__}({values})"


def changed(fact: _Fact, **values: Any) -> _Fact:
    """Return the fact with other values, as `dataclasses.replace` does in a fraction of its time.

    Raises TypeError for a field that it does not have.
    """
    made = object.__new__(type(fact))
    made.__dict__.update(fact.__dict__)
    made.__dict__.update(values)
    if len(made.__dict__) != len(fact.__dict__):
        raise TypeError(f"{type(fact).__name__} {_misfit(fact._names, made.__dict__, 0)}")
    return made


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event(Fact):
    """Base of all events, which are made by keyword; holds nothing."""


def _misfit(names: tuple[str, ...], values: dict[str, Any], given: int) -> str:
    """Return what is wrong with the values that a fact was to be made of."""
    if lacking := [name for name in names if name not in values]:
        return f"lacks {', '.join(lacking)}"
    if unknown := [name for name in values if name not in names]:
        return f"has no {', '.join(unknown)}"
    if given > len(names):
        return f"has {len(names)} fields, and {given} were given"
    return "was given a field twice"
