"""What a form knows of the settings is what pydantic knows."""

import pytest

from engine.config import SECTIONS, DiffusionOptimizationConfig, describe_fields
from engine.config_check import check_value
from engine.live_settings import live_keys
from tui.schema import SECTION_NAMES, Setting, defaults, flat, key_order, sections, settings_by_key

ALL = [one for section in sections() for one in section.settings]


def test_no_setting_is_left_out() -> None:
    wanted = [name for name in describe_fields(DiffusionOptimizationConfig) if name not in SECTIONS]
    wanted += [
        f"{part}.{name}" for part, kind in SECTIONS.items() for name in describe_fields(kind)
    ]
    assert [one.key for one in ALL] == wanted
    assert set(key_order()) == set(wanted) | set(SECTIONS)
    assert [one.name for one in sections()] == ["", *SECTIONS]
    assert ["", *SECTIONS] == list(SECTION_NAMES)


@pytest.mark.parametrize("setting", ALL, ids=lambda one: one.key)
def test_every_setting_can_be_explained_and_shown(setting: Setting) -> None:
    assert setting.description
    assert not setting.choices or setting.kind in ("choice", "choices")
    assert setting.is_required or check_value(setting.key, setting.default) is None
    for choice in setting.choices:
        value = [choice] if setting.kind == "choices" else choice
        assert check_value(setting.key, value) is None
    if setting.is_optional:
        assert check_value(setting.key, None) is None
    elif not setting.is_required:
        assert check_value(setting.key, None) is not None


def test_bounds_units_and_kinds_are_told() -> None:
    by_key = settings_by_key()
    assert by_key["training.batch_size"].bounds == ">= 1, <= 65536"
    assert by_key["training.batch_size"].unit == "samples"
    assert by_key["training.learning_rate"].kind == "float"
    assert by_key["training.iterations"].bounds == "each >= 1, <= 10000000"
    assert by_key["original.spacing"].choices[0] == "leading"
    assert by_key["model_path"].kind == "path"
    assert "model_path" not in defaults()
    assert [one.key for one in ALL if one.is_live] == live_keys()


def test_flat_keeps_what_no_section_holds() -> None:
    data = {"training": {"seed": 1}, "quality": None, "run": 3, "nonsense": {"a": 1}}
    assert flat(data) == {"training.seed": 1, "run": 3, "nonsense": {"a": 1}}
