"""All mistakes of a text, not only the first; and never another verdict than the loader's."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import SECTIONS, config_to_yaml, describe_fields, load_config, parse_config
from engine.config import recipe_names as names
from engine.config_check import Fault, check_text, check_value
from engine.errors import ConfigError

MINIMAL = "model_path: somewhere\n"


def faults(text: str) -> dict[str, Fault]:
    return {fault.key: fault for fault in check_text(text).faults}


def test_every_wrong_setting_is_told_with_its_line_and_level() -> None:
    found = faults(
        "model_path: x\n"
        "target_steps: 0\n"
        "training:\n"
        "  batch_size: 0\n"
        "  learning_rate: 5\n"
        "  learing_rate: 1\n"
        "  iterations: [10, 0]\n"
        "original: {sampler: heun}\n"
        "sampler: ddim\n"
    )
    assert {key: (fault.line, fault.level) for key, fault in found.items()} == {
        "target_steps": (2, "field"),
        "training.batch_size": (4, "field"),
        "training.learning_rate": (5, "field"),
        "training.learing_rate": (6, "field"),
        "training.iterations": (7, "field"),
        "original.sampler": (8, "field"),
        "sampler": (9, "field"),
    }
    assert found["training.batch_size"].message == "wanted >= 1, found 0"
    assert "number 2 of the list" in found["training.iterations"].message
    assert "training.learning_rate" in found["training.learing_rate"].message
    assert "original.sampler" in found["sampler"].message


def test_all_contradictions_are_told_beside_wrong_fields() -> None:
    found = faults(
        MINIMAL + "quality_threshold: 7\ntraining: {states: data}\noriginal:\n"
        "  sampler: dpmpp_2m\n  steps: 4\n"
    )
    assert {key: fault.level for key, fault in found.items()} == {
        "quality_threshold": "field",
        "target_steps": "cross",
        "data.images": "cross",
        "training.states": "cross",
    }
    assert found["target_steps"].line == 6  # at original.steps, for it is not there


def test_a_contradiction_with_a_refused_value_is_no_news() -> None:
    assert set(faults(MINIMAL + "target_steps: 60\noriginal: {steps: 1}")) == {"original.steps"}
    assert set(faults(MINIMAL + "target_steps: 60\noriginal: 5")) == {"original"}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: [1", 1, "expected"),
        ("model_path: x\n\ttarget_steps: 3", 2, "token"),
        ("model_path: x\nmodel_path: y", 2, "twice"),
        ("model_path: x\ntraining:\n  seed: 1\n  seed: 2", 4, "twice"),
        ("- 1", 1, "wanted settings"),
        ("--- {}\n--- {}", 2, "another document"),
        ("a: 2001-13-45", 1, "month"),
        ("[" * 3000, None, "nested too deep"),
        ("model_path: x\na: &a [*a]", 2, "an alias stands within itself"),
        ("model_path: x\ntarget_steps: &a\n  - [1, *a]", 2, "an alias stands within itself"),
        ("model_path: x\ntraining: &a\n  <<: *a", 2, "an alias stands within itself"),
    ],
)
def test_a_text_that_holds_no_settings_is_one_fault_with_its_place(
    text: str, line: int | None, part: str
) -> None:
    (fault,) = check_text(text).faults
    assert (fault.level, fault.line) == ("file", line)
    assert part in fault.message


def test_what_is_right_comes_with_its_settings() -> None:
    checked = check_text("")
    assert [fault.key for fault in checked.faults] == ["model_path"]
    for recipe in names():
        text = config_to_yaml(load_config(recipe))
        assert check_text(text).config == load_config(recipe)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("training.batch_size", 0, "wanted >= 1, found 0"),
        ("training.batch_size", 1.5, "valid integer"),
        ("model_path", "", "at least 1 character"),
        ("target_steps", True, "valid integer, found true"),
        ("hardware.teacher_bits", 3, "4 or 8"),
        ("training.batch_size", 8, None),
        ("target_steps", 999, None),  # a contradiction, not this value's own fault
    ],
)
def test_one_setting_is_judged_alone(key: str, value: Any, part: str | None) -> None:
    message = check_value(key, value)
    assert message is None if part is None else part in (message or "")


KEYS = ["model_path", "target_steps", "optimization_stages", "nonsense"] + [
    f"{section}.{name}" for section, kind in SECTIONS.items() for name in describe_fields(kind)
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2000),
    st.floats(),
    st.sampled_from(["ddim", "data", "x", "1", "bundled:digits"]),
    st.lists(st.integers(0, 60), max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_it_finds_faults_exactly_where_the_loader_refuses(content: dict[str, Any]) -> None:
    import yaml

    nested: dict[str, Any] = {"model_path": "x"}
    for key, value in content.items():
        *section, name = key.split(".")
        place = nested.setdefault(section[0], {}) if section else nested
        place[name] = value
    text = yaml.safe_dump(nested)
    checked = check_text(text)
    try:
        wanted = parse_config(text, "x")
    except ConfigError:
        assert checked.faults
        assert checked.config is None
    else:
        assert not checked.faults
        assert checked.config == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "target_steps: 4\x00\n", "the character U+0000 cannot stand in YAML"),
        (MINIMAL + "[a, b]: 4\n", "['a', 'b'] cannot be a key"),
        (MINIMAL + "seed: 2001-13-45\n", "month must be in 1..12"),
        (MINIMAL + "data: {height: !!int x}\n", "invalid literal for int"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line_and_no_full_stop(text: str, said: str) -> None:
    (fault,) = check_text(text, "mine.yaml").faults
    assert fault.line == 2
    assert said in fault.message
    assert not fault.message.endswith(".")
    with pytest.raises(ConfigError, match=r"^mine\.yaml: "):
        parse_config(text, "mine.yaml")


def test_a_character_that_yaml_forbids_is_told_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml: line 2, column 3: .*U\+0007"):
        parse_config("a: 1\nb:\x07\n", "mine.yaml")
