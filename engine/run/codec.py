"""Events to JSON and back, field by field and checked. Used by the journal.

Knows nothing of SQLite. JSON has no NaN and no infinity, so a float that is not finite is written
as the string "nan", "inf" or "-inf".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any

from engine.run.events import EVENT_TYPES, Event, PlannedStage, RankedGrid, UnknownEvent

_BY_KIND: dict[str, type[Event]] = {event_type.__name__: event_type for event_type in EVENT_TYPES}
_PARTS: dict[str, type] = {part.__name__: part for part in (PlannedStage, RankedGrid)}
_PLAIN: dict[str, type] = {"str": str, "int": int, "bool": bool}
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class _MisfitError(Exception):
    """A value is not what its field holds."""


def kind_of(event: Event) -> str:
    """Return the name under which an event is stored."""
    return event.kind if isinstance(event, UnknownEvent) else type(event).__name__


def encode_event(event: Event) -> str:
    """Return the event's body as JSON; an UnknownEvent's is given back letter for letter."""
    if isinstance(event, UnknownEvent):
        return event.body
    return _dump({name: _plain(getattr(event, name)) for name in _field_names(type(event))})


def decode_event(kind: str, body: str) -> Event:
    """Return the event that was stored.

    `UnknownEvent` for a kind, or a body, that this version does not know.
    """
    event_type = _BY_KIND.get(kind)
    if event_type is None:
        return UnknownEvent(kind=kind, body=body)
    try:
        return _read_record(event_type, json.loads(body))
    except (ValueError, OverflowError, _MisfitError):
        return UnknownEvent(kind=kind, body=body)


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return kind and fields as JSON-ready values, for ``--json``."""
    if isinstance(event, UnknownEvent):
        try:
            return {"kind": event.kind, "body": json.loads(event.body)}
        except ValueError:
            return {"kind": event.kind, "body": event.body}
    return {"kind": kind_of(event)} | {
        name: _plain(getattr(event, name)) for name in _field_names(type(event))
    }


def encode_value(value: Any) -> str:
    """Return any JSON-ready value as JSON, floats that are not finite as strings."""
    return _dump(_plain(value))


_dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in _field_names(type(value))}
    raise TypeError(f"An event cannot hold a {type(value).__name__}: {value!r}")


@cache
def _field_names(record_type: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record_type))


@cache
def _field_readers(record_type: type) -> tuple[tuple[str, bool, Callable[[Any], Any]], ...]:
    """Return (name, whether it must be there, its reader) of each field."""
    return tuple(
        (
            field.name,
            field.default is MISSING and field.default_factory is MISSING,
            _reader_of(str(field.type)),
        )
        for field in fields(record_type)
    )


def _read_record(record_type: type, content: Any) -> Any:
    if not isinstance(content, dict):
        raise _MisfitError
    known = {}
    for name, is_required, read in _field_readers(record_type):
        if name in content:
            known[name] = read(content[name])
        elif is_required:
            raise _MisfitError
    return record_type(**known)


@cache
def _reader_of(annotation: str) -> Callable[[Any], Any]:
    """Return what reads a field, by its annotation as the source spells it.

    Evaluating annotations took as long as reading a whole run.
    """
    if annotation.endswith(" | None"):
        read_inner = _reader_of(annotation.removesuffix(" | None"))
        return lambda value: None if value is None else read_inner(value)
    if annotation.startswith("tuple["):
        read_item = _reader_of(annotation[len("tuple[") : -1].removesuffix(", ..."))
        return lambda value: tuple(read_item(item) for item in _checked(value, list))
    if annotation == "float":
        return _read_float
    if annotation in _PLAIN:
        return partial(_checked, wanted=_PLAIN[annotation])
    return partial(_read_record, _PARTS[annotation])


def _read_float(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _MisfitError
    return float(value)


def _checked(value: Any, wanted: type) -> Any:
    # True is an int to isinstance, but a flag is not a count
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise _MisfitError
    return value
