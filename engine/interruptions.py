"""Why work is left without being an error. Raised by `control`, understood by who leads the work.

Finished pieces are kept whichever it is. No MLX.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from engine.errors import DiffoptError
from engine.run import Command


class Interruption(DiffoptError):
    """The work is left for a reason that is no error; finished pieces are kept."""


class StopWork(Interruption):
    """Leave the run resumable and end the process."""


class FreeMemory(Interruption):
    """Leave the work, release what MLX holds, and wait for a resume."""

    def __init__(self, command: Command) -> None:
        super().__init__("paused, memory released")
        self.command = command


class CancelStage(Interruption):
    """Give the current stage up and go on with the last accepted student."""

    during: Mapping[str, Any] = MappingProxyType({})  # the try at work, where one had begun


class RetryStage(Interruption):
    """Begin the current try again with other draws."""
