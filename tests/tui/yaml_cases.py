"""Edits of a YAML of settings, and the order in which these stand there."""

from typing import Any

from engine.config import SECTIONS, describe_fields
from tui.yaml_edit import remove_key, set_key

ORDER = ["model_path", "target_steps", "quality_threshold"] + [
    key
    for section, kind in SECTIONS.items()
    for key in (section, *(f"{section}.{name}" for name in describe_fields(kind)))
]
SET, REMOVE, REFUSED = "set", "remove", None


def edited(text: str, key: str, value: Any) -> str:
    return remove_key(text, key) if value == REMOVE else set_key(text, key, value, order=ORDER)
