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
    Evaluated,
    Event,
    LogLine,
    LossDiverged,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    RunFinished,
    RunStopped,
    SamplesSaved,
    StageAccepted,
    StageRejected,
    StageRolledBack,
    StageTrained,
    TryStarted,
)
from engine.run.figures import duration, printable
from engine.run.telling import tell
from engine.standard_output import write_out

OF_A_TRY = (
    TryStarted,
    StageTrained,
    Evaluated,
    StageAccepted,
    StageRejected,
    StageRolledBack,
    LossDiverged,
    CheckpointSaved,
)
"""Events that stand, set in, below the line of their stage."""


def say(text: str = "") -> None:
    """Print a line to standard output."""
    write_out(text + "\n")


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


def line_for(event: Event) -> str:
    """Return the line that tells a person of `event`; empty for those that need none."""
    match event:
        case PhaseFinished(phase="probe", summary=str(planned)) if planned:
            return printable(planned)  # told before the long work begins
        case PhaseStarted() | PhaseProgressed() | PhaseFinished() | SamplesSaved():
            return ""
        case RunFinished():  # its result is the command's own output
            return f"finished in {duration(event.seconds)}"
    told = tell(event)
    assert told is not None, event
    line = told.text.replace("→", "->")  # a pipe's encoding may not have the arrow
    if isinstance(event, LogLine):
        line = f"{told.level} {line}"
    elif isinstance(event, RunStopped):
        line += "; `diffopt resume` takes it up again"
    return printable(f"  {line}" if isinstance(event, OF_A_TRY) else line)


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
