"""What a phase tells of its time is told of the work, not of what held it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import config_from_dict
from engine.context import RunContext
from engine.hooks import Hooks
from engine.models.loading import load_model
from engine.run.events import Event, PhaseFinished, PhaseProgressed
from engine.settings import HardwareSettings


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("engine.context.monotonic", made)
    return made


@pytest.fixture
def told() -> list[Event]:
    return []


def context(told: list[Event], between_steps: Any) -> RunContext:
    config = config_from_dict({"model_path": "bundled:digits"}, "test")
    hooks = Hooks(emit=told.append, between_steps=between_steps)
    return RunContext(config, "test", hooks, HardwareSettings(), load_model("bundled:digits"))


def etas(told: list[Event]) -> list[float | None]:
    return [event.eta_seconds for event in told if isinstance(event, PhaseProgressed)]


def test_a_pause_is_no_part_of_a_phase(clock: Clock, told: list[Event]) -> None:
    def paused_for_a_minute(save: object) -> None:
        clock.now += 60

    run = context(told, paused_for_a_minute)
    with run.phase("evaluate") as progress:
        clock.now += 5
        progress(10, 50)
        clock.now += 5
        progress(20, 50)
    assert etas(told) == [20.0, 15.0]
    assert [event.seconds for event in told if isinstance(event, PhaseFinished)] == [10.0]


def test_what_goes_on_from_a_record_is_not_taken_for_quick(clock: Clock, told: list[Event]) -> None:
    run = context(told, lambda save: None)
    with run.phase("cache") as progress:
        clock.now += 2
        progress(60, 100)
        clock.now += 10
        progress(70, 100)
    assert etas(told) == [None, 30.0]


def test_training_that_begins_again_is_not_taken_for_slow(clock: Clock, told: list[Event]) -> None:
    run = context(told, lambda save: None)
    with run.phase("train", is_interruptible=False) as progress:
        for done in (10, 20, 30, 10, 20):
            clock.now += 2
            progress(done, 100)
    assert etas(told) == [None, 16.0, 14.0, None, 16.0]


def test_an_interruption_counts_what_it_held(clock: Clock, told: list[Event]) -> None:
    def held_and_left(save: object) -> None:
        clock.now += 60
        raise InterruptedError

    run = context(told, held_and_left)
    with pytest.raises(InterruptedError):
        run.hooks.between_steps(None)
    assert run.held_seconds == 60
