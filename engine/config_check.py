"""Everything that is wrong with a text of settings, each with its key, line and level.

`config.load_config` stops at the first mistake, which is right for a command; an editor shows them
all. No MLX.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from engine.config import (
    SECTIONS,
    DiffusionOptimizationConfig,
    config_from_dict,
    describe_fields,
    in_words,
    unknown_key_hint,
)
from engine.contradictions import contradictions
from engine.errors import ConfigError
from engine.yaml_text import UNREADABLE, SettingsLoader, parse_yaml, place_of, problem_of

Level = Literal["file", "field", "cross"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake. `key` is "training.batch_size", "" for the text as a whole."""

    key: str
    message: str  # for a place beside the key: "wanted >= 1, found 0"
    line: int | None  # from 1; None where the key does not stand in the text
    level: Level


@dataclass(frozen=True, slots=True)
class Checked:
    """What a text of settings amounts to.

    `data` is what stands in it, None if it does not parse; `config` the settings if all is right.
    """

    data: dict[str, Any] | None
    config: DiffusionOptimizationConfig | None
    faults: tuple[Fault, ...]
    lines: Mapping[str, int] = field(default_factory=dict)  # of each key in the text, from 1
    numbers: Mapping[str, str] = field(default_factory=dict)  # as they are written there: 1e-4


def check_text(text: str, name: str = "the settings") -> Checked:
    """Return the settings in `text`, or everything that is wrong with them."""
    try:
        node = yaml.compose(text, Loader=SettingsLoader)
    except yaml.YAMLError as error:
        line, _ = place_of(error, text)
        return Checked(None, None, (Fault("", problem_of(error), line, "file"),))
    except RecursionError:
        return Checked(None, None, (Fault("", "nested too deep", None, "file"),))
    lines, numbers, twice = _key_lines(node)
    try:
        data = parse_yaml(text, name)
    except ConfigError as error:
        faults = twice or (_unreadable(error, node, text, name),)
        return Checked(None, None, tuple(faults), lines)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        found = f"found {type(data).__name__}, wanted settings as 'key: value' lines"
        return Checked(None, None, (Fault("", found, 1, "file"),))
    faults = tuple(
        sorted(_faults(data, lines), key=lambda fault: (fault.line or 0, fault.level, fault.key))
    )
    config = None if faults else config_from_dict(data, name)
    return Checked(data, config, faults, lines, numbers)


def check_value(key: str, value: Any) -> str | None:
    """Return why one setting alone cannot be `value`, None if it can."""
    section, _, name = key.rpartition(".")
    kind: Any = SECTIONS[section] if section else DiffusionOptimizationConfig
    own: dict[str, Any] = {} if section else {"model_path": "x"}
    try:
        kind(**(own | {name: value}))
    except ValidationError as error:
        for one in error.errors(include_url=False):
            if one["loc"]:
                return _message(one)
    return None


def _faults(data: dict[Any, Any], lines: Mapping[str, int]) -> Iterator[Fault]:
    wrong: set[str] = set()
    right: dict[str, Any] = {}
    yield from _unknown(data, "", DiffusionOptimizationConfig, lines)
    for section, kind in SECTIONS.items():
        body = data.get(section)
        right[section] = kind()
        if body is None:
            continue
        if not isinstance(body, Mapping):
            wrong |= {section} | {f"{section}.{field.name}" for field in fields(kind)}
            message = f"wanted a section of 'key: value' lines below it, found {body!r}"
            yield Fault(section, message, lines.get(section), "field")
            continue
        yield from _unknown(body, f"{section}.", kind, lines)
        known = {name: body[name] for name in describe_fields(kind) if name in body}
        faults = list(_wrong_fields(kind, known, f"{section}.", lines))
        yield from faults
        wrong |= {fault.key for fault in faults}
        right[section] = kind(
            **{name: value for name, value in known.items() if f"{section}.{name}" not in wrong}
        )
    top = [name for name in describe_fields(DiffusionOptimizationConfig) if name not in SECTIONS]
    known = {name: data[name] for name in top if name in data}
    if "model_path" not in known:
        message = "missing; name the diffusers folder of the original model"
        yield Fault("model_path", message, None, "field")
        known["model_path"] = "missing"
    faults = list(_wrong_fields(DiffusionOptimizationConfig, known, "", lines))
    yield from faults
    wrong |= {fault.key for fault in faults}
    defaults = {
        name: info.default for name, info in describe_fields(DiffusionOptimizationConfig).items()
    }
    scalars = {name: defaults[name] if name in wrong else known.get(name, defaults[name])
               for name in top}  # fmt: skip
    for one in contradictions(SimpleNamespace(**scalars, **right)):
        # what follows from a value that is refused anyway is no news
        if not wrong & set(one.keys):
            line = next((lines[key] for key in one.keys if key in lines), None)
            yield Fault(one.keys[0], one.message, line, "cross")


def _unknown(
    content: Mapping[Any, Any], prefix: str, kind: type, lines: Mapping[str, int]
) -> Iterator[Fault]:
    known = describe_fields(kind)
    for key in content:
        if key not in known:
            message = f"unknown key; {unknown_key_hint(key, kind, prefix)}"
            yield Fault(f"{prefix}{key}", message, lines.get(f"{prefix}{key}"), "field")


def _wrong_fields(
    kind: type, values: Mapping[str, Any], prefix: str, lines: Mapping[str, int]
) -> Iterator[Fault]:
    try:
        kind(**values)
    except ValidationError as error:
        seen: set[str] = set()
        for one in error.errors(include_url=False):
            if not one["loc"]:
                continue  # a contradiction, which is told with its keys
            key = f"{prefix}{one['loc'][0]}"
            if key not in seen:
                seen.add(key)
                yield Fault(key, _message(one), lines.get(key), "field")


def _message(error: Any) -> str:
    """Return "wanted >= 1, found 0" from one of pydantic's errors."""
    wanted = in_words(str(error["msg"]))
    for words, sign in (
        ("greater than or equal to", ">="),
        ("less than or equal to", "<="),
        ("greater than", ">"),
        ("less than", "<"),
    ):
        wanted = wanted.replace(words, sign)
    items = [part + 1 for part in error["loc"][1:] if isinstance(part, int)]
    where = f" as number {items[0]} of the list" if items else ""
    found = error["input"]
    shown = "null" if found is None else str(found).lower() if found is True or found is False \
        else repr(found)  # fmt: skip
    if len(shown) > 40:
        shown = shown[:37] + "..."
    return f"wanted {wanted}, found {shown}{where}"


def _key_lines(node: yaml.Node | None) -> tuple[dict[str, int], dict[str, str], list[Fault]]:
    """Return the line of each key, its number as it is written, and the keys that stand twice."""
    lines: dict[str, int] = {}
    numbers: dict[str, str] = {}
    twice: list[Fault] = []

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
            if key in lines and key_node.value != "<<":
                message = f"stands here twice, first in line {lines[key]}; remove one"
                twice.append(Fault(key, message, line, "file"))
                continue
            lines[key] = line
            if isinstance(value, yaml.ScalarNode) and value.tag.endswith((":int", ":float")):
                numbers[key] = value.value
            # an alias stands elsewhere, and may stand in itself
            if not prefix and value.start_mark.index > key_node.start_mark.index:
                walk(value, f"{key}.")

    walk(node, "")
    return lines, numbers, twice


def _unreadable(error: ConfigError, node: yaml.Node | None, text: str, name: str) -> Fault:
    """Return what of a text that composes cannot be made into settings, with its line."""
    if isinstance(error.__cause__, yaml.YAMLError):
        line, _ = place_of(error.__cause__, text)
        return Fault("", problem_of(error.__cause__), line, "file")
    message = str(error).removeprefix(f"{name}:").strip().removeprefix("not valid YAML: ")
    return Fault("", message.removesuffix("."), _line_of_unreadable(node), "file")


def _line_of_unreadable(node: yaml.Node | None) -> int | None:
    """Return the line of the first scalar that is not what its form promises: 2001-13-45."""
    try:
        nodes = list(_scalars(node))
    except RecursionError:  # nested too deep, or an alias within itself
        return None
    for scalar in nodes:
        try:
            SettingsLoader("").construct_object(scalar)
        except (yaml.YAMLError, *UNREADABLE):
            return scalar.start_mark.line + 1
    return None


def _scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.CollectionNode):
        for part in node.value:
            for one in part if isinstance(part, tuple) else (part,):
                yield from _scalars(one)
