"""The machine beside a run: GPU, CPU, memory, MLX's share of it, disk, and the worker's pulse."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content

from tui import format as words
from tui.follow import Snapshot
from tui.machine import Machine
from tui.widgets.pane import Line, Pane

_LABEL = 6


class Hardware(Pane):
    """The machine's figures."""

    def __init__(self, *, id: str | None = None) -> None:
        """Make it without figures."""
        super().__init__("Hardware", id=id)
        self._machine: Machine | None = None
        self._snapshot: Snapshot | None = None

    def show_machine(self, machine: Machine | None, snapshot: Snapshot) -> None:
        """Show the figures of now."""
        self._machine, self._snapshot = machine, snapshot
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        """Fit the bars to the width."""
        self._draw()

    def _draw(self) -> None:
        if self._snapshot is None:
            return
        width = max(24, self.scrollable_content_region.width or self.content_size.width)
        self.set_lines(hardware_lines(self._machine, self._snapshot, width))


def hardware_lines(machine: Machine | None, snapshot: Snapshot, width: int) -> list[Line]:
    """Return all figures, a line each."""
    machine = machine or Machine()
    room = max(6, min(20, width - _LABEL - 22))
    lines: list[Line] = []
    gpu = machine.gpu
    if gpu is not None:
        more = [_watts(gpu.power_watts), _celsius(gpu.temperature_celsius)]
        lines.append(_bar_line("GPU", gpu.busy, words.percent(gpu.busy), room, more))
        if gpu.memory_total_bytes:
            share = (gpu.memory_used_bytes or 0) / gpu.memory_total_bytes
            lines.append(
                _bar_line(
                    "VRAM", share, _of(gpu.memory_used_bytes, gpu.memory_total_bytes), room, []
                )
            )
    temperature = gpu.cpu_temperature_celsius if gpu else None
    lines.append(
        _bar_line("CPU", machine.cpu, words.percent(machine.cpu), room, [_celsius(temperature)])
    )
    used, total = machine.memory_used_bytes, machine.memory_total_bytes
    share = used / total if used is not None and total else None
    lines.append(_bar_line("MEM", share, _of(used, total), room, []))
    mlx = mlx_words(snapshot)
    lines.append(_pair("MLX", "  ".join(mlx[:2]) if mlx else "n/a"))
    if mlx[2:]:
        lines.append(_pair("", "  ".join(mlx[2:])))
    if machine.swap_used_bytes:
        lines.append(_pair("SWAP", words.bytes_(machine.swap_used_bytes, is_binary=True)))
    lines.append(_pair("DISK", f"{words.bytes_(machine.disk_free_bytes)} free"))
    if machine.is_on_battery:
        lines.append(_pair("POWER", f"on battery, {words.percent(machine.battery).strip()}"))
    elif gpu is not None and gpu.system_watts is not None:
        lines.append(_pair("POWER", f"{_watts(gpu.system_watts)} in all"))
    lines += ["", *engine_lines(snapshot)]
    if machine.hint:
        lines.append(Content.styled(machine.hint, "$text-muted"))
    return lines


def short_lines(machine: Machine | None, snapshot: Snapshot) -> list[Line]:
    """Return the figures in two lines, for where the pane has no room."""
    machine = machine or Machine()
    gpu = machine.gpu
    first = []
    if gpu is not None and gpu.busy is not None:
        first.append(f"GPU {words.percent(gpu.busy).strip()} {_watts(gpu.power_watts)}".strip())
    first.append(f"CPU {words.percent(machine.cpu).strip()}")
    first.append(f"MEM {_of(machine.memory_used_bytes, machine.memory_total_bytes)}")
    second = f"MLX {'  '.join(mlx_words(snapshot)[:2]) or 'n/a'}"
    return [
        Content.styled("  ".join(first), "$text-muted"),
        Content.styled(second, "$text-muted"),
    ]


def mlx_words(snapshot: Snapshot) -> list[str]:
    """Return what MLX holds: now, at most, kept for reuse; [] where no worker tells."""
    if snapshot.status is None or snapshot.status.pid is None:
        return []
    memory = snapshot.memory
    parts = []
    for key, word in (("active_bytes", ""), ("peak_bytes", "peak "), ("cache_bytes", "cache ")):
        value = memory.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            parts.append(word + words.bytes_(value, is_binary=True))
    return parts


def engine_lines(snapshot: Snapshot) -> list[Line]:
    """Return the worker's number and pulse."""
    status, view = snapshot.status, snapshot.view
    if status is None or status.pid is None:
        text = "no engine at work"
    else:
        host = f" on {words.printable(view.host)}" if view.host else ""
        text = f"engine {status.pid}{host}"
    pulse = ""
    if status is not None and status.heartbeat_age_seconds is not None:
        beat = status.heartbeat_age_seconds
        pulse = "alive" if beat < 15 else f"silent for {words.age(beat)}"
    return [
        Content.styled(text, "$text-muted"),
        Content.styled(pulse, "$text-muted" if pulse == "alive" else "$warning"),
    ]


def _bar_line(
    label: str, share: float | None, figure: str, room: int, more: Sequence[str]
) -> Content:
    bar = words.bar(share, room) if share is not None else " " * room
    full = bar.rstrip(words.EMPTY)
    is_scarce = label in ("MEM", "VRAM") and share is not None and share > 0.9
    colour = "$warning" if is_scarce else "$primary"
    return Content.assemble(
        (f"{label:{_LABEL}}", "$text-muted"),
        (full, colour),
        (bar[len(full) :], "$text-disabled"),
        (f" {figure}", ""),
        ("".join(f"  {one}" for one in more if one), "$text-muted"),
    )


def _pair(label: str, figure: str) -> Content:
    return Content.assemble((f"{label:{_LABEL}}", "$text-muted"), (figure, ""))


def _of(used: float | None, total: float | None) -> str:
    if used is None or not total:
        return words.NOTHING
    return f"{used / 2**30:.1f}/{total / 2**30:.0f} GiB"


def _watts(watts: float | None) -> str:
    return f"{watts:.0f} W" if watts is not None else ""


def _celsius(celsius: float | None) -> str:
    return f"{celsius:.0f} °C" if celsius is not None else ""
