"""What is written down is what is read back, and what is not understood is kept."""

import json
import math
from dataclasses import MISSING, FrozenInstanceError, fields, replace
from typing import get_args, get_type_hints

import pytest

from engine.run.codec import decode_event, encode_event, event_to_dict, kind_of
from engine.run.events import (
    EVENT_TYPES,
    Event,
    GridChosen,
    LogLine,
    LossDiverged,
    Paused,
    PlannedStage,
    RunPlanned,
    StageStarted,
    UnknownEvent,
)
from tests.engine.run.examples import example, whole


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_event_reads_back_as_it_was_written(event_type: type[Event]) -> None:
    hints = get_type_hints(event_type)
    least = event_type(
        **{
            field.name: None
            if type(None) in get_args(hints[field.name])
            else example(hints[field.name])
            for field in fields(event_type)
            if field.default is MISSING
        }
    )
    for event in (whole(event_type), least):
        assert decode_event(kind_of(event), encode_event(event)) == event


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan])
def test_a_float_that_is_not_finite_survives_json_that_has_no_such_number(loss: float) -> None:
    event = LossDiverged(
        stage=1, attempt=1, step=9, loss=loss, remedy="roll back", learning_rate=1e-4
    )
    body = encode_event(event)
    json.loads(body, parse_constant=pytest.fail)
    back = decode_event("LossDiverged", body)
    assert isinstance(back, LossDiverged)
    assert str(back.loss) == str(loss)


def test_an_unknown_kind_is_kept_letter_for_letter() -> None:
    body = '{"b":1,  "a": [2]}'
    event = decode_event("StageDreamt", body)
    assert event == UnknownEvent(kind="StageDreamt", body=body)
    assert (kind_of(event), encode_event(event)) == ("StageDreamt", body)
    assert event_to_dict(event) == {"kind": "StageDreamt", "body": {"a": [2], "b": 1}}


@pytest.mark.parametrize(
    "body",
    [
        '{"stage": 1}',
        '{"stage": "one", "input_steps": 50, "output_steps": 22}',
        '{"stage": true, "input_steps": 50, "output_steps": 22}',
        '{"stage": 1.5, "input_steps": 50, "output_steps": 22}',
        '{"stage": null, "input_steps": 50, "output_steps": 22}',
        "[]",
        "null",
        "{",
        "",
    ],
)
def test_a_body_that_does_not_fit_its_kind_is_kept_raw(body: str) -> None:
    assert decode_event("StageStarted", body) == UnknownEvent(kind="StageStarted", body=body)


def test_a_field_of_a_newer_version_is_left_out() -> None:
    body = '{"stage": 1, "input_steps": 50, "output_steps": 22, "colour": "red"}'
    assert decode_event("StageStarted", body) == StageStarted(
        stage=1, input_steps=50, output_steps=22
    )


def test_nested_records_are_checked_too() -> None:
    body = '{"original_steps":50,"target_steps":4,"threshold":0.95,"stages":[{"stage":1}]}'
    assert decode_event("RunPlanned", body) == UnknownEvent(kind="RunPlanned", body=body)
    planned = RunPlanned(
        original_steps=50, target_steps=4, threshold=0.95, stages=(PlannedStage(1, 50, 4),)
    )
    assert decode_event("RunPlanned", encode_event(planned)) == planned


def test_an_event_cannot_hold_what_json_cannot() -> None:
    with pytest.raises(TypeError, match="cannot hold a bytes"):
        encode_event(LogLine(level="INFO", text=b"raw"))  # pyright: ignore[reportArgumentType]


def test_events_are_facts_and_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Paused(step=1).step = 2  # pyright: ignore[reportAttributeAccessIssue]


def test_the_json_of_an_event_is_flat_and_carries_its_kind() -> None:
    grid = GridChosen(steps=2, timesteps=(999.0, 499.0), source="uniform")
    assert event_to_dict(grid) == {
        "kind": "GridChosen",
        "steps": 2,
        "timesteps": [999.0, 499.0],
        "source": "uniform",
        "stage": None,
        "ranking": [],
    }


def test_a_fact_is_as_a_frozen_dataclass_though_its_methods_are_not_generated() -> None:
    paused = Paused(step=4)
    assert repr(paused) == "Paused(step=4, reason='command', is_memory_freed=False)"
    assert paused == Paused(step=4, reason="command")
    assert paused != Paused(step=5)
    assert paused != LogLine(level="INFO", text="4")
    assert len({paused, Paused(step=4), replace(paused, step=5)}) == 2
    with pytest.raises(FrozenInstanceError):
        paused.step = 5  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(FrozenInstanceError):
        del paused.step  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError, match="Paused lacks step"):
        Paused()  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="Paused has no stop"):
        Paused(step=4, stop=1)  # pyright: ignore[reportCallIssue]
