"""Two texts of settings compared, and two changes of one brought together. Pure.

`draft` brings together what is changed here and what others wrote into a run's settings meanwhile.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from engine.config_check import check_text
from engine.errors import ConfigError
from engine.run.fact import Fact
from tui.schema import defaults, flat, key_order
from tui.typed_values import MISSING, shown
from tui.yaml_edit import remove_key, set_key
from tui.yaml_spelling import is_same


class Clash(Fact):
    """A setting that both sides changed, each to another value."""

    key: str
    mine: Any
    theirs: Any

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.key} is {shown(self.theirs)} there by now and {shown(self.mine)} here"


def merge(base: str, mine: str, theirs: str) -> tuple[str, list[Clash]]:
    """Return `theirs` with all that `mine` changes of `base`, and where both changed one setting.

    There the returned text has what stands in `mine`. A setting that is left out is at its default.
    Raises ConfigError where `theirs` cannot be read, EditRefused where it cannot be changed.
    """
    checked = check_text(theirs)
    if checked.data is None:
        fault = checked.faults[0]
        where = f"line {fault.line}: " if fault.line else ""
        raise ConfigError(f"what is on disk by now does not parse ({where}{fault.message}).")
    my_own = check_text(mine)
    if my_own.data is None:  # nothing could be typed into it
        return theirs, []
    before, after, there = _values(base), flat(my_own.data), flat(checked.data)
    text, clashes = theirs, []
    for key in dict.fromkeys((*after, *before)):
        value = _value(after, key)
        if is_same(_value(before, key), value) or is_same(_value(there, key), value):
            continue
        if not is_same(_value(before, key), _value(there, key)):
            clashes.append(Clash(key, value, _value(there, key)))
        if key in after:
            spelling = my_own.numbers.get(key)
            text = set_key(text, key, value, spelling=spelling, order=key_order())
        else:
            text = remove_key(text, key)
    return text, clashes


def unified(old: str, new: str, old_name: str, new_name: str) -> list[str]:
    """Return what differs as lines of a unified diff."""
    before, after = old.splitlines(), new.splitlines()
    return list(difflib.unified_diff(before, after, old_name, new_name, n=2, lineterm=""))


def _values(text: str) -> Mapping[str, Any]:
    data = check_text(text).data
    return flat(data) if data is not None else {}


def _value(values: Mapping[str, Any], key: str) -> Any:
    return values.get(key, defaults().get(key, MISSING))
