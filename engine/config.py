"""`DiffusionOptimizationConfig`: YAML to checked settings and back, and the bundled recipes.

No MLX.

Precedence, last wins: defaults, the file or recipe, ``--set key=value``.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from engine.contradictions import contradictions
from engine.errors import ConfigError
from engine.files import expanded
from engine.settings import (
    STRICT,
    DataSettings,
    ExportSettings,
    GuidanceSettings,
    HardwareSettings,
    LoraSettings,
    OriginalSettings,
    QualitySettings,
    RunSettings,
    ScheduleSettings,
    TrainingSettings,
    setting,
)
from engine.yaml_text import parse_yaml

SECTIONS: dict[str, type] = {
    "original": OriginalSettings,
    "guidance": GuidanceSettings,
    "schedule": ScheduleSettings,
    "training": TrainingSettings,
    "lora": LoraSettings,
    "data": DataSettings,
    "quality": QualitySettings,
    "hardware": HardwareSettings,
    "export": ExportSettings,
    "run": RunSettings,
}


@dataclass(config=STRICT)
class DiffusionOptimizationConfig:
    """Everything a run needs to know. The first five fields are the ones most people set.

    Raises pydantic's ValidationError (a ValueError) when built by hand from wrong values;
    `load_config` turns that into a ConfigError that names the file and the key.
    """

    model_path: str = Field(
        description="diffusers folder of the original model, or bundled:digits",
        min_length=1,
        json_schema_extra={"unit": ""},
    )
    optimization_stages: int = setting(
        3, "distillation stages from the original steps to target_steps", ge=1, le=10
    )
    target_steps: int = setting(4, "sampling steps wanted", unit="steps", ge=1, le=999)
    quality_threshold: float = setting(
        0.95, "lower bound of quality_score that a student must reach, above 0 up to 1", gt=0, le=1
    )
    apple_silicon_optimization: bool = setting(
        True,
        "use the hardware section (compiled steps, types, quantised "
        "teacher); false runs plain and eager",
    )
    original: OriginalSettings = Field(default_factory=OriginalSettings)
    guidance: GuidanceSettings = Field(default_factory=GuidanceSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    lora: LoraSettings = Field(default_factory=LoraSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    quality: QualitySettings = Field(default_factory=QualitySettings)
    hardware: HardwareSettings = Field(default_factory=HardwareSettings)
    export: ExportSettings = Field(default_factory=ExportSettings)
    run: RunSettings = Field(default_factory=RunSettings)

    @model_validator(mode="after")
    def _check_across_fields(self) -> "DiffusionOptimizationConfig":
        for contradiction in contradictions(self):
            raise ValueError(contradiction.message)
        return self

    # Below the check above, and so around it: a value that was refused does not stay.
    @model_validator(mode="wrap")
    @classmethod
    def _keep_what_was_right(
        cls, value: Any, handler: ModelWrapValidatorHandler["DiffusionOptimizationConfig"]
    ) -> "DiffusionOptimizationConfig":
        before = dict(value.__dict__) if isinstance(value, cls) else {}
        try:
            return handler(value)
        except ValueError:
            if before:
                value.__dict__.update(before)
            raise

    def to_dict(self) -> dict[str, Any]:
        """Return every setting, sections nested, as plain YAML-ready values."""
        return asdict(self)  # pyright: ignore[reportArgumentType]  (a pydantic dataclass is one)

    def planned_steps(self) -> list[int]:
        """Return the step count after each stage.

        `training.stage_steps`, or even in ratio, falling strictly.
        """
        if self.training.stage_steps is not None:
            return list(self.training.stage_steps)
        return even_ratio_steps(self.original.steps, self.target_steps, self.optimization_stages)


def even_ratio_steps(original: int, target: int, stages: int) -> list[int]:
    """Return `stages` counts falling from below `original` to `target`.

    They are as even in ratio as whole numbers allow.
    """
    ratio = (target / original) ** (1 / stages)
    steps = [max(target, round(original * ratio**k)) for k in range(1, stages)] + [target]
    for i in range(len(steps) - 2, -1, -1):
        steps[i] = max(steps[i], steps[i + 1] + 1)
    return steps


def recipe_names() -> list[str]:
    """Return the names of the bundled recipes."""
    folder = resources.files("engine") / "assets" / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def recipe_text(name: str) -> str:
    """Return the text of a bundled recipe, whatever files of its name there are."""
    file = resources.files("engine") / "assets" / "recipes" / f"{name}.yaml"
    return file.read_text(encoding="utf-8")


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> DiffusionOptimizationConfig:
    """Return the settings of a YAML file or a bundled recipe, under ``key=value`` overrides.

    Raises ConfigError naming the file, the key, what was found and what was wanted.
    """
    text, name = read_source(source)
    return parse_config(text, name, overrides)


def parse_config(
    text: str, name: str, overrides: Iterable[str] = ()
) -> DiffusionOptimizationConfig:
    """Return the settings written in `text` (YAML); `name` stands for it in errors."""
    content = parse_yaml(text, name)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{name}: found {type(content).__name__}, wanted settings as 'key: value' lines."
        )
    for override in overrides:
        _apply_override(content, override)
    return config_from_dict(content, name)


def config_from_dict(content: Mapping[str, Any], name: str) -> DiffusionOptimizationConfig:
    """Return the settings in a nested mapping; `name` stands for it in errors."""
    _refuse_unknown(content, DiffusionOptimizationConfig, "", name)
    values = dict(content)
    for key, section in SECTIONS.items():
        if key not in values:
            continue
        body = values[key] if values[key] is not None else {}
        if not isinstance(body, Mapping):
            raise ConfigError(
                f"{name}: {key} is {body!r}; wanted a section of 'key: value' lines below it."
            )
        _refuse_unknown(body, section, f"{key}.", name)
        values[key] = _built(section, body, f"{key}.", name)
    if "model_path" not in values:
        raise ConfigError(
            f"{name}: model_path is missing; name the diffusers folder of the original model."
        )
    return _built(DiffusionOptimizationConfig, values, "", name)


def make_paths_absolute(config: DiffusionOptimizationConfig) -> None:
    """Make the paths among the settings absolute, for a run may be taken up from another folder.

    Names of what is bundled, and of models that are not on this disk, stay.
    """
    folder = expanded(config.model_path)
    if not config.model_path.startswith("bundled:") and folder.exists():
        config.model_path = str(folder.absolute())
    for name in ("images", "prompts"):
        source = getattr(config.data, name)
        if source is not None and not source.startswith("bundled:"):
            setattr(config.data, name, str(expanded(source).absolute()))


def config_to_yaml(config: DiffusionOptimizationConfig) -> str:
    """Return the settings as YAML, every key with its description, unit and bounds as a comment."""
    lines = ["# Settings of a diffopt run. `diffopt run THIS_FILE` repeats it."]
    values = config.to_dict()
    for key, info in describe_fields(DiffusionOptimizationConfig).items():
        if key not in SECTIONS:
            lines += [f"# {_described(info)}", _dumped(key, values[key])]
    for key, section in SECTIONS.items():
        lines += ["", f"# {(section.__doc__ or '').splitlines()[0]}", f"{key}:"]
        for name, info in describe_fields(section).items():
            lines += [f"  # {_described(info)}", f"  {_dumped(name, values[key][name])}"]
    return "\n".join(lines) + "\n"


def describe_fields(section: type) -> dict[str, FieldInfo]:
    """Return pydantic's description of each field of a settings class.

    Default, bounds, description, unit.
    """
    return dict(section.__pydantic_fields__)  # pyright: ignore[reportAttributeAccessIssue]


def read_source(source: str | Path) -> tuple[str, str]:
    """Return the text of a file or a bundled recipe, and its name for a message.

    Raises ConfigError.
    """
    path = expanded(source)
    if isinstance(source, str) and source in recipe_names() and not path.is_file():
        return recipe_text(source), f"recipe {source}"
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except FileNotFoundError as error:
        names = ", ".join(recipe_names())
        raise ConfigError(
            f"{path}: no such file, and no recipe of that name; the recipes are {names}."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}.") from error


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"--set {override}: wanted KEY=VALUE, for example --set training.batch_size=128."
        )
    *parents, last = key.strip().split(".")
    place = content
    for parent in parents:
        if place.get(parent) is None:  # an empty section, as in `data:` or `data: null`
            place[parent] = {}
        inner = place[parent]
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {parent} is a single value, not a section.")
        place = inner
    place[last] = parse_yaml(value, f"--set {key}")


def _refuse_unknown(content: Mapping[str, Any], section: type, prefix: str, name: str) -> None:
    known = [field.name for field in fields(section)] if is_dataclass(section) else []
    for key in content:
        if key not in known:
            hint = unknown_key_hint(key, section, prefix)
            raise ConfigError(f"{name}: unknown key {prefix}{key}; {hint}")


def unknown_key_hint(key: Any, section: type, prefix: str = "") -> str:
    """Return what a key that `section` lacks was likely meant to be, ending a message."""
    known = list(describe_fields(section))
    everywhere = {f"{s}.{field.name}" for s, kind in SECTIONS.items() for field in fields(kind)}
    # A key that exists in another section is the likelier slip than a misspelling.
    elsewhere = [
        full for full in sorted(everywhere | set(known)) if full.split(".")[-1] == str(key)
    ]
    near = elsewhere or difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
    if not near:
        return f"known are {', '.join(known)}."
    return f"did you mean {near[0] if elsewhere else prefix + near[0]}?"


def _built(section: type, values: Mapping[str, Any], prefix: str, name: str) -> Any:
    try:
        return section(**values)
    except ValidationError as error:
        _raise_first(error, prefix, name)


def in_words(message: str) -> str:
    """Return what pydantic wants, so that it reads after "wanted"."""
    wanted = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return re.sub(
        r"List should have (at least|at most) (\d+) items? after validation, not \d+",
        r"\1 \2 in the list",
        wanted,
    )


def _raise_first(error: ValidationError, prefix: str, name: str) -> NoReturn:
    first, *others = error.errors(include_url=False)
    message = first["msg"].removeprefix("Value error, ")
    more = f" ({len(others)} more of this kind to mend)" if others else ""
    if not first["loc"]:
        raise ConfigError(f"{name}: {message}.{more}") from error
    key = prefix + ".".join(str(part) for part in first["loc"] if not str(part).startswith("list["))
    wanted = in_words(message)
    raise ConfigError(f"{name}: {key} is {first['input']!r}; wanted {wanted}.{more}") from error


def _described(info: FieldInfo) -> str:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    notes = [str(extra["unit"])] if extra.get("unit") else []
    for constraint in info.metadata:
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if getattr(constraint, name, None) is not None:
                notes.append(f"{sign} {getattr(constraint, name):g}")
    return f"{info.description} [{', '.join(notes)}]" if notes else str(info.description)


def _dumped(key: str, value: Any) -> str:
    text = (
        yaml.safe_dump(value, default_flow_style=True, width=1000)
        .removesuffix("\n")
        .removesuffix("\n...")
    )
    return f"{key}: {text}"
