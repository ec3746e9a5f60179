"""How a value is written in YAML so that PyYAML, our loader and a person read the same. Pure.

`yaml_edit` puts the words written here into a text.
"""

import math
import re
from typing import Any

import yaml

from engine.yaml_text import SettingsLoader

_PLAIN = re.compile(r"[A-Za-z0-9_./~$(][^\n\r\x85\u2028\u2029\ufeff]*")
_EXPONENT = re.compile(r"([-+]?)([0-9][0-9_]*|\.[0-9_]+|[0-9][0-9_]*\.[0-9_]*)[eE]([-+]?)([0-9]+)")


def spell(value: Any, *, spelling: str | None = None, quote: str | None = None) -> str:
    """Return `value` as a YAML scalar or flow list, on one line.

    `spelling` is how a person wrote it (3e-4, 1_000) and is kept where every reader takes it for
    that value; `quote` is the quotation mark of the text that it takes the place of.
    """
    if isinstance(value, list):
        return f"[{', '.join(spell(item) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return _text(value, quote)
    if spelling is not None and (kept := _number_as_written(value, spelling.strip())):
        return kept
    return plain_float(value) if isinstance(value, float) else str(value)


def plain_float(value: float) -> str:
    """Return a float as YAML 1.1 knows it: 5.0e-05, for 5e-05 is text to PyYAML."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return _with_point(repr(value))


def is_same(a: Any, b: Any) -> bool:
    """Return whether two loaded values are equal in type and content; NaN equals itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def _number_as_written(value: Any, spelling: str) -> str | None:
    for candidate in (spelling, _with_point(spelling)):
        if is_same(_loaded(candidate, SettingsLoader), value) and is_same(
            _loaded(candidate, yaml.SafeLoader), value
        ):
            return candidate
    return None


def _with_point(number: str) -> str:
    match = _EXPONENT.fullmatch(number)
    if not match:
        return number
    sign, digits, exponent_sign, exponent = match.groups()
    point = "" if "." in digits else ".0"
    return f"{sign}{digits}{point}e{exponent_sign or '+'}{exponent}"


def _text(value: str, quote: str | None) -> str:
    if quote is None and _PLAIN.fullmatch(value) and _reads_back(value, value):
        return value
    single = "'" + value.replace("'", "''") + "'"
    if quote != '"' and value.isprintable() and _reads_back(single, value):
        return single
    dumped = yaml.dump(value, default_style='"', allow_unicode=True, width=10**9)
    return dumped.rstrip("\n")


def _reads_back(written: str, value: str) -> bool:
    """Return whether both loaders read `written` as `value`, wherever it may stand."""
    for context in (f"k: {written} # c\n", f"k: [{written}, 1]\n", f"{{k: {written}, j: 1}}\n"):
        for loader in (SettingsLoader, yaml.SafeLoader):
            loaded = _loaded(context, loader)
            found = loaded.get("k") if isinstance(loaded, dict) else None
            if not is_same(found[0] if isinstance(found, list) and found else found, value):
                return False
    return True


def _loaded(text: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        return None
