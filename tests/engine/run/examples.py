"""An event of every kind, with something in every field."""

from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from engine.run.events import Event, PlannedStage, RankedGrid

EXAMPLES: dict[Any, Any] = {
    str: 'a "quoted" line\nwith ü and \udcff',
    int: 7,
    float: 0.1,
    bool: True,
    PlannedStage: PlannedStage(1, 50, 22),
    RankedGrid: RankedGrid("karras", 0.97, (999.0, 0.5)),
}


def example(hint: Any) -> Any:
    """Return a value that a field of this type may hold."""
    if hint in EXAMPLES:
        return EXAMPLES[hint]
    if get_origin(hint) is tuple:
        return (example(get_args(hint)[0]),) * 2
    return example(get_args(hint)[0])  # X | None


def whole(event_type: type[Event]) -> Event:
    """Return an event of this type with a value in every field."""
    hints = get_type_hints(event_type)
    return event_type(**{field.name: example(hints[field.name]) for field in fields(event_type)})
