"""A setting's value as the form shows it, and as a person types it there. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.errors import ConfigError
from tui.schema import Setting


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


def read_typed(setting: Setting, typed: str) -> tuple[Any, str | None]:
    """Return the value that a person typed for a setting, and the spelling to keep."""
    from engine.yaml_text import parse_yaml

    typed = typed.strip()
    if typed in ("null", "~") and setting.is_optional:
        return None, None
    if setting.kind in ("text", "path"):
        return typed, None
    if setting.kind in ("ints", "floats", "choices", "texts"):
        inside = typed.removeprefix("[").removesuffix("]")
        try:
            value = parse_yaml(f"[{inside}]", setting.key)
        except ConfigError:
            return typed, None
        if setting.kind == "floats":
            value = [float(one) if type(one) is int else one for one in value]
        return value, None
    try:
        value = parse_yaml(typed, setting.key)
    except ConfigError:
        return typed, None
    if isinstance(value, dict | list) or value is None:
        return typed, None
    if setting.kind == "float" and type(value) is int:
        return float(value), typed
    return value, typed


def shown(value: Any) -> str:
    """Return a value as the form shows it, and as it can be typed."""
    from tui.yaml_spelling import spell

    if value is MISSING:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(one if isinstance(one, str) else spell(one) for one in value)
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        digits = Decimal(repr(value)).normalize()
        exponent = digits.adjusted()
        return f"{digits.scaleb(-exponent):f}e{exponent}"  # 1e-4, as everybody writes it
    return spell(value)
