"""What a machine decided for a run stays decided when the run is taken up again."""

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest

from engine.config import config_from_dict
from engine.context import RunContext
from engine.fitting import keep_compiling_or_not
from engine.hooks import Hooks
from engine.memory import Memory
from engine.models.loading import load_model
from engine.run.events import Event, LogLine


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(mx, "disable_compile", lambda: asked.append("eager"))
    return asked


def taken_up(folder: Path, *, can_compile: bool) -> tuple[bool, list[str]]:
    """Whether the run compiles where that is possible or not, and what it says of it."""
    config = config_from_dict({"model_path": "bundled:digits"}, "test")
    events: list[Event] = []
    machine = replace(config.hardware, compile=can_compile)
    hooks = Hooks(emit=events.append, memory=Memory(folder))
    run = RunContext(config, "test", hooks, machine, load_model("bundled:digits"))
    keep_compiling_or_not(run)
    return run.hardware.compile, [event.text for event in events if isinstance(event, LogLine)]


def test_a_run_begun_eagerly_stays_so_where_it_could_be_compiled(
    tmp_path: Path, as_it_was: list[str]
) -> None:
    assert taken_up(tmp_path, can_compile=False) == (False, [])
    is_compiled, told = taken_up(tmp_path, can_compile=True)
    assert not is_compiled
    assert as_it_was == ["eager"]
    assert told == ["goes on without compiling, as it was begun"]


def test_a_run_begun_compiled_says_where_it_cannot_go_on_so(
    tmp_path: Path, as_it_was: list[str]
) -> None:
    assert taken_up(tmp_path, can_compile=True) == (True, [])
    is_compiled, (told,) = taken_up(tmp_path, can_compile=False)
    assert not is_compiled
    assert "last digits may differ" in told
    assert as_it_was == []
