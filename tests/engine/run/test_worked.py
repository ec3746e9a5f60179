"""How long a run was at work is told by its facts."""

from __future__ import annotations

import pytest

from engine.run import JournalReader, JournalWriter
from engine.run.events import Continued, Paused, RunResumed, RunStarted, StageStarted
from engine.run.worked import seconds_at_work

RESUMED = RunResumed(pid=2, host="studio", device="cpu", step=20, checkpoint=None)


def test_pauses_and_the_time_between_two_engines_are_left_out(
    writer: JournalWriter, reader: JournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        1100.0: RunStarted(pid=1, host="studio", device="cpu"),  # it stood in line until then
        1130.0: Paused(step=1),
        1230.0: Continued(step=1),
        1250.0: StageStarted(stage=1, input_steps=50, output_steps=16),  # then it was killed
        2000.0: RESUMED,
        2040.0: StageStarted(stage=1, input_steps=50, output_steps=16),
    }
    for now, event in told.items():
        monkeypatch.setattr("time.time", lambda now=now: now)
        writer.emit(event)
    assert seconds_at_work(reader, 2100.0) == 30 + 20 + 40 + 60


def test_a_run_that_waits_was_never_at_work(reader: JournalReader) -> None:
    assert seconds_at_work(reader, 1e10) == 0
