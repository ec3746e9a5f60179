"""Which settings of a run may change while it is at work, and what two configurations differ in.

Used by the worker, which takes them up, and by clients that write them. No MLX.
"""

from typing import Any

from engine.config import SECTIONS, DiffusionOptimizationConfig, describe_fields
from engine.errors import ConfigError


def live_keys() -> list[str]:
    """Return the settings that a worker takes up while it works, by dotted key."""
    return [
        f"{section}.{name}"
        for section, kind in SECTIONS.items()
        for name, info in describe_fields(kind).items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("is_live")
    ]


def changes_between(
    old: DiffusionOptimizationConfig, new: DiffusionOptimizationConfig
) -> dict[str, tuple[Any, Any]]:
    """Return (old, new) of every setting that differs, by dotted key."""
    before, after = _flat(old), _flat(new)
    return {
        key: (before[key], value) for key, value in after.items() if _differ(before[key], value)
    }


def live_changes(
    old: DiffusionOptimizationConfig, new: DiffusionOptimizationConfig
) -> dict[str, tuple[Any, Any]]:
    """Return (old, new) of every setting that differs.

    Raises ConfigError where one of them cannot change while the run is at work.
    """
    changes = changes_between(old, new)
    fixed = [key for key in changes if key not in live_keys()]
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)} cannot change once a run has begun; only "
            f"{', '.join(live_keys())} can. Start another run with these settings."
        )
    return changes


def told(changes: dict[str, tuple[Any, Any]]) -> str:
    """Return changes in one line: run.checkpoint_seconds 300.0 -> 60.0."""
    return ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changes.items())


def _flat(config: DiffusionOptimizationConfig) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in config.to_dict().items():
        if key in SECTIONS:
            out |= {f"{key}.{name}": one for name, one in value.items()}
        else:
            out[key] = value
    return out


def _differ(a: Any, b: Any) -> bool:
    return type(a) is not type(b) or a != b
