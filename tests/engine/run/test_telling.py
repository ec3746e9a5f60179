"""Events in words: every kind has some, and all who tell them say the same."""

import math

import pytest

from engine.commands.output import line_for
from engine.run.codec import kind_of
from engine.run.events import (
    EVENT_TYPES,
    Continued,
    Event,
    LogLine,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    RunFinished,
    RunPlanned,
    SamplesSaved,
    StageTrained,
    UnknownEvent,
)
from engine.run.reader import StoredEvent
from engine.run.telling import tell
from tests.engine.run.examples import whole
from tui.telling import LEVELS, line_of

SHOWN_OTHERWISE = (PhaseStarted, PhaseProgressed)
QUIET = (*SHOWN_OTHERWISE, PhaseFinished, SamplesSaved, RunFinished)  # of `diffopt log`


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_event_has_words_that_are_no_mere_name(event_type: type[Event]) -> None:
    told = tell(whole(event_type))
    assert (told is None) == issubclass(event_type, SHOWN_OTHERWISE)
    if told is not None and event_type is not LogLine:
        assert told.level in LEVELS
        assert told.text
        assert event_type.__name__ not in told.text


@pytest.mark.parametrize("event_type", [one for one in EVENT_TYPES if one not in QUIET])
def test_the_dashboard_and_the_command_say_the_same(event_type: type[Event]) -> None:
    event = whole(event_type)
    seen, printed = line_of(StoredEvent(1, 0.0, kind_of(event), None, event)), line_for(event)
    assert seen is not None
    assert seen.text.replace("→", "->") in printed
    assert printed.isprintable(), "text of a journal cannot steer the terminal"


def test_words_are_those_of_a_person() -> None:
    trained = StageTrained(
        stage=1, attempt=1, step=9, iterations=9, final_loss=math.nan, seconds=200.0
    )
    said = {
        event: tell(event)
        for event in (trained, Continued(step=3), UnknownEvent(kind="X", body="{}"))
    }
    assert [told.text for told in said.values() if told] == [
        "trained in 3m20s, loss nan",
        "going on at step 3",
        "X {}",
    ]


def test_a_run_without_stages_can_be_told() -> None:
    planned = RunPlanned(original_steps=8, target_steps=4, threshold=0.9, stages=())
    assert line_for(planned) == "stages: , threshold 0.9"
