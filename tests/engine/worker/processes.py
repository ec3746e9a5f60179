"""True workers on true run folders."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.run import (
    Command,
    CommandKind,
    CommandQueue,
    JournalReader,
    RunFolder,
    RunState,
    start_worker,
)
from engine.run.events import Event
from tests.engine.worker.within import outcome

PATIENCE_SECONDS = 120.0


class Worked:
    """A run folder with a true worker on it."""

    def __init__(self, root: Path, config: str) -> None:
        self.run = RunFolder.create(root, config, name="tiny", mounts=[])
        self.last = 0
        self.start()

    def start(self) -> None:
        self.process = start_worker(self.run)

    def events(self, after: int = 0) -> list[Event]:
        with JournalReader(self.run.journal_path) as reader:
            return [stored.event for stored in reader.facts(after)]

    def last_step(self) -> int:
        with JournalReader(self.run.journal_path) as reader:
            return reader.last_values().get("loss", (0, 0.0))[0]

    def wait_for(self, is_there: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_there():
            assert time.monotonic() < deadline, self.run.log_path.read_text()
            assert self.process.poll() is None, self.run.log_path.read_text()
            time.sleep(0.03)

    def ask(self, kind: CommandKind) -> str | None:
        command = Command.new(kind, client="a test")
        with CommandQueue(self.run.journal_path) as queue:
            queue.send(command)
            return queue.wait_for(command.id, PATIENCE_SECONDS)

    def end(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def outcome(self) -> dict[str, Any]:
        assert self.run.state() is RunState.DONE, self.run.log_path.read_text()
        with JournalReader(self.run.journal_path) as reader:
            assert reader.integrity_check() == []
            losses = reader.metrics("loss", points=10_000)
        result = json.loads(self.run.metrics_path.read_text())
        return outcome(self.run.path, result) | {"losses": losses}


Start = Callable[[], Worked]
