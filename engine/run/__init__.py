"""What a run says, and how it is heard: events, journal, commands, run folders.

The only wing that `tui` enters; no MLX. The worker's side: `RunFolder.own`, `JournalWriter`,
`Heartbeat`, `TrainingQueue`. A client's: `JournalReader`, `RunFolder.status`, `list_runs`,
`find_run`, `steering` (make a run, ask something of it, take it up again), `shelf` (put away).
"""

from engine.errors import DiskFull
from engine.run import shelf
from engine.run.codec import decode_event, encode_event, event_to_dict, kind_of
from engine.run.commands import Command, CommandKind, CommandQueue, CommandRecord
from engine.run.disk import ensure_room, free_bytes, write_atomically
from engine.run.folder import RunFolder, RunStatus
from engine.run.heartbeat import Heartbeat
from engine.run.journal import JournalWriter
from engine.run.metrics import MetricPoint
from engine.run.queue import TrainingQueue, Turn
from engine.run.reader import JournalReader, Poll, StoredEvent
from engine.run.runs import find_run, is_run, list_runs, start_worker
from engine.run.schema import JournalFull
from engine.run.state import RunState
from engine.run.steering import (
    Answer,
    answer_to,
    create_and_start,
    send,
    take_up,
    wait_for,
    why_not,
)

__all__ = [
    "Answer",
    "Command",
    "CommandKind",
    "CommandQueue",
    "CommandRecord",
    "DiskFull",
    "Heartbeat",
    "JournalFull",
    "JournalReader",
    "JournalWriter",
    "MetricPoint",
    "Poll",
    "RunFolder",
    "RunState",
    "RunStatus",
    "StoredEvent",
    "TrainingQueue",
    "Turn",
    "answer_to",
    "create_and_start",
    "decode_event",
    "encode_event",
    "ensure_room",
    "event_to_dict",
    "find_run",
    "free_bytes",
    "is_run",
    "kind_of",
    "list_runs",
    "send",
    "shelf",
    "start_worker",
    "take_up",
    "wait_for",
    "why_not",
    "write_atomically",
]
