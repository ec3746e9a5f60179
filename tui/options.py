"""What the command line asked of the dashboard, and what the terminal can show.

No Textual here: the variables that it reads must be set before it is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_WIDTHS_KEPT = 512
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
COLORS = {"auto": None, "truecolor": "truecolor", "256": "256", "16": "standard", "none": None}


class Options(NamedTuple):
    """What the dashboard was started with."""

    runs_dir: Path
    theme: str | None = None  # None: as remembered
    is_low: bool = False  # once a second at most, ASCII, no charts
    has_mouse: bool = True
    color: str = "auto"
    is_ascii: bool = False
    is_cell_diff: bool = True
    target: str | None = None  # RUN, CONFIG, a recipe's name, "demo"


def is_plain_terminal(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the locale asks for plain ASCII.

    C or POSIX by name does; nothing set at all is taken for UTF-8. Python itself sets LC_CTYPE in
    a C locale (PEP 538), so that variable is believed only as the process was given it.
    """
    given = _given_at_start(environment)
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if value := given.get(name):
            return "utf-8" not in value.lower() and "utf8" not in value.lower()
    return environment.get("TERM") == "linux"


def _given_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    given = dict(environment)
    if environment is not os.environ or given.get("LC_CTYPE") not in _COERCED:
        return given
    try:
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        given.pop("LC_CTYPE", None)
        return given
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def prepare_environment(options: Options) -> None:
    """Set what Textual reads when it is imported."""
    setting = os.environ
    setting.setdefault("TEXTUAL_ANIMATIONS", "none")  # every frame of one is bytes over the link
    setting.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    if system := COLORS[options.color]:
        setting["TEXTUAL_COLOR_SYSTEM"] = system
        setting.pop("NO_COLOR", None)
    elif options.color == "none":
        setting["NO_COLOR"] = "1"
    if options.is_low:
        setting.setdefault("TEXTUAL_FPS", "5")
    _believe_the_terminal(setting)
    _remember_fewer_widths()


def _remember_fewer_widths() -> None:
    """Bound what Rich remembers of the widths of texts, before Textual takes the function over.

    Every bar of a chart is a text of its own: 4096 of them fill up over the better part of an hour
    and look like a leak of a megabyte until then.
    """
    import rich.cells

    measure = rich.cells.cached_cell_len.__wrapped__
    rich.cells.cached_cell_len = lru_cache(_WIDTHS_KEPT)(measure)


def _believe_the_terminal(setting: MutableMapping[str, str]) -> None:
    """Take a size out of the environment where the terminal itself tells one.

    Textual believes the environment first, and whatever was started by a program that uses readline
    has a size there: that of its parent's start, which no resize changes.
    """
    with suppress(OSError, ValueError, AttributeError):  # AttributeError: no stdout at all
        if all(os.get_terminal_size(sys.__stdout__.fileno())):  # pyright: ignore[reportOptionalMemberAccess]
            for name in ("COLUMNS", "LINES"):
                setting.pop(name, None)


def why_not_here(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return why the dashboard cannot be drawn on this terminal; None where it can."""
    term = environment.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        return (
            f"TERM is {term or 'not set'}, a terminal that cannot place text. Use another "
            "terminal, or `diffopt runs` and `diffopt log RUN --follow`."
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return (
            "this is not a terminal. `diffopt runs --json` and `diffopt show RUN --json` say the "
            "same to a program."
        )
    return None
