"""The runs table's query language: ``state:failed score>0.95 steps<=4 name:digits text``. Pure.

Every term must hold. A word alone is looked for in name, recipe, stage and reason; a term with `-`
before it must not hold; commas part alternatives (``state:failed,lost``); quotes hold blanks
together. A run without a figure satisfies no comparison with it.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable
from typing import Any

from engine.errors import UserError
from engine.run.fact import Fact
from tui.listing import RunRow

HINT = "state:failed  score>0.95  steps<=4  age<2d  name:digits  -archived:yes  or any word"

_TERM = re.compile(r"""(-?)([A-Za-z_]+)(<=|>=|!=|[:=<>])("[^"]*"|\S*)|(-?)("[^"]*"|\S+)""")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "=": operator.eq, ":": operator.eq, "!=": operator.ne,
}  # fmt: skip
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

_TEXTS: dict[str, Callable[[RunRow], str]] = {
    "state": lambda row: row.state,
    "name": lambda row: row.name,
    "recipe": lambda row: row.label,
    "stage": lambda row: row.stage,
    "reason": lambda row: row.reason,
    "device": lambda row: row.device,
}
_FIGURES: dict[str, Callable[[RunRow, float], float | None]] = {
    "score": lambda row, _: row.score,
    "bound": lambda row, _: row.lower_bound,
    "threshold": lambda row, _: row.threshold,
    "steps": lambda row, _: row.steps,
    "progress": lambda row, _: None if row.progress is None else 100 * row.progress,
    "age": lambda row, now: row.age(now),
    "eta": lambda row, _: row.eta_seconds,
}
_DURATIONS = ("age", "eta")
_FLAGS: dict[str, Callable[[RunRow], bool]] = {
    "archived": lambda row: row.is_archived,
    "live": lambda row: row.is_live,
}
_SAME = {"quality": "score", "label": "recipe", "lower_bound": "bound", "is": "state"}
KEYS = (*_TEXTS, *_FIGURES, *_FLAGS)


class QueryError(UserError):
    """A query cannot be understood; it says which term and what would do."""


class Query(Fact):
    """What the table is to show; the empty one shows all that is not archived."""

    text: str
    terms: tuple[Callable[[RunRow, float], bool], ...]
    is_about_archived: bool

    def matches(self, row: RunRow, now: float) -> bool:
        """Return whether a run is to be shown."""
        return all(term(row, now) for term in self.terms)


def parse(text: str) -> Query:
    """Return the query that a text means; raises QueryError with the term that is wrong."""
    terms = []
    keys = set()
    for match in _TERM.finditer(text):
        minus, key, sign, value, word_minus, word = match.groups()
        if key is None:
            terms.append(_not(word_minus, _word(word)))
            continue
        name = _SAME.get(key.lower(), key.lower())
        keys.add(name)
        terms.append(_not(minus, _term(name, sign, value.strip('"'), match[0])))
    return Query(text.strip(), tuple(terms), "archived" in keys)


def _not(minus: str | None, term: Callable[[RunRow, float], bool]) -> Any:
    return (lambda row, now: not term(row, now)) if minus else term


def _word(word: str) -> Callable[[RunRow, float], bool]:
    wanted = word.strip('"').lower()
    return lambda row, _: any(
        wanted in text.lower() for text in (row.name, row.label, row.stage, row.reason, row.state)
    )


def _term(key: str, sign: str, value: str, term: str) -> Callable[[RunRow, float], bool]:
    if key in _TEXTS:
        return _text_term(key, sign, value, term)
    if key in _FIGURES:
        return _figure_term(key, sign, value, term)
    if key in _FLAGS:
        if sign not in ":=" or value.lower() not in ("yes", "no"):
            raise QueryError(f"{term}: write {key}:yes or {key}:no.")
        wanted, flag = value.lower() == "yes", _FLAGS[key]
        return lambda row, _: flag(row) is wanted
    nearest = difflib.get_close_matches(key, [*KEYS, *_SAME], n=1, cutoff=0.5)
    more = f"; {nearest[0]} is the nearest" if nearest else ""
    raise QueryError(f"{term}: there is no {key}{more}. There are {', '.join(KEYS)}.")


def _text_term(key: str, sign: str, value: str, term: str) -> Callable[[RunRow, float], bool]:
    if sign not in (":", "=", "!="):
        raise QueryError(f"{term}: {key} is a word; write {key}:{value or '...'}.")
    if not value:
        raise QueryError(f"{term} what? Write a word after it, or * for any.")
    get, wanted = _TEXTS[key], [one for one in value.lower().split(",") if one]

    def holds(row: RunRow, _: float) -> bool:
        text = get(row).lower()
        if sign == "=":
            return text in wanted
        return any(one == "*" or one in text for one in wanted)

    return _not("-" if sign == "!=" else "", holds)


def _figure_term(key: str, sign: str, value: str, term: str) -> Callable[[RunRow, float], bool]:
    get, compare = _FIGURES[key], _COMPARE[sign]
    if value == "*" and sign in ":=":
        return lambda row, now: get(row, now) is not None
    wanted = _figure(key, value, term)

    def holds(row: RunRow, now: float) -> bool:
        found = get(row, now)
        return found is not None and compare(found, wanted)

    return holds


def _figure(key: str, value: str, term: str) -> float:
    match = re.fullmatch(r"([-+]?[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?)([a-z%]*)", value.lower())
    unit = match[2] if match else ""
    if match and key in _DURATIONS and unit in _UNITS:
        return float(match[1]) * _UNITS[unit]
    if match and key not in _DURATIONS and unit in ("", "%" if key == "progress" else ""):
        return float(match[1])
    wanted = "a time as 30s, 10m, 2h or 3d" if key in _DURATIONS else "a number"
    raise QueryError(f"{term}: {value or 'nothing'} is no figure; {wanted} was wanted.")
