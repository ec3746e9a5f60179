"""Themes: a YAML file of colours in, a checked Textual theme out.

The bundled ones lie in ``themes/``, a person's own in ``themes/`` of the configuration folder,
where one of the same name takes a bundled one's place. A theme's name is its file's. Textual takes
a bad colour silently and breaks when the theme is applied, so every key and colour is proved first
(`theme_proof`); what is wrong is told with the nearest right word, and the theme in use stays.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.errors import ConfigError, UserError
from engine.run.fact import Fact
from tui.contrast import faintest
from tui.small_file import read_small
from tui.theme_proof import COLOURS, SERIES, checked_variable, solid_colour, unusable
from tui.wording import brief, nearest

BUNDLED = ("midnight", "paper", "ember", "fjord", "contrast", "okabe", "sixteen", "mono")
DEFAULT = "midnight"
REQUIRED = tuple(name for name in COLOURS if name != "boost")

_HERE = Path(__file__).parents[1] / "themes"  # importlib.resources is a fiftieth of a start
_OTHERS = ("title", "about", "dark", "ansi", "series", "variables")
_NAME = re.compile(r"\w[\w-]*")


class ThemeError(UserError):
    """A theme is missing, or its file cannot be used; it names the file and the key."""


class LoadedTheme(Fact):
    """A theme that can be applied."""

    theme: Theme
    title: str
    about: str
    path: Path | None  # None for a bundled one


class ThemeLibrary:
    """The themes there are, bundled and a person's own; files are read when they are asked for."""

    def __init__(self, folder: Path | None = None) -> None:
        """Look for a person's own themes in `folder`, which need not exist."""
        self.folder = folder

    @property
    def names(self) -> list[str]:
        """The names, bundled ones first."""
        own = sorted(self._own())
        return [*BUNDLED, *(name for name in own if name not in BUNDLED)]

    def load(self, name: str) -> LoadedTheme:
        """Return the theme called `name`; raises ThemeError with what to do."""
        path = self._own().get(name)
        if path is None and name not in BUNDLED:
            raise ThemeError(
                f"There is no theme {brief(name)}{nearest(name, self.names)}. "
                f"There are {', '.join(self.names)}."
            )
        if path is None:
            text = (_HERE / f"{name}.yaml").read_text(encoding="utf-8")
            return _theme(plain_mapping(text), name, f"themes/{name}.yaml", None)
        if not _NAME.fullmatch(name):
            raise ThemeError(f"{path}: its name may have letters, digits, - and _; rename it.")
        try:
            text = read_small(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ThemeError(f"{path} cannot be read ({reason}).") from error
        return theme_from_text(text, name, path)

    def after(self, name: str) -> str:
        """Return the name that follows `name`, the first after the last."""
        names = self.names
        return names[(names.index(name) + 1) % len(names)] if name in names else names[0]

    def _own(self) -> dict[str, Path]:
        if self.folder is None:
            return {}
        try:
            return {
                path.stem: path
                for path in self.folder.iterdir()
                if path.suffix in (".yaml", ".yml")
                and not path.name.startswith(".")
                and path.name.isprintable()
            }
        except OSError:
            return {}


def default_name(*, colours: int | None = None) -> str:
    """Return the theme for a terminal of so many colours; None for one that was not asked."""
    if colours is not None and colours < 8:
        return "mono"
    return "sixteen" if colours is not None and colours <= 16 else DEFAULT


def theme_from_text(text: str, name: str, path: Path | None = None) -> LoadedTheme:
    """Return the theme that a YAML text describes; raises ThemeError for what is wrong in it."""
    where = str(path) if path else f"themes/{name}.yaml"
    return _theme(_mapping(text, where), name, where, path)


def plain_mapping(text: str) -> dict[str, Any]:
    """Return what a bundled theme says, read without PyYAML: a third of a start goes into that.

    It knows lines of `key: value`, one list in brackets, and one level of indented lines below a
    key. A test holds it equal to PyYAML on every bundled theme.
    """
    out: dict[str, Any] = {}
    into = out
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = (
            line.strip().partition(": ") if ": " in line else (line.strip()[:-1], "", "")
        )
        into = into if line.startswith(" ") else out
        if value.startswith("["):
            out[key] = [part.strip().strip('"') for part in value.strip("[]").split(",")]
        elif value:
            into[key] = {"true": True, "false": False}.get(value, value.strip('"'))
        else:
            into = out[key] = {}
    return out


def _theme(content: Mapping[Any, Any], name: str, where: str, path: Path | None) -> LoadedTheme:
    for key in content:
        if key not in (*COLOURS, *_OTHERS):
            known = [*COLOURS, *_OTHERS]
            raise ThemeError(f"{where}: there is no key {brief(key)}{nearest(key, known)}.")
    if missing := [key for key in REQUIRED if key not in content]:
        raise ThemeError(f"{where}: {', '.join(missing)} missing; every colour must be named.")
    colours = {key: _colour(content[key], f"{where}: {key}") for key in COLOURS if key in content}
    is_ansi = _boolean(content, "ansi", where, default=False)
    series = content.get("series", [content[key] for key in ("primary", "accent", "success")])
    if not isinstance(series, list) or not series:
        raise ThemeError(f"{where}: series: a list of colours was wanted, {brief(series)} found.")
    lines = [_colour(one, f"{where}: series, colour {n}") for n, one in enumerate(series, start=1)]
    variables = content.get("variables") or {}
    if not isinstance(variables, dict):
        raise ThemeError(f"{where}: variables: a mapping was wanted, {brief(variables)} found.")
    own = {key: _variable(key, value, where) for key, value in variables.items()}
    numbered = zip(range(1, SERIES + 1), itertools.cycle(lines), strict=False)
    filled = {f"series-{number}": colour.hex for number, colour in numbered}
    is_dark = _boolean(content, "dark", where, default=True)
    filled |= _ends(is_dark) if is_ansi else _shades(colours)
    theme = Theme(
        name=name, dark=is_dark, ansi=is_ansi, variables=filled, primary=content["primary"]
    )
    for key in colours:
        setattr(theme, key, content[key])
    if path is not None:  # a test proves the bundled ones, not every start
        _prove(theme, own, where)
    theme.variables.update(own)
    return LoadedTheme(theme, _line(content, "title", name), _line(content, "about", ""), path)


def _line(content: Mapping[Any, Any], key: str, default: str) -> str:
    """Return a text on one line, without what a terminal would obey."""
    text = " ".join(str(content.get(key, default))[:200].split())
    return "".join(letter for letter in text if letter.isprintable())


def _mapping(text: str, where: str) -> Mapping[Any, Any]:
    from engine.yaml_text import parse_yaml

    try:
        content = parse_yaml(text, where)
    except ConfigError as error:
        raise ThemeError(str(error)) from error
    if not isinstance(content, dict):
        raise ThemeError(f"{where}: a mapping of colours was wanted. Copy one of the bundled ones.")
    return content


def _boolean(content: Mapping[Any, Any], key: str, where: str, *, default: bool) -> bool:
    value = content.get(key, default)
    if not isinstance(value, bool):
        raise ThemeError(f"{where}: {key}: true or false was wanted, {brief(value)} found.")
    return value


def _colour(value: Any, where: str) -> Color:
    try:
        return solid_colour(value)
    except ValueError as error:
        raise ThemeError(f"{where}: {error}") from None


def _variable(key: Any, value: Any, where: str) -> str:
    try:
        return checked_variable(key, value)
    except ValueError as error:
        raise ThemeError(f"{where}: variables: {error}") from None


def _shades(colours: Mapping[str, Color]) -> dict[str, str]:
    """Return what follows from the colours: dim text, quiet borders, the cursor of lists."""
    ground, ink, primary = colours["background"], colours["foreground"], colours["primary"]
    return {
        "text-muted": ground.blend(ink, 0.72).hex,
        "text-disabled": faintest(ink, ground, 0.48).hex,
        "border-blurred": ground.blend(ink, 0.30).hex,
        "block-cursor-foreground": ground.hex,
        "block-cursor-background": primary.hex,
        "block-cursor-blurred-foreground": ink.hex,
        "block-cursor-blurred-background": ground.blend(primary, 0.14).hex,
        "block-cursor-blurred-text-style": "bold",
        "scrollbar": ground.blend(ink, 0.28).hex,
        "scrollbar-hover": ground.blend(ink, 0.4).hex,
        "scrollbar-active": primary.hex,
        "scrollbar-background": ground.hex,
        "footer-background": colours["panel"].hex,
        "footer-key-foreground": colours["accent"].hex,
    }


def _ends(is_dark: bool) -> dict[str, str]:
    """Return the two variables that Textual's own rules name and its ANSI colours lack."""
    ends = ("ansi_black", "ansi_white") if is_dark else ("ansi_white", "ansi_black")
    return dict(zip(("ansi-background", "ansi-foreground"), ends, strict=True))


def _prove(theme: Theme, own: Mapping[str, str], where: str) -> None:
    """Let Textual make of a person's theme what it makes of one that is worn."""
    for chosen in ([*own], *([name] for name in own)):  # all, and where that fails each alone
        variables = {**theme.variables, **{name: own[name] for name in chosen}}
        try:
            css = replace(theme, variables=variables).to_color_system().generate() | variables
            name = unusable(css, chosen)
        except (ColorParseError, ValueError, TypeError):
            name = chosen[0] if len(chosen) == 1 else None
        else:
            if name is None and len(chosen) == len(own):
                return
        if name is not None:
            value = brief(own[name])
            raise ThemeError(f"{where}: variables: {name}: {value} cannot be used there.")
    raise ThemeError(f"{where}: these colours cannot be combined.")
