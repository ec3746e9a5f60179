"""A fact that does not change: the base of all events, with the methods of them all."""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from typing import Any, NoReturn, TypeVar, dataclass_transform

_Record = TypeVar("_Record")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(record_type: type[_Record]) -> type[_Record]:
    """Make a child of `Event` a dataclass that has no methods of its own."""
    return dataclass(init=False, repr=False, eq=False, kw_only=True)(record_type)


@fact
class Event:
    """Base of all events; holds nothing.

    Its children are dataclasses, frozen and by keyword, whose methods are these for all of them:
    thirty times generated ones took a twentieth of the processor time that a dashboard needs to
    open.
    """

    def __init__(self, **values: Any) -> None:
        """Take the fields; TypeError for one that is missing or not known."""
        for field in fields(self):
            value = values.pop(field.name, field.default)
            if value is MISSING:
                raise TypeError(f"{type(self).__name__} lacks {field.name}")
            self.__dict__[field.name] = value
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

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
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        """Return it as it would be written."""
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({values})"
