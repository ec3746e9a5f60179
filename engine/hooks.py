"""What a run tells and asks while it works: plain callables, so that the same code serves a library, a command and a worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.run.events import Event


def _tell_nobody(event: Event) -> None:
    """Drop an event: nobody listens."""


def _record_nothing(step: int, metrics: Mapping[str, float]) -> None:
    """Drop metrics: nobody reads them."""


def _go_on() -> None:
    """Never stop the work."""


@dataclass(frozen=True)
class Hooks:
    """The ways out of a run. `between_steps` is called between optimiser steps and evaluation batches; it may raise.

    `folder` is where pictures, export and report go; None writes nothing at all.
    """

    emit: Callable[[Event], None] = _tell_nobody
    record: Callable[[int, Mapping[str, float]], None] = _record_nothing
    between_steps: Callable[[], None] = _go_on
    folder: Path | None = None
