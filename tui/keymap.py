"""Other keys for actions, as a person wrote them in ui.yaml: what can be taken, and what is wrong.

A mistake leaves out its own line only. Two actions that would answer to one key in one place are a
mistake: Textual would drop one of them without a word.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping
from typing import Any

from textual.keys import (
    KEY_NAME_REPLACEMENTS,
    KEY_TO_UNICODE_NAME,
    REPLACED_KEYS,
    Keys,
    _character_to_key,
)

from tui.keys import BY_ID, KEYS, Key, key_words
from tui.wording import brief

_MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
_NAMES = {key.value for key in Keys} | set(KEY_NAME_REPLACEMENTS.values())
_EVERYWHERE = {"app", "pane"}


def checked(wanted: Mapping[Any, Any]) -> tuple[dict[str, str], list[str]]:
    """Return (the keys that can be used by an action's id, what is wrong with the others).

    What stands there is as YAML has it: 8 without quotes is a number, and means its digit.
    """
    taken: dict[str, str] = {}
    problems: list[str] = []
    for name, value in wanted.items():
        keys: Any = str(value) if type(value) is int and 0 <= value <= 9 else value
        if problem := _problem(name, keys):
            problems.append(f"{name if isinstance(name, str) else brief(name)}: {problem}")
        else:
            taken[name] = ",".join(_names(keys))
    while clash := _clash(taken):
        name, key, other = clash
        del taken[name]
        problems.append(
            f"{name}: {key_words(key)} is the key of {other} in the same place; left out. "
            f"Give {other} another one."
        )
    return taken, problems


def _problem(name: Any, keys: Any) -> str:
    if name not in BY_ID:
        near = difflib.get_close_matches(str(name)[:80], BY_ID, n=1)
        advice = f"Did you mean {near[0]}?" if near else "docs/dashboard.md lists the ids."
        return f"no action is called so; left out. {advice}"
    if not isinstance(keys, str):
        return f"{brief(keys)} is no key to YAML; left out. Write it in quotes, as '~' or 'p,f8'."
    if not _names(keys):
        return f"no key is named; left out. It keeps {key_words(BY_ID[name].keys.split(',')[0])}."
    unknown = [key for key in _names(keys) if not _is_key(key)]
    if unknown:
        return f"{brief(unknown[0])} is no key; left out. Keys are written as p, f8, ctrl+p, space."
    return ""


def _names(keys: str) -> list[str]:
    """Return the keys' names as Textual has them: question_mark for ?."""
    parts = [part.strip() for part in keys.split(",")]
    return [_character_to_key(part) if len(part) == 1 else part for part in parts if part]


def _is_key(name: str) -> bool:
    """Return whether a terminal can send a key that Textual calls so."""
    *modifiers, last = name.split("+")
    if name in _NAMES:
        return True
    if any(modifier not in _MODIFIERS for modifier in modifiers):
        return False
    if not _is_character(last):
        return last in _NAMES
    # with shift a terminal sends another character, and the small one where ctrl or alt is held
    return not modifiers or last == "space" or (modifiers != ["shift"] and not last.isupper())


def _is_character(name: str) -> bool:
    if len(name) == 1:
        return _character_to_key(name) == name
    full = REPLACED_KEYS.get(name, name)
    try:
        character = unicodedata.lookup(KEY_TO_UNICODE_NAME.get(full, full.replace("_", " ")))
    except KeyError:
        return False
    return _character_to_key(character) == name


def _clash(taken: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return (an action with a chosen key, that key, who else has it in its place)."""
    for name in taken:
        mine = set(keys_of(BY_ID[name], taken))
        for other in KEYS:
            both = mine & set(keys_of(other, taken)) - _shared(BY_ID[name], other)
            is_same = other.action == BY_ID[name].action
            if both and not is_same and _meet(BY_ID[name], other):
                return name, sorted(both)[0], other.id
    return None


def keys_of(key: Key, taken: Mapping[str, str]) -> list[str]:
    """Return an action's keys by Textual's names: those that a person took for it, or its own."""
    return _names(taken.get(key.id, key.keys))


def _shared(one: Key, other: Key) -> set[str]:
    """Return the keys that both have by default: Config's undo stands before suspending."""
    return set(_names(one.keys)) & set(_names(other.keys))


def _meet(one: Key, other: Key) -> bool:
    scopes, others = set(one.screens), set(other.screens)
    return bool(scopes & others or (scopes | others) & _EVERYWHERE)
