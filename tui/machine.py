"""What this machine is busy with: psutil's figures, and a GPU's where a tool tells them.

`macmon` (Apple's chips) and `nvidia-smi` are asked if they are installed; each prints a line every
two seconds, and is ended with the screen. Without them the figures are missing, not made up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.run.fact import Fact, changed

SECONDS = 2
_NVIDIA = "utilization.gpu,power.draw,temperature.gpu,memory.used,memory.total"


class Gpu(Fact):
    """A GPU's figures; None for what the tool does not tell."""

    busy: float | None = None  # share of one
    power_watts: float | None = None
    temperature_celsius: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    cpu_temperature_celsius: float | None = None
    system_watts: float | None = None


class Machine(Fact):
    """One look at the machine; None for what cannot be known."""

    cpu: float | None = None  # share of one, over all cores
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    disk_free_bytes: int | None = None
    is_on_battery: bool | None = None
    battery: float | None = None
    gpu: Gpu | None = None
    hint: str = ""  # what would tell more


_looked: list[bool] = []


def look(folder: Path, gpu: Gpu | None = None, hint: str = "") -> Machine:
    """Return the machine as it is now; `folder` is on the disk whose room matters."""
    import psutil

    machine = Machine(gpu=gpu, hint=hint)
    with contextlib.suppress(OSError, RuntimeError):
        share = psutil.cpu_percent(None) / 100  # since the last call, so the first tells nothing
        if _looked:
            machine = changed(machine, cpu=share)
        _looked[:] = [True]
    with contextlib.suppress(OSError, RuntimeError):
        memory = psutil.virtual_memory()
        machine = changed(
            machine,
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            swap_used_bytes=psutil.swap_memory().used,
        )
    with contextlib.suppress(OSError):
        there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        machine = changed(machine, disk_free_bytes=shutil.disk_usage(there).free)
    with contextlib.suppress(OSError, RuntimeError, AttributeError):
        battery = psutil.sensors_battery()
        if battery is not None:
            machine = changed(
                machine, is_on_battery=not battery.power_plugged, battery=battery.percent / 100
            )
    return machine


def parse_macmon(line: str) -> Gpu | None:
    """Return the figures of a line of `macmon pipe`; None for one that is none."""
    try:
        told = json.loads(line)
        temperatures = told.get("temp") or {}
        usage = told.get("gpu_usage") or [None, None]
        return Gpu(
            busy=_figure(usage[1]),
            power_watts=_figure(told.get("gpu_power")),
            temperature_celsius=_figure(temperatures.get("gpu_temp_avg")),
            cpu_temperature_celsius=_figure(temperatures.get("cpu_temp_avg")),
            system_watts=_figure(told.get("sys_power") or told.get("all_power")),
        )
    except (ValueError, AttributeError, TypeError, IndexError, KeyError):
        return None


def parse_nvidia(line: str) -> Gpu | None:
    """Return the figures of a line of `nvidia-smi --format=csv,noheader,nounits`."""
    parts = [_figure(part.strip()) for part in line.split(",")]
    if len(parts) != 5:
        return None
    busy, power, temperature, used, total = parts
    return Gpu(
        busy=None if busy is None else busy / 100,
        power_watts=power,
        temperature_celsius=temperature,
        memory_used_bytes=None if used is None else used * 2**20,
        memory_total_bytes=None if total is None else total * 2**20,
    )


def gpu_tool() -> tuple[Sequence[str], Callable[[str], Gpu | None], str]:
    """Return (command, its parser, hint); the command is () where there is none to ask."""
    if sys.platform == "darwin":
        if path := shutil.which("macmon"):
            return (path, "pipe", "-i", str(1000 * SECONDS)), parse_macmon, ""
        return (), parse_macmon, "install macmon for GPU and power"
    if path := shutil.which("nvidia-smi"):
        query = f"--query-gpu={_NVIDIA}"
        return (path, query, "--format=csv,noheader,nounits", "-l", str(SECONDS)), parse_nvidia, ""
    return (), parse_nvidia, ""


class GpuWatch:
    """Keeps the newest figures of the GPU's tool while started."""

    def __init__(self) -> None:
        """Find the tool; nothing is started."""
        self._command, self._parse, self.hint = gpu_tool()
        self._task: asyncio.Task[None] | None = None
        self.gpu: Gpu | None = None

    def start(self) -> None:
        """Ask the tool from now on."""
        if self._command and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._watch(), name="gpu")

    def stop(self) -> None:
        """End the tool; its last figures are forgotten, for they grow old."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.gpu = None

    async def _watch(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            self.hint = f"{Path(self._command[0]).name} does not start ({error.strerror})"
            return
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                told = self._parse(line.decode("utf-8", "replace"))
                self.gpu = told if told is not None else self.gpu
            self.hint = f"{Path(self._command[0]).name} has ended"
        finally:
            self.gpu = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            with contextlib.suppress(asyncio.CancelledError):
                await process.wait()


def _figure(value: object) -> float | None:
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return None
    return number if number == number and abs(number) < 1e18 else None
