"""Runs whose training diverges: taken back to the same place, calmed a few times, then given up."""

from pathlib import Path

import pytest

from engine.config import DiffusionOptimizationConfig, parse_config
from engine.errors import TrainingError
from engine.memory import Memory
from engine.run.events import Event, LossDiverged, StageRejected
from engine.training import progress as progress_module
from tests.engine.worker.within import BrokenOff, Listener, Write, optimize, outcome


@pytest.fixture
def easily_alarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any loss above the first four for an explosion."""
    monkeypatch.setattr(progress_module, "_FIRST_REPORTS", 4)
    monkeypatch.setattr(progress_module, "_EXPLOSION", 1.0)


@pytest.fixture
def hopeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every loss but the first for an explosion."""
    monkeypatch.setattr(progress_module, "_FIRST_REPORTS", 1)
    monkeypatch.setattr(progress_module, "_EXPLOSION", 0.0)


def diverging(text: str) -> DiffusionOptimizationConfig:
    """A learning rate of 1, and nothing that tames it."""
    wild = "  learning_rate: 1.0\n  warmup_steps: 0\n  gradient_clip: 1000000.0\n  retries: 1"
    return parse_config(text.replace("  retries: 1", wild), "test")


class Impatient(Listener):
    """Breaks off at whatever place is the so-manieth."""

    left = 0

    def arrive(self, place: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise BrokenOff(place)


@pytest.mark.usefixtures("eager", "few_candidates", "no_charts", "easily_alarmed")
def test_a_run_that_diverges_ends_the_same_however_often_it_is_broken_off(
    write_config: Write, tmp_path: Path
) -> None:
    config = diverging(write_config(iterations=12))
    whole = Listener(tmp_path / "whole")
    wanted = outcome(whole.folder, optimize(config, whole))
    rates = [event.learning_rate for event in whole.events if isinstance(event, LossDiverged)]
    assert rates == [0.25, 0.0625, 0.015625]

    broken = Impatient(tmp_path / "broken")
    for places in range(20, 200, 6):
        broken.left, broken.events = places, []
        try:
            found = outcome(broken.folder, optimize(config, broken))
        except BrokenOff:
            continue
        break
    else:
        raise AssertionError("it never came to an end")
    assert places > 40, "it was broken off more than a few times"
    assert found == wanted
    assert broken.rows == whole.rows
    assert not [name for name in Memory(broken.folder / "checkpoints").names() if "fall" in name]


@pytest.mark.usefixtures("eager", "few_candidates", "no_charts", "hopeless")
def test_a_run_none_of_whose_tries_can_be_trained_fails_with_the_reason(
    write_config: Write, tmp_path: Path
) -> None:
    config = diverging(write_config(stages=1).replace("search: false", "search: true"))
    listener = Listener(tmp_path / "run")
    for events in ([], []):  # and so it does when it is taken up again, without training again
        listener.events = events
        with pytest.raises(TrainingError, match=r"exploded .* down to 0\.0156"):
            optimize(config, listener)
    rejected = [event for event in listener.events if isinstance(event, StageRejected)]
    assert rejected == []
    reports = [
        Memory(listener.folder / "checkpoints").recall(f"stage-1-try-{attempt}-verdict")
        for attempt in (1, 2)
    ]
    assert [one.facts["report"]["select_quality"] for one in reports if one] == [None, None]


class Calmed(Listener):
    """Ends the alarm once a try was rejected."""

    def emit(self, event: Event) -> None:
        if isinstance(event, StageRejected):
            progress_module._EXPLOSION = 1e9  # undone by the fixture's end
        super().emit(event)


@pytest.mark.usefixtures("eager", "few_candidates", "no_charts", "hopeless")
def test_a_try_that_diverges_is_a_rejected_one_and_the_ladder_goes_on(
    write_config: Write, tmp_path: Path
) -> None:
    listener = Calmed(tmp_path / "run")
    result = optimize(diverging(write_config(iterations=12)), listener)
    first, second = result["stages"]
    assert (first["is_accepted"], first["select_quality"]) == (False, None)
    assert "exploded" in first["reason"]
    assert second["select_quality"] is not None
    rejected = [event for event in listener.events if isinstance(event, StageRejected)]
    assert (rejected[0].score, rejected[0].next_remedy) == (None, "more iterations")
    assert "| diverged |" in (listener.folder / "report.md").read_text()
