"""Themes: a YAML file of colours in, a checked Textual theme out.

The bundled ones lie in ``themes/``, a person's own in ``themes/`` of the configuration folder,
where one of the same name takes a bundled one's place. A theme's name is its file's. Textual takes
a bad colour silently and breaks when the theme is applied, so every key and colour is proved here
first; what is wrong is told with the nearest right word, and the theme in use stays.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.design import ColorSystem
from textual.theme import Theme

from engine.errors import UserError
from engine.run.fact import Fact

BUNDLED = ("midnight", "paper", "ember", "fjord", "contrast", "okabe", "sixteen", "mono")
DEFAULT = "midnight"
SERIES = 6  # colours of the lines and marks of Compare, $series-1 to $series-6
COLOURS = (
    "background", "surface", "panel", "boost", "foreground",
    "primary", "secondary", "accent", "success", "warning", "error",
)  # fmt: skip
REQUIRED = tuple(name for name in COLOURS if name != "boost")
TEXT_COLOURS = ("foreground", "primary", "secondary", "accent", "success", "warning", "error")
GROUNDS = ("background", "surface", "panel", "block-cursor-blurred-background")
READABLE = 4.5  # WCAG 2.2, success criterion 1.4.3

_HERE = Path(__file__).parents[1] / "themes"  # importlib.resources is a fiftieth of a start
_OTHERS = ("title", "about", "dark", "ansi", "series", "variables")
_TEXT_STYLES = {
    "b", "bold", "d", "dim", "i", "italic", "u", "underline", "r", "reverse", "s", "strike",
    "none", "not",
}  # fmt: skip


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
                f"There is no theme {name!r}{_nearest(name, self.names)}. "
                f"There are {', '.join(self.names)}."
            )
        if path is None:
            text = (_HERE / f"{name}.yaml").read_text(encoding="utf-8")
            return _theme(plain_mapping(text), name, f"themes/{name}.yaml", None)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ThemeError(f"{path} cannot be read ({error}).") from error
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
                if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
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
            raise ThemeError(f"{where}: there is no key {key!r}{_nearest(str(key), known)}.")
    if missing := [key for key in REQUIRED if key not in content]:
        raise ThemeError(f"{where}: {', '.join(missing)} missing; every colour must be named.")
    colours = {key: _colour(content[key], f"{where}: {key}") for key in COLOURS if key in content}
    is_ansi = _boolean(content, "ansi", where, default=False)
    series = content.get("series", [content[key] for key in ("primary", "accent", "success")])
    if not isinstance(series, list) or not series:
        raise ThemeError(f"{where}: series: a list of colours was wanted, {series!r} found.")
    for number, one in enumerate(series, start=1):
        _colour(one, f"{where}: series, colour {number}")
    variables = content.get("variables") or {}
    if not isinstance(variables, dict):
        raise ThemeError(f"{where}: variables: a mapping was wanted, {variables!r} found.")
    for key, value in variables.items():
        _check_variable(key, value, where)
    numbered = zip(range(1, SERIES + 1), itertools.cycle(series), strict=False)
    filled = {f"series-{number}": str(colour) for number, colour in numbered}
    is_dark = _boolean(content, "dark", where, default=True)
    filled |= _ends(is_dark) if is_ansi else _shades(colours)
    filled |= {str(key): str(value) for key, value in variables.items()}
    theme = Theme(
        name=name,
        dark=is_dark,
        ansi=is_ansi,
        variables=filled,
        primary=str(content["primary"]),
    )
    for key in colours:
        setattr(theme, key, str(content[key]))
    _prove(theme, where)
    return LoadedTheme(theme, str(content.get("title", name)), str(content.get("about", "")), path)


def contrast(one: Color, other: Color) -> float:
    """Return (L1 + 0.05) / (L2 + 0.05), 1 to 21; L is the relative luminance of WCAG 2.2."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def hard_to_read(loaded: LoadedTheme, least: float = READABLE) -> list[str]:
    """Return the pairs of text and ground below `least`, a line each; [] for a readable theme.

    A theme of the terminal's own colours has no pairs that could be measured.
    """
    theme = loaded.theme
    if theme.ansi:
        return []
    css = theme.to_color_system().generate() | theme.variables
    grounds = [(key, Color.parse(css[key])) for key in GROUNDS]
    inks = [(key, Color.parse(css[key])) for key in (*TEXT_COLOURS, "text-muted")]
    inks += [(f"series-{n}", Color.parse(css[f"series-{n}"])) for n in range(1, SERIES + 1)]
    pairs = [(*ink, *ground) for ink, ground in itertools.product(inks, grounds)]
    cursor = [f"block-cursor-{part}" for part in ("foreground", "background")]
    pairs.append((cursor[0], Color.parse(css[cursor[0]]), cursor[1], Color.parse(css[cursor[1]])))
    return [
        f"{ink} on {ground} has a contrast of {contrast(text, behind):.1f}, below {least:g}"
        for ink, text, ground, behind in pairs
        if contrast(text, behind) < least
    ]


def _mapping(text: str, where: str) -> Mapping[Any, Any]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "no YAML"
        raise ThemeError(f"{where}{line}: {reason}.") from error
    if not isinstance(content, dict):
        raise ThemeError(f"{where}: a mapping of colours was wanted. Copy one of the bundled ones.")
    return content


def _boolean(content: Mapping[Any, Any], key: str, where: str, *, default: bool) -> bool:
    value = content.get(key, default)
    if not isinstance(value, bool):
        raise ThemeError(f"{where}: {key}: true or false was wanted, {value!r} found.")
    return value


def _colour(value: Any, where: str) -> Color:
    hint = ' Write it as "#7cb0ff", with the quotes, or by a name as ansi_cyan.'
    if not isinstance(value, str):
        raise ThemeError(f"{where}: {value!r} is no colour.{hint}")
    try:
        colour = Color.parse(value)
    except ColorParseError as error:
        raise ThemeError(f"{where}: {value!r} is no colour.{hint}") from error
    if colour.a < 1 or colour.auto:
        raise ThemeError(f"{where}: {value!r} lets what is behind shine through.{hint}")
    return colour


def _check_variable(key: Any, value: Any, where: str) -> None:
    known = _known_variables()
    if key not in known:
        raise ThemeError(f"{where}: variables: no {key!r}{_nearest(str(key), sorted(known))}.")
    words = value.split() if isinstance(value, str) else []
    if not words:
        raise ThemeError(f"{where}: variables: {key}: {value!r} is no colour and no style.")
    if "style" in str(key):
        if wrong := [word for word in words if word not in _TEXT_STYLES]:
            raise ThemeError(f"{where}: variables: {key}: {wrong[0]!r} is no style; try bold.")
        return
    colour, *share = words
    if colour not in ("auto", "transparent", "initial"):
        _colour(colour, f"{where}: variables: {key}")
    if share and not (len(share) == 1 and share[0].rstrip("%").isdigit()):
        raise ThemeError(f"{where}: variables: {key}: {value!r}: a share is written as 50%.")


@cache
def _known_variables() -> frozenset[str]:
    plain = ColorSystem(primary="#ffffff").generate()
    return frozenset(plain) | {f"series-{number}" for number in range(1, SERIES + 1)}


def _shades(colours: Mapping[str, Color]) -> dict[str, str]:
    """Return what follows from the colours: dim text, quiet borders, the cursor of lists."""
    ground, ink, primary = colours["background"], colours["foreground"], colours["primary"]
    return {
        "text-muted": ground.blend(ink, 0.72).hex,
        "text-disabled": ground.blend(ink, 0.48).hex,
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


def _prove(theme: Theme, where: str) -> None:
    """Make all that Textual makes of a theme, so that nothing can fail when it is applied."""
    try:
        css = theme.to_color_system().generate() | theme.variables
    except (ColorParseError, ValueError, TypeError) as error:
        raise ThemeError(f"{where}: these colours cannot be combined ({error}).") from error
    for key, value in css.items():
        if "style" in key:
            continue
        first = value.split()[0]
        if first not in ("auto", "transparent", "initial"):
            _colour_of_textual(first, f"{where}: {key}")


def _colour_of_textual(value: str, where: str) -> None:
    try:
        Color.parse(value)
    except ColorParseError as error:
        raise ThemeError(f"{where}: {value!r} is no colour.") from error


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; {close[0]!r} is the nearest" if close else ""


def _luminance(colour: Color) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in colour.rgb)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
