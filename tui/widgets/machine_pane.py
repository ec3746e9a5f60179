"""This machine in a pane, without a run: what is busy, what is free, who trains and who waits."""

from __future__ import annotations

from pathlib import Path

from textual.content import Content

from engine.errors import DiffoptError
from engine.run import RunFolder, RunState, TrainingQueue
from tui import format as words
from tui.machine import Machine
from tui.widgets.pane import Pane

_LABEL = 6


class MachinePane(Pane):
    """The machine's figures."""

    def __init__(self) -> None:
        """Make it without figures."""
        super().__init__("This machine", ["reading…"], id="machine")

    def show_machine(self, machine: Machine, queue: tuple[str | None, int]) -> None:
        """Show the figures of now; `queue` is who trains, and how many wait."""
        size = self.scrollable_content_region.size
        self.set_lines(machine_lines(machine, queue, size.width, size.height))


def queue_of() -> tuple[str | None, int]:
    """Return who trains on this machine, None where nobody does, and how many wait."""
    queue = TrainingQueue()
    training = queue.training()
    what = training.what if training else None
    waiting = [one for one in queue.waiting() if not _is_paused(one.what)]
    return (Path(what).name if what else None), len(waiting)


def _is_paused(what: str | None) -> bool:
    """Return whether a run was told to hold still in the queue: it takes no turn."""
    if what is None:
        return False
    try:
        return RunFolder(Path(what)).status().state is RunState.PAUSED
    except (DiffoptError, OSError):
        return False


def machine_lines(
    machine: Machine, queue: tuple[str | None, int], width: int, height: int
) -> list[Content]:
    """Return the figures in at most `height` lines."""
    room = max(6, min(20, width - _LABEL - 18))
    gpu = machine.gpu
    lines: list[Content] = []
    if gpu is not None:
        more = f"  {gpu.power_watts:.0f} W" if gpu.power_watts is not None else ""
        lines.append(_bar("GPU", gpu.busy, words.percent(gpu.busy) + more, room))
    lines.append(_bar("CPU", machine.cpu, words.percent(machine.cpu), room))
    used, total = machine.memory_used_bytes, machine.memory_total_bytes
    share = used / total if used is not None and total else None
    lines.append(_bar("MEM", share, memory_words(machine), room))
    if machine.swap_used_bytes:
        lines.append(_pair("SWAP", words.bytes_(machine.swap_used_bytes, is_binary=True)))
    lines.append(_pair("DISK", f"{words.bytes_(machine.disk_free_bytes)} free"))
    training, waiting = queue
    word = words.clipped(training or "nothing", max(8, width - _LABEL - 12))
    lines.append(_pair("TRAIN", f"{word}{f', {waiting} waiting' if waiting else ''}"))
    if gpu is not None and gpu.temperature_celsius is not None:
        lines.append(_pair("TEMP", f"{gpu.temperature_celsius:.0f} °C"))
    if machine.is_on_battery:
        lines.append(_pair("POWER", f"on battery, {words.percent(machine.battery).strip()}"))
    if machine.hint:
        lines.append(Content.styled(machine.hint, "$text-muted"))
    return lines[: max(1, height)]


def short_line(machine: Machine) -> str:
    """Return the figures in a few words, for a pane's edge."""
    parts = []
    if machine.gpu is not None and machine.gpu.busy is not None:
        parts.append(f"GPU {words.percent(machine.gpu.busy).strip()}")
    if machine.cpu is not None:
        parts.append(f"CPU {words.percent(machine.cpu).strip()}")
    parts.append(f"MEM {memory_words(machine)}")
    parts.append(f"DISK {words.bytes_(machine.disk_free_bytes)} free")
    return "  ".join(parts)


def memory_words(machine: Machine) -> str:
    """Return "5.2/24 GiB"."""
    used, total = machine.memory_used_bytes, machine.memory_total_bytes
    if used is None or not total:
        return words.NOTHING
    return f"{used / 2**30:.1f}/{total / 2**30:.0f} GiB"


def _bar(label: str, share: float | None, figure: str, room: int) -> Content:
    bar = words.bar(share, room) if share is not None else " " * room
    full = bar.rstrip(words.EMPTY)
    colour = "$warning" if share is not None and share > 0.9 else "$primary"
    return Content.assemble(
        (f"{label:{_LABEL}}", "$text-muted"),
        (full, colour),
        (bar[len(full) :], "$text-disabled"),
        f" {figure}",
    )


def _pair(label: str, figure: str) -> Content:
    return Content.assemble((f"{label:{_LABEL}}", "$text-muted"), figure)
