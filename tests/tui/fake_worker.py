"""A worker's side of a run without any training: owns the folder, writes events, obeys commands."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from engine.run import CommandKind, JournalWriter, RunFolder
from engine.run.events import (
    CheckpointSaved,
    Continued,
    Event,
    Paused,
    PhaseProgressed,
    PhaseStarted,
    PlannedStage,
    RunCancelled,
    RunPlanned,
    RunStarted,
    StageRolledBack,
    StageStarted,
    TryStarted,
)

TRY = TryStarted(
    stage=1,
    attempt=1,
    remedy="as planned",
    iterations=400,
    learning_rate=1e-3,
    grid_name="uniform",
    timesteps=(999.0, 499.0, 299.0, 99.0),
)
UP_TO_TRAINING: tuple[Event, ...] = (
    RunStarted(pid=1, host="studio", device="a test"),
    RunPlanned(
        original_steps=16,
        target_steps=4,
        threshold=0.9,
        stages=(
            PlannedStage(stage=1, input_steps=16, output_steps=8),
            PlannedStage(stage=2, input_steps=8, output_steps=4),
        ),
    ),
    StageStarted(stage=1, input_steps=16, output_steps=8),
    TRY,
    PhaseStarted(phase="train", stage=1, unit="optimiser steps"),
    PhaseProgressed(phase="train", stage=1, done=100, total=400, eta_seconds=60.0),
)


class FakeWorker:
    """Writes what a worker would, when a test says so."""

    def __init__(self, run: RunFolder, journal: JournalWriter) -> None:
        self.run, self.journal, self.step = run, journal, 0
        self.asked: list[str] = []

    def emit(self, *events: Event) -> None:
        """Write events."""
        self.journal.emit(*events)

    def train(self, steps: int, metrics: Mapping[str, float] | None = None) -> None:
        """Write the metrics of some steps."""
        for _ in range(steps):
            self.step += 1
            loss = 1.0 / self.step
            told = metrics or {
                "loss": loss,
                "gradient_norm": 0.1,
                "learning_rate": 1e-3,
                "images_per_second": 200.0,
            }
            self.journal.record_metrics(self.step, told)

    def obey(self) -> list[str]:
        """Answer every command as a worker does; returns their kinds."""
        kinds = []
        for command in self.journal.pending():
            kinds.append(command.kind)
            self.journal.acknowledge(command, "done", *self._events_of(command.kind))
        self.asked += kinds
        return kinds

    def _events_of(self, kind: str) -> tuple[Event, ...]:
        match kind:
            case CommandKind.PAUSE | CommandKind.PAUSE_AND_FREE:
                is_freed = kind == CommandKind.PAUSE_AND_FREE
                return (Paused(step=self.step, is_memory_freed=is_freed),)
            case CommandKind.RESUME:
                return (Continued(step=self.step),)
            case CommandKind.CHECKPOINT:
                return (CheckpointSaved(path="checkpoints/a", step=self.step, size_bytes=9),)
            case CommandKind.CANCEL_STAGE:
                return (StageRolledBack(stage=1, to_steps=16, reason="cancelled by ada"),)
            case CommandKind.RETRY_STAGE:
                return (TRY,)
            case CommandKind.CANCEL_RUN:
                return (RunCancelled(step=self.step, cancelled_by="ada@studio 1 diffopt-tui"),)
            case _:
                return ()


@contextmanager
def working(run: RunFolder, *events: Event) -> Iterator[FakeWorker]:
    """Own a run as its worker does, and let go of it as one that ends well."""
    with run.own(), JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        worker = FakeWorker(run, journal)
        if events:
            worker.emit(*events)
        yield worker
