"""The worker's pulse, from a thread of its own, which also does the journal's checkpoints."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from engine.errors import DiffoptError
from engine.run.journal import JournalWriter


class Heartbeat:
    """Beats for a writer from a thread of its own, which tells a long step from a dead process."""

    def __init__(self, writer: JournalWriter, every_seconds: float = 1.0) -> None:
        """Prepare to beat; `with` starts and stops it."""
        self._writer = writer
        self._every_seconds = every_seconds
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Start beating."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop beating."""
        self._is_over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._is_over.wait(self._every_seconds):
            self._writer.heartbeat()
            with suppress(DiffoptError):  # a pulse goes on, whatever the disk is like
                self._writer.checkpoint()
