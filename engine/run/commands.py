"""What a client may ask of a running worker, and the queue that carries it.

Commands are rows of the journal, no socket and no port. Any client writes them; they are idempotent
by id, and the worker answers with an event in the same commit (`JournalWriter.acknowledge`).
"""

from __future__ import annotations

import getpass
import os
import socket
import time
import uuid
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Self

from engine.run.closing import Closing
from engine.run.fact import Fact
from engine.run.schema import explained, open_to_write


class CommandKind(StrEnum):
    """What a worker can be asked to do."""

    PAUSE = "pause"
    PAUSE_AND_FREE = "pause-and-free"
    RESUME = "resume"
    CHECKPOINT = "checkpoint"
    CANCEL_STAGE = "cancel-stage"
    CANCEL_RUN = "cancel-run"
    RETRY_STAGE = "retry-stage"
    STOP = "stop"
    TAKE_SETTINGS = (
        "take-settings"  # read config.yaml again; only settings that are live may differ
    )


class Command(Fact):
    """One request.

    `kind` is a CommandKind, or the word of a newer client, which the worker refuses by name.
    """

    id: str  # uuid4, hex
    kind: str
    stage: int | None
    issued_at: float  # seconds since the epoch
    issued_by: str  # user@host pid client

    @classmethod
    def new(cls, kind: CommandKind, *, client: str, stage: int | None = None) -> Self:
        """Return a command of this process, issued now.

        Sending the same object twice is sending it once.
        """
        return cls(uuid.uuid4().hex, str(CommandKind(kind)), stage, time.time(), who_am_i(client))


class CommandRecord(Fact):
    """A command with its answer.

    `outcome` None while the worker has not answered, "withdrawn" where there was none to answer;
    `event_id` that of the answer.
    """

    command: Command
    outcome: str | None
    event_id: int | None


def who_am_i(client: str) -> str:
    """Return "user@host pid client" for this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} {os.getpid()} {client}"


class CommandQueue(Closing):
    """A client's end of the queue. Not for sharing between threads."""

    def __init__(self, journal_path: Path) -> None:
        """Open the journal.

        Raises RunError where there is none, or one that only a newer program may write.
        """
        self._path = journal_path
        # Not forced to the medium: the worker must not wait for a client's sync, and a power cut
        # ends the worker that was asked. No kill takes a command back.
        self._connection = open_to_write(journal_path)

    def send(self, command: Command) -> bool:
        """Write a command down for the worker.

        Returns False where this very command was there already.
        """
        with explained(self._path):
            cursor = self._connection.execute(
                "insert into command(id, kind, stage, issued_at, issued_by) values (?, ?, ?, ?, ?)"
                " on conflict(id) do nothing",
                (command.id, command.kind, command.stage, command.issued_at, command.issued_by),
            )
        return cursor.rowcount == 1

    def withdraw(self, command_id: str | None = None) -> int:
        """Take back a command, or all, that nobody has answered; return how many.

        For a run without a worker: the next one must not obey what was asked of the last.
        """
        with explained(self._path):
            return self._connection.execute(
                "update command set outcome = 'withdrawn' where outcome is null"
                " and (?1 is null or id = ?1)",
                (command_id,),
            ).rowcount

    def outcome_of(self, command_id: str) -> str | None:
        """Return the worker's answer; None while there is none."""
        with explained(self._path):
            row = self._connection.execute(
                "select outcome from command where id = ?", (command_id,)
            ).fetchone()
        return None if row is None else row[0]

    def wait_for(
        self,
        command_id: str,
        timeout_seconds: float,
        should_go_on: Callable[[], bool] = lambda: True,
    ) -> str | None:
        """Return the worker's answer, or None once the time is over or `should_go_on` says no."""
        deadline = time.monotonic() + timeout_seconds
        while (outcome := self.outcome_of(command_id)) is None:
            if time.monotonic() >= deadline or not should_go_on():
                return None
            time.sleep(0.05)
        return outcome

    def close(self) -> None:
        """Let go of the journal; what was sent stays sent."""
        self._connection.close()
