"""Words for messages about what a person wrote: a value cut short, the nearest right word. Pure."""

from __future__ import annotations

import difflib
from reprlib import Repr


def brief(value: object) -> str:
    """Return a value for a message: one that a person can read, however large it is."""
    short = Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)


def nearest(word: object, known: list[str]) -> str:
    """Return "; 'primary' is the nearest", or "" where nothing is near."""
    close = difflib.get_close_matches(str(word)[:80], known, n=1, cutoff=0.6)
    return f"; {close[0]!r} is the nearest" if close else ""
