"""Whether Textual can use what a theme's variables say, asked before it has to.

Textual takes every text for a variable and fails when a rule that names it is parsed, or later,
when what was parsed is drawn. So each variable is held against what it may be, and then its value
is put into every kind of rule and style that rules and screens name variables in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from rich.errors import StyleSyntaxError
from rich.style import Style
from textual.color import Color, ColorParseError
from textual.css.errors import StylesheetError
from textual.css.stylesheet import Stylesheet, StylesheetParseError
from textual.css.tokenizer import TokenError
from textual.design import ColorSystem
from textual.markup import parse_style

from tui.wording import brief, nearest

COLOURS = (
    "background", "surface", "panel", "boost", "foreground",
    "primary", "secondary", "accent", "success", "warning", "error",
)  # fmt: skip
SERIES = 6  # colours of the lines and marks of Compare, $series-1 to $series-6
# what Textual raises for a value that it cannot use
UNUSABLE = (StylesheetError, StylesheetParseError, TokenError, ColorParseError, StyleSyntaxError,
             ValueError, TypeError)  # fmt: skip
HINT = ' Write it as "#7cb0ff", with the quotes, or by a name as ansi_cyan.'

_SOLID = (*COLOURS, *(f"series-{number}" for number in range(1, SERIES + 1)))
_STYLE_WORDS = ("bold", "b", "dim", "italic", "i", "underline", "u", "reverse", "strike")
_STYLE = re.compile(r"none|((not )?(?!no(t|ne)\b)\w+( |$))+")
_SHARE = re.compile(r"(?P<colour>.*?\)|\S+)(?:\s+(?P<share>.+))?", re.DOTALL)
_TEXT_RULES = ("color", "link-color", "border-title-color", "border-subtitle-color")
_COLOUR_RULES = (
    *_TEXT_RULES, "background", "link-background", "scrollbar-color", "scrollbar-background",
    "tint", "background-tint", "border: round", "border-top: tall", "hatch: right",
)  # fmt: skip
_STYLE_RULES = ("text-style", "link-style", "border-title-style")


def solid_colour(value: object) -> Color:
    """Return a colour that hides what is behind; raises ValueError with the reason."""
    try:
        colour = Color.parse(value) if isinstance(value, str) else None
    except ColorParseError:
        colour = None
    if colour is None:
        raise ValueError(f"{brief(value)} is no colour.{HINT}")
    if colour.a < 1 or colour.auto:
        raise ValueError(f"{brief(value)} lets what is behind shine through.{HINT}")
    return colour


def checked_variable(key: object, value: object) -> str:
    """Return a variable's value as Textual is to have it; raises ValueError with the reason."""
    plain = _plain()
    if key not in plain:
        raise ValueError(f"no {brief(key)}{nearest(key, sorted(plain))}.")
    assert isinstance(key, str)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key}: {brief(value)} is no colour and no style.")
    try:
        if "style" in key:
            return _style(value)
        return solid_colour(value.strip()).hex if key in _SOLID else _shared_colour(key, value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def unusable(variables: Mapping[str, str], names: list[str]) -> str | None:
    """Return the first of `names` whose value Textual fails on; None where it takes them all."""
    if _is_usable(variables, names):
        return None
    return next((name for name in names if not _is_usable(variables, [name])), names[0])


def _style(value: str) -> str:
    words = value.split()
    if wrong := [word for word in words if word not in (*_STYLE_WORDS, "not", "none")]:
        raise ValueError(f"{brief(wrong[0])} is no style; try bold.")
    if not _STYLE.fullmatch(" ".join(words)):
        raise ValueError(
            f"{brief(value)} is no style: not stands before another word, none stands alone."
        )
    return " ".join(words)


def _shared_colour(key: str, value: str) -> str:
    found = _SHARE.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{brief(value)} is no colour.{HINT}")
    colour, share = found["colour"], found["share"]
    if share is not None and not (re.fullmatch(r"[0-9]{1,3}%", share) and int(share[:-1]) <= 100):
        raise ValueError(f"{brief(value)}: a share is written as 50%, of 100% at most.")
    default = _plain()[key].split()[0]
    if colour == "transparent" or (colour == default and default in ("auto", "initial")):
        written = colour
    elif colour in ("auto", "initial"):
        raise ValueError(f"{colour} is not for it. It takes a colour.{HINT}")
    else:
        written = solid_colour(colour).hex
    return f"{written} {share}" if share else written


def _is_usable(variables: Mapping[str, str], names: list[str]) -> bool:
    sheet = Stylesheet(variables={name: variables[name] for name in names})
    sheet.add_source("".join(f"Widget {{ {rule}; }}\n" for name in names for rule in _rules(name)))
    try:
        sheet.parse()
        for name in names:
            value = variables[name]
            if "style" in name:
                Style.parse(value)
            elif value != "initial":
                parse_style(f"bold ${name} 60% on ${name}", {name: value})
    except UNUSABLE:
        return False
    return True


def _rules(name: str) -> list[str]:
    """Return the rules that would name a variable."""
    if "style" in name:
        return [f"{rule}: ${name}" for rule in _STYLE_RULES]
    if _plain()[name] == "initial":
        return [f"{name}: ${name}"]  # link-background, which has a rule of its own
    is_text = _plain()[name].startswith("auto")
    rules = [
        rule if ":" in rule else f"{rule}:" for rule in (_TEXT_RULES if is_text else _COLOUR_RULES)
    ]
    return [f"{rule} ${name}" for rule in rules] + [
        f"{rule} ${name} 50%" for rule in rules if "hatch" not in rule
    ]


@cache
def _plain() -> dict[str, str]:
    """Return the variables that there are, with Textual's own values."""
    series = {f"series-{number}": "#ffffff" for number in range(1, SERIES + 1)}
    return ColorSystem(primary="#ffffff").generate() | series
