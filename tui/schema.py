"""The settings as a form sees them: every key with its kind, bounds, unit and help.

Made from `engine.config.describe_fields` alone, so that form and engine cannot disagree.
"""

from __future__ import annotations

import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, Literal

from engine.run.fact import Fact
from tui.broken import BROKEN

Kind = Literal[
    "bool", "choice", "int", "float", "text", "path", "ints", "floats", "texts", "choices"
]
# known without engine.config, which brings pydantic; a test holds them equal
SECTION_NAMES = (
    "", "original", "guidance", "schedule", "training", "lora", "data", "quality", "hardware",
    "export", "run",
)  # fmt: skip
PATHS = ("model_path", "data.images", "data.prompts")


class Setting(Fact):
    """One key."""

    key: str  # "training.batch_size"
    kind: Kind
    default: Any  # None where there is none, as for model_path
    is_required: bool
    is_optional: bool  # null is a value
    choices: tuple[Any, ...]
    unit: str
    bounds: str  # ">= 1, <= 65536"
    description: str
    is_live: bool  # may change while the run is at work

    @property
    def section(self) -> str:
        """The section's name, "" for the five settings above all sections."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The key without its section."""
        return self.key.rpartition(".")[2]


class Section(Fact):
    """A group of settings; `name` is "" for the five above all sections."""

    name: str
    help: str
    settings: tuple[Setting, ...]


@cache
def sections() -> tuple[Section, ...]:
    """Return all sections, in the order of the file."""
    from engine.config import SECTIONS, DiffusionOptimizationConfig, describe_fields

    top = [
        _setting(name, info, DiffusionOptimizationConfig)
        for name, info in describe_fields(DiffusionOptimizationConfig).items()
        if name not in SECTIONS
    ]
    found = [Section("", "What most people set.", tuple(top))]
    for name, kind in SECTIONS.items():
        fields = describe_fields(kind).items()
        settings = tuple(_setting(f"{name}.{key}", info, kind) for key, info in fields)
        found.append(Section(name, " ".join((kind.__doc__ or "").split()), settings))
    return tuple(found)


@cache
def settings_by_key() -> dict[str, Setting]:
    """Return every setting by its key."""
    return {one.key: one for section in sections() for one in section.settings}


@cache
def key_order() -> tuple[str, ...]:
    """Return all keys, sections among them, in the order of the file."""
    keys: list[str] = []
    for section in sections():
        keys += [section.name] if section.name else []
        keys += [one.key for one in section.settings]
    return tuple(keys)


def defaults() -> dict[str, Any]:
    """Return the default of every key that has one."""
    return {key: one.default for key, one in settings_by_key().items() if not one.is_required}


def settings_in(path: Path) -> dict[str, Any] | None:
    """Return the settings that a file names, by their dotted keys; None where it cannot be read.

    The file may hold anything: PyYAML lets IndexError (`!!int ''`) and others out, and
    RecursionError where brackets are nested some thousand deep.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return flat(content) if isinstance(content, dict) else None
    except (*BROKEN, RecursionError, yaml.YAMLError):
        return None


def flat(data: typing.Mapping[Any, Any]) -> dict[str, Any]:
    """Return nested settings by their dotted keys; what no section holds stays as it is."""
    out: dict[str, Any] = {}
    names = {section.name for section in sections()}
    for key, value in data.items():
        if key in names and isinstance(value, dict):
            out |= {f"{key}.{inner}": one for inner, one in value.items()}
        elif key not in names or value is not None:
            out[str(key)] = value
    return out


def _setting(key: str, info: Any, owner: type) -> Setting:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    hints = typing.get_type_hints(owner, include_extras=True)
    hint = hints[key.rpartition(".")[2]]
    parts = [_bare(part) for part in _union(hint)]
    inner = next(part for part in parts if part is not type(None))
    kind, choices = _kind_of(key, inner)
    return Setting(
        key=key,
        kind=kind,
        default=None if info.is_required() else info.get_default(call_default_factory=True),
        is_required=info.is_required(),
        is_optional=type(None) in parts,
        choices=choices,
        unit=str(extra.get("unit", "")),
        bounds=_bounds(info.metadata) or _item_bounds(inner),
        description=str(info.description or ""),
        is_live=bool(extra.get("is_live", False)),
    )


def _kind_of(key: str, hint: Any) -> tuple[Kind, tuple[Any, ...]]:
    if typing.get_origin(hint) is Literal:
        return "choice", typing.get_args(hint)
    if typing.get_origin(hint) is list:
        item = _bare(typing.get_args(hint)[0])
        if typing.get_origin(item) is Literal:
            return "choices", typing.get_args(item)
        kinds: dict[Any, Kind] = {int: "ints", float: "floats"}
        return kinds.get(item, "texts"), ()
    plain: dict[Any, Kind] = {bool: "bool", int: "int", float: "float"}
    return plain.get(hint, "path" if key in PATHS else "text"), ()


def _union(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def _bounds(metadata: typing.Iterable[Any]) -> str:
    notes = [
        f"{sign} {getattr(one, name):.10g}"
        for one in metadata
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if getattr(one, name, None) is not None
    ]
    return ", ".join(notes)


def _item_bounds(hint: Any) -> str:
    if typing.get_origin(hint) is not list:
        return ""
    item = typing.get_args(hint)[0]
    if typing.get_origin(item) is not typing.Annotated:
        return ""
    infos = typing.get_args(item)[1:]
    bounds = _bounds(one for info in infos for one in getattr(info, "metadata", [info]))
    return f"each {bounds}" if bounds else ""
