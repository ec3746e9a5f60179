"""What the rooms of the dashboard tell one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from engine.run import CommandKind, RunFolder

if TYPE_CHECKING:
    from tui.follow import Snapshot


class CommandSent(Message):
    """A command was written down for a run's worker; its answer comes as an event."""

    def __init__(self, run: RunFolder, kind: CommandKind, command_id: str) -> None:
        """Say which run, what and under which id."""
        super().__init__()
        self.run = run
        self.kind = kind
        self.command_id = command_id


class RunOpened(Message):
    """Another run is to be shown on Live."""

    def __init__(self, run: RunFolder) -> None:
        """Say which."""
        super().__init__()
        self.run = run


class SnapshotTaken(Message):
    """The follower of a run knows something newer."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Say what."""
        super().__init__()
        self.snapshot = snapshot
