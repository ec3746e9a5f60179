"""What a run tells and asks while it works.

Plain callables, so that the same code serves a library, a command and a worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from engine.memory import Memory
from engine.run.events import CheckpointSaved, Event

Result = TypeVar("Result")
Save = Callable[[], CheckpointSaved | None]
BetweenSteps = Callable[[Save | None], None]


def _tell_nobody(event: Event) -> None:
    """Drop an event: nobody listens."""


def _record_nothing(step: int, metrics: Mapping[str, float]) -> None:
    """Drop metrics: nobody reads them."""


def _go_on(save: Save | None = None) -> None:
    """Never stop the work."""


def _just_do(write: Callable[[], Result]) -> Result:
    """Write without asking about room."""
    return write()


def _note_nothing(step: int) -> None:
    """Nobody asks how far it is."""


def _rewind_nothing(step: int) -> None:
    """Nothing was recorded, nothing is dropped."""


@dataclass(frozen=True)
class Hooks:
    """The ways out of a run.

    `between_steps` is called after every optimiser step (with a function that saves a checkpoint)
    and every evaluation batch (without); it may hold still, or raise to stop the work. `at_step` is
    told every optimiser step, `record` those that are reported with their metrics. `rewind`
    drops metrics past a step, from which training goes on. `with_room` runs what writes files.
    `folder` is where pictures, export and report go, `memory` what finished work is kept in; by
    default nothing is written at all.
    """

    emit: Callable[[Event], None] = _tell_nobody
    record: Callable[[int, Mapping[str, float]], None] = _record_nothing
    between_steps: BetweenSteps = _go_on
    at_step: Callable[[int], None] = _note_nothing
    rewind: Callable[[int], None] = _rewind_nothing
    with_room: Callable[[Callable[[], Any]], Any] = _just_do
    folder: Path | None = None
    memory: Memory = field(default_factory=Memory)
