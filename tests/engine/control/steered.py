"""What a steered run has written, and commands that reach it in a moment."""

import threading
from collections.abc import Callable

from engine.run import Command, CommandKind, CommandQueue, JournalReader, RunFolder
from engine.run.events import CheckpointSaved, CommandAcknowledged, Event

Ask = Callable[..., str]


class Saves:
    """Counts how often a checkpoint was asked for."""

    count = 0

    def __call__(self) -> CheckpointSaved:
        self.count += 1
        return CheckpointSaved(path="checkpoints/x", step=3, size_bytes=1)


def events(run: RunFolder) -> list[Event]:
    with JournalReader(run.journal_path) as reader:
        return [stored.event for stored in reader.facts()]


def answers(run: RunFolder) -> dict[str, str]:
    return {e.command_id: e.outcome for e in events(run) if isinstance(e, CommandAcknowledged)}


def written_state(run: RunFolder) -> str:
    with JournalReader(run.journal_path) as reader:
        return reader.latest()["state"]


def soon(action: Callable[[], object]) -> threading.Thread:
    """Do something in a moment, from another thread."""
    thread = threading.Timer(0.05, action)
    thread.start()
    return thread


def send_later(run: RunFolder, *kinds: str) -> threading.Thread:
    def send() -> None:
        with CommandQueue(run.journal_path) as queue:
            for kind in kinds:
                queue.send(Command.new(CommandKind(kind), client="a test"))

    return soon(send)
