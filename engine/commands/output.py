"""Printing for people and for programs, and the one line that shows how far a run is.

Knows events, no MLX.
"""

import json
import math
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    Continued,
    DiskLow,
    Evaluated,
    Event,
    Exported,
    GridChosen,
    LogLine,
    LossDiverged,
    Paused,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunPlanned,
    RunQueued,
    RunResumed,
    RunStarted,
    RunStopped,
    SamplesSaved,
    StageAccepted,
    StageRejected,
    StageRolledBack,
    StageStarted,
    StageTrained,
    TryStarted,
)


def say(text: str = "") -> None:
    """Print a line to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_json(content: Any) -> None:
    """Print JSON; a number that is not finite becomes null, for JSON has none."""
    say(json.dumps(_finite(content), indent=2))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows aligned under their header; figures to the right, words to the left."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if _is_figure(cell) else cell.ljust(width)
            for cell, width in zip(cells, widths, strict=True)
        ).rstrip()

    return "\n".join(
        [line(header), line(["-" * width for width in widths]), *(line(row) for row in rows)]
    )


class ProgressPrinter:
    """Prints a run's events.

    On a terminal one moving line under the lines that stay, elsewhere plain lines.

    Writes to standard error, so that standard output holds the result alone.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._bar = ""

    def show(self, event: Event) -> None:
        """Print what an event has to say, if anything."""
        if isinstance(event, PhaseProgressed):
            self._show_bar(event)
            return
        line = line_for(event)
        if line:
            self.clear()
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the moving line away."""
        if self._bar:
            sys.stderr.write("\r" + " " * len(self._bar) + "\r")
            self._bar = ""

    def _show_bar(self, event: PhaseProgressed) -> None:
        if not self._is_terminal or not event.total:
            return
        width = max(40, shutil.get_terminal_size().columns)
        label = f"  {event.phase}" + (f" stage {event.stage}" if event.stage else "")
        eta = f" {duration(event.eta_seconds)} left" if event.eta_seconds is not None else ""
        numbers = f" {event.done}/{event.total}{eta}"
        room = max(5, min(40, width - len(label) - len(numbers) - 6))
        filled = round(room * event.done / event.total)
        bar = f"{label} [{'#' * filled}{'.' * (room - filled)}]{numbers}"[: width - 1]
        sys.stderr.write("\r" + bar.ljust(len(self._bar)))
        sys.stderr.flush()
        self._bar = bar


def duration(seconds: float) -> str:
    """Return a time as 45 s, 3 min 20 s or 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def line_for(event: Event) -> str:
    """Return the line that tells a person of `event`; empty for those that need none."""
    match event:
        case RunQueued():
            return "queued"
        case RunStarted():
            return f"started on {event.device}"
        case RunResumed():
            return f"taken up again at step {event.step} on {event.device}"
        case RunPlanned():
            steps = [event.stages[0].input_steps, *(stage.output_steps for stage in event.stages)]
            return f"stages: {' -> '.join(map(str, steps))}, threshold {event.threshold:g}"
        case GridChosen():
            timesteps = ", ".join(f"{t:g}" for t in event.timesteps)
            return f"grid for {event.steps} steps: {timesteps} ({event.source})"
        case StageStarted():
            return f"stage {event.stage}: {event.input_steps} to {event.output_steps} steps"
        case TryStarted():
            return (
                f"  try {event.attempt}, {event.remedy}: {event.iterations} optimiser steps at "
                f"{event.learning_rate:g}, grid {event.grid_name}"
            )
        case StageTrained():
            return f"  trained in {duration(event.seconds)}, loss {event.final_loss:.3g}"
        case Evaluated():
            return (
                f"  {event.label}, {event.steps} steps: score {event.score:.4f} (lower bound "
                f"{event.lower_bound:.4f}, {event.noise_set} noise)"
            )
        case StageAccepted():
            return f"  accepted: lower bound {event.lower_bound:.4f} reaches {event.threshold:g}"
        case StageRejected():
            following = f"; next: {event.next_remedy}" if event.next_remedy else ""
            return f"  rejected: {event.reason}{following}"
        case StageRolledBack():
            return f"  rolled back to {event.to_steps} steps: {event.reason}"
        case LossDiverged():
            return f"  diverged at step {event.step}: {event.remedy} ({event.learning_rate:g})"
        case CheckpointSaved():
            return f"  checkpoint {event.path}, step {event.step}"
        case Exported():
            return f"exported to {event.path} ({event.size_bytes / 1e6:.1f} MB)"
        case CommandAcknowledged():
            detail = f": {event.detail}" if event.detail else ""
            return f"{event.command} by {event.issued_by}: {event.outcome}{detail}"
        case Paused():
            freed = ", memory freed" if event.is_memory_freed else ""
            return f"paused at step {event.step} ({event.reason}{freed})"
        case Continued():
            return f"going on at step {event.step} ({event.reason})"
        case DiskLow():
            return f"the disk is low: {event.free_bytes / 1e6:.0f} MB free at {event.path}"
        case LogLine():
            return f"{event.level} {event.text}"
        case RunFinished():
            return f"finished in {duration(event.seconds)}"
        case RunFailed():
            return f"failed: {event.message}"
        case RunStopped():
            return (
                f"stopped at step {event.step} ({event.reason}); `diffopt resume` takes it up again"
            )
        case RunCancelled():
            return f"cancelled by {event.cancelled_by}"
        case PhaseStarted() | PhaseProgressed() | PhaseFinished() | SamplesSaved():
            return ""
        case _:
            return str(event)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _is_figure(cell: str) -> bool:
    try:
        float(cell.rstrip("x%"))
    except ValueError:
        return False
    return True
