"""Values as the form shows them and as they are typed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.schema import sections, settings_by_key
from tui.typed_values import read_typed, shown


@pytest.mark.parametrize("setting", [one for part in sections() for one in part.settings],
                         ids=lambda one: one.key)  # fmt: skip
def test_every_default_can_be_shown_and_typed_again(setting: Any) -> None:
    if setting.is_required:
        return
    value, _ = read_typed(setting, shown(setting.default))
    assert value == setting.default
    assert type(value) is type(setting.default)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_shown_so_that_it_can_be_typed(value: float) -> None:
    read, _ = read_typed(settings_by_key()["training.learning_rate"], shown(value))
    assert read == value


def test_small_floats_are_shown_as_everybody_writes_them() -> None:
    assert [shown(one) for one in (1e-4, 3e-4, 1.25e-7, 1e-3, 0.99)] == [
        "1e-4", "3e-4", "1.25e-7", "0.001", "0.99"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("training.stage_steps", "16, 8, 4", [16, 8, 4]),
        ("training.stage_steps", "[16, 8, 4]", [16, 8, 4]),
        ("training.stage_steps", "16,", [16]),
        ("training.stage_steps", "null", None),
        ("schedule.gammas", "1, 0.9", [1.0, 0.9]),
        ("schedule.costs", "z_mse", ["z_mse"]),
        ("training.learning_rate", "1", 1.0),
        ("training.learning_rate", "[1]", "[1]"),
        ("training.batch_size", "1.5", 1.5),
        ("training.batch_size", ": x", ": x"),
        ("hardware.teacher_bits", "null", None),
        ("run.on_finish", "say 'done' # loud", "say 'done' # loud"),
        ("run.on_finish", "3", "3"),
        ("model_path", "null", "null"),
    ],
)
def test_what_is_typed_is_read_by_its_kind(key: str, typed: str, value: Any) -> None:
    read, _ = read_typed(settings_by_key()[key], typed)
    assert read == value
    assert type(read) is type(value)
