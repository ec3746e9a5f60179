"""Settings: YAML in and out, bounds, and refusals that say the remedy in one line."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from engine.config import (
    SECTIONS,
    DiffusionOptimizationConfig,
    config_from_dict,
    config_to_yaml,
    describe_fields,
    load_config,
    make_paths_absolute,
    parse_config,
    recipe_names,
)
from engine.errors import ConfigError

MINIMAL = "model_path: somewhere\n"


def parse(text: str, *overrides: str) -> DiffusionOptimizationConfig:
    return parse_config(MINIMAL + text, "test.yaml", overrides)


def refusal(text: str, *overrides: str) -> str:
    """Return the one line with which settings are refused."""
    with pytest.raises(ConfigError) as caught:
        parse(text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_five_fields_of_the_design_have_its_defaults() -> None:
    config = DiffusionOptimizationConfig(model_path="somewhere")
    assert (config.optimization_stages, config.target_steps) == (3, 4)
    assert (config.quality_threshold, config.apple_silicon_optimization) == (0.95, True)


def test_a_config_survives_yaml() -> None:
    config = parse(
        """
        target_steps: 6
        optimization_stages: 2
        quality_threshold: 0.5
        original: {steps: 20, sampler: euler, spacing: karras}
        schedule: {gammas: [0.5, 1.0], costs: [z_mse]}
        training: {stage_steps: [9, 6], learning_rate: 1e-7, iterations: [10]}
        hardware: {teacher_bits: 8, cache_limit_gib: 0.5}
        """.replace("\n        ", "\n")
    )
    again = parse_config(config_to_yaml(config), "again")
    assert again == config
    assert again.to_dict() == config.to_dict()
    assert config_to_yaml(again) == config_to_yaml(config)


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_loads_and_survives_yaml(recipe: str) -> None:
    config = load_config(recipe)
    assert parse_config(config_to_yaml(config), recipe) == config


def test_there_is_a_demo_and_a_smoke_recipe() -> None:
    assert {"demo", "smoke"} <= set(recipe_names())
    demo = load_config("demo")
    assert demo.model_path == "bundled:digits"
    assert (demo.original.steps, demo.target_steps, demo.quality_threshold) == (50, 4, 0.95)


def test_written_yaml_explains_every_key() -> None:
    """And is plain YAML 1.1 for any other reader, but for numbers such as 1e-4."""
    text = config_to_yaml(DiffusionOptimizationConfig(model_path="somewhere"))
    content = yaml.safe_load(text)
    for section, kind in {**SECTIONS, "": DiffusionOptimizationConfig}.items():
        for name, info in describe_fields(kind).items():
            assert name in (content[section] if section else content)
            if name not in SECTIONS:
                assert info.description
                assert f"# {info.description.splitlines()[0]}" in text


@pytest.mark.parametrize("kind", [DiffusionOptimizationConfig, *SECTIONS.values()])
def test_every_field_has_a_description_and_a_unit(kind: type) -> None:
    for name, info in describe_fields(kind).items():
        if name in SECTIONS:
            continue
        assert info.description, name
        assert isinstance(info.json_schema_extra, dict), name
        assert "unit" in info.json_schema_extra, name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("1.e-4", 1e-4),
        (".5e-3", 5e-4),
        ("1e-04", 1e-4),
        ("0.001", 1e-3),
        ("1", 1.0),
        ("!!float '1e-4'", 1e-4),
    ],
)
def test_numbers_are_read_as_everybody_means_them(text: str, value: float) -> None:
    assert parse(f"training: {{learning_rate: {text}}}").training.learning_rate == value
    assert parse("", f"training.learning_rate={text}").training.learning_rate == value


def test_words_that_look_a_little_like_numbers_stay_words() -> None:
    for word in ("1e", "e-4", "1e-4x", "--5"):
        assert "learning_rate" in refusal(f"training: {{learning_rate: {word!s}}}")


@pytest.mark.parametrize(
    ("text", "key", "wanted"),
    [
        ("target_step: 4", "target_step", "target_steps"),
        ("trainin: {}", "trainin", "training"),
        ("training: {learing_rate: 1}", "training.learing_rate", "training.learning_rate"),
        ("learning_rate: 1", "learning_rate", "training.learning_rate"),
        ("training: {sampler: ddim}", "training.sampler", "original.sampler"),
        ("qqq: 1", "qqq", "known are model_path"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    text: str, key: str, wanted: str
) -> None:
    message = refusal(text)
    assert f"test.yaml: unknown key {key};" in message
    assert wanted in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("target_steps: 0", ["target_steps is 0", "greater than or equal to 1"]),
        ("target_steps: 4.0", ["target_steps is 4.0", "valid integer"]),
        ("target_steps: true", ["target_steps is True", "valid integer"]),
        ("target_steps: '4'", ["target_steps is '4'", "valid integer"]),
        ("quality_threshold: 0", ["quality_threshold is 0", "greater than 0"]),
        ("quality_threshold: 1.01", ["quality_threshold is 1.01", "less than or equal to 1"]),
        ("quality_threshold: .nan", ["quality_threshold is nan", "finite"]),
        ("quality_threshold: true", ["quality_threshold is True", "valid number"]),
        ("apple_silicon_optimization: 1", ["apple_silicon_optimization is 1", "boolean"]),
        ("original: {sampler: heun}", ["original.sampler is 'heun'", "'ddim'"]),
        ("original: {steps: 1}", ["original.steps is 1", "2"]),
        ("original: 5", ["original is 5", "section"]),
        ("training: {iterations: []}", ["training.iterations", "at least 1"]),
        ("training: {iterations: [0]}", ["training.iterations", "greater than or equal to 1"]),
        ("training: {learning_rate: -1}", ["training.learning_rate is -1"]),
        ("training: {ema_decay: 1}", ["training.ema_decay is 1", "less than 1"]),
        ("schedule: {gammas: [0]}", ["schedule.gammas"]),
        ("quality: {samples: 63}", ["quality.samples is 63", "64"]),
        ("hardware: {teacher_bits: 3}", ["hardware.teacher_bits is 3"]),
    ],
)
def test_a_wrong_value_is_refused_by_key(text: str, parts: list[str]) -> None:
    message = refusal(text)
    assert message.startswith("test.yaml:")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("target_steps: 50", ["target_steps is 50", "choose 1 to 49"]),
        ("target_steps: 60", ["target_steps is 60", "the 50 of original.steps"]),
        ("training: {stage_steps: [16, 8]}", ["[16, 8]", "to target_steps (4)"]),
        ("training: {stage_steps: [16, 16, 4]}", ["[16, 16, 4]"]),
        ("training: {stage_steps: [50, 8, 4]}", ["from below original.steps (50)"]),
        ("training: {stage_steps: [8, 4]}", ["2 stages", "optimization_stages is 3"]),
        ("original: {steps: 6}", ["optimization_stages is 3", "room for 2"]),
        ("training: {states: data}", ["data.images is null"]),
        (
            "training: {states: data}\ndata: {images: x}\noriginal: {sampler: dpmpp_2m}",
            ["original.sampler is dpmpp_2m", "states: trajectory"],
        ),
        (
            "training: {states: rollout}\noriginal: {sampler: dpmpp_2m}",
            ["original.sampler is dpmpp_2m", "states: trajectory"],
        ),
        (
            "hardware: {base_precision: int8}",
            ["hardware.base_precision is int8 but lora.enabled is false", "teacher_bits"],
        ),
        (
            "hardware: {base_precision: bfloat16, teacher_bits: 8}\nlora: {enabled: true}",
            ["hardware.base_precision is bfloat16 beside", "leave those two out"],
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(text: str, parts: list[str]) -> None:
    message = refusal(text)
    for part in parts:
        assert part in message


def test_several_wrong_values_are_counted() -> None:
    assert "(1 more of this kind to mend)" in refusal("target_steps: 0\nquality_threshold: 7")


def test_a_key_that_stands_twice_is_refused_where_it_stands() -> None:
    message = refusal("target_steps: 5\ntarget_steps: 6")
    assert "test.yaml: line 3, column 1: not valid YAML: the key 'target_steps'" in message
    assert "twice" in message


@pytest.mark.parametrize(
    "text", ["target_steps: [1", "a: b: c", "\ttarget_steps: 3", "target_steps: *x", "? [1]: 2"]
)
def test_yaml_that_does_not_parse_is_refused_with_its_place(text: str) -> None:
    message = refusal(text)
    assert message.startswith("test.yaml: line ")
    assert "not valid YAML" in message


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "just words", "3"])
def test_yaml_that_holds_no_settings_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted settings as 'key: value' lines"):
        parse_config(text, "test.yaml")


def test_the_model_must_be_named() -> None:
    for text in ("", "target_steps: 4"):
        with pytest.raises(ConfigError, match=r"test\.yaml: model_path is missing"):
            parse_config(text, "test.yaml")


def test_an_empty_section_has_its_defaults() -> None:
    assert parse("training:\n") == parse("")


def test_a_model_without_a_name_is_refused() -> None:
    assert "model_path is ''" in refusal("", "model_path=''")


def test_an_empty_section_is_at_its_defaults_in_a_file_and_as_an_override() -> None:
    for text, overrides in (
        ("data: null\n", ()),
        ("data: ~\n", ()),
        ("data: {height: 8}\n", ("data=null",)),
        ("", ("data=",)),
    ):
        assert parse(text, *overrides) == parse("")
    assert parse("data:\n", "data.height=8") == parse("data: {height: 8}\n")
    assert parse("", "data=null", "data.height=8") == parse("data: {height: 8}\n")


def test_overrides_come_last() -> None:
    config = parse(
        "training: {batch_size: 8}",
        "training.batch_size=16",
        "target_steps=7",
        "training.stage_steps=[30, 20, 7]",
        "hardware.teacher_bits=null",
        "model_path=other",
    )
    assert (config.training.batch_size, config.target_steps, config.model_path) == (16, 7, "other")
    assert config.planned_steps() == [30, 20, 7]


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("target_steps", "--set target_steps: wanted KEY=VALUE"),
        ("=4", "wanted KEY=VALUE"),
        ("target_step.x=4", "unknown key target_step; did you mean target_steps?"),
        ("training.batch=4", "training.batch_size"),
        ("training.batch_size=[", "--set training.batch_size"),
        ("model_path.x=4", "model_path is a single value, not a section"),
    ],
)
def test_a_wrong_override_is_refused(override: str, part: str) -> None:
    assert part in refusal("", override)


def test_files_are_read_and_their_trouble_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL + "target_steps: 5\n", encoding="utf-8")
    assert load_config(path).target_steps == 5
    assert load_config(str(path), ["target_steps=6"]).target_steps == 6
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such file.*recipes are demo, "):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot be read as a text file"):
        load_config(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as a text file"):
        load_config(path)


def test_a_mapping_is_as_good_as_a_file() -> None:
    config = config_from_dict({"model_path": "x", "training": {"batch_size": 3}}, "here")
    assert config.training.batch_size == 3


def test_assignment_is_checked() -> None:
    config = parse("")
    for name, value in (("target_steps", True), ("target_steps", 0), ("quality_threshold", 2.0)):
        with pytest.raises(ValidationError):
            setattr(config, name, value)
    with pytest.raises(ValidationError):
        config.training.batch_size = 0
    with pytest.raises(ValidationError):
        config.nonsense = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert config == parse("")
    config.target_steps = 10
    assert config.target_steps == 10


def test_a_value_that_contradicts_another_does_not_stay() -> None:
    config = parse("")
    with pytest.raises(ValidationError, match="target_steps is 60"):
        config.target_steps = 60
    assert config.target_steps == 4
    config.quality_threshold = 0.9  # and so the next assignment is not refused for the last one
    assert config.quality_threshold == 0.9


def test_built_by_hand_it_refuses_too() -> None:
    wrong: dict[str, Any]
    for wrong in ({}, {"model_path": 3}, {"model_path": "x", "target_steps": 50}, {"y": 1}):
        with pytest.raises(ValidationError):
            DiffusionOptimizationConfig(**wrong)
    assert math.isclose(DiffusionOptimizationConfig(model_path="x").training.learning_rate, 1e-4)


def test_planned_steps_end_at_the_target() -> None:
    assert parse("").planned_steps()[-1] == 4
    assert len(parse("").planned_steps()) == 3
    assert parse("original: {steps: 64}\ntarget_steps: 8").planned_steps() == [32, 16, 8]


def test_paths_become_absolute_and_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    config = parse_config("model_path: model\ndata: {prompts: lines.txt, images: null}", "test")
    make_paths_absolute(config)
    assert config.model_path == str(tmp_path / "model")
    assert (config.data.prompts, config.data.images) == (str(tmp_path / "lines.txt"), None)
    for name in ("bundled:digits", "owner/name"):
        config = parse_config(f"model_path: {name}", "test")
        make_paths_absolute(config)
        assert config.model_path == name
        assert config.data.prompts.startswith("bundled:")


def test_an_empty_list_is_told_in_plain_words() -> None:
    with pytest.raises(
        ConfigError, match=r"training\.iterations is \[\]; wanted at least 1 in the list"
    ):
        parse_config("model_path: x\ntraining: {iterations: []}\n", "a test")
