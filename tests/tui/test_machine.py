"""The machine's figures: psutil's, and those of the tools that tell of a GPU."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import RunFolder, RunState, RunStatus
from tests.tui.waiting import until
from tui.follow import Snapshot
from tui.machine import Gpu, GpuWatch, Machine, look, parse_macmon, parse_nvidia
from tui.state import RunView
from tui.widgets.hardware import hardware_lines, mlx_words, short_lines

# as `macmon pipe` writes it, from its documentation
MACMON = (
    '{"timestamp":"2025-02-24T20:38:15.427569+00:00","temp":{"cpu_temp_avg":43.73614,'
    '"gpu_temp_avg":36.95167},"memory":{"ram_total":25769803776,"ram_usage":20985479168,'
    '"swap_total":4294967296,"swap_usage":2602434560},"ecpu_usage":[1181,0.082656614],'
    '"pcpu_usage":[1974,0.015181795],"gpu_usage":[461,0.021497859],"cpu_power":0.20486385,'
    '"gpu_power":0.017451683,"ane_power":0.0,"all_power":0.22231553,"sys_power":5.876533,'
    '"ram_power":0.11635789,"gpu_ram_power":0.0009615385}'
)


def test_a_line_of_macmon_is_read() -> None:
    assert parse_macmon(MACMON) == Gpu(
        busy=0.021497859,
        power_watts=0.017451683,
        temperature_celsius=36.95167,
        cpu_temperature_celsius=43.73614,
        system_watts=5.876533,
    )


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"temp": 3}', '{"gpu_usage": 1}'])
def test_lines_that_are_none_are_passed_over(line: str) -> None:
    assert parse_macmon(line) is None


def test_a_tool_that_tells_less_is_believed_as_far_as_it_goes() -> None:
    assert parse_macmon('{"gpu_power": 3.5}') == Gpu(power_watts=3.5)


def test_a_line_of_nvidia_smi_is_read() -> None:
    assert parse_nvidia("87, 312.40, 61, 20480, 81559") == Gpu(
        busy=0.87,
        power_watts=312.4,
        temperature_celsius=61.0,
        memory_used_bytes=20480 * 2**20,
        memory_total_bytes=81559 * 2**20,
    )
    assert parse_nvidia("87, [N/A], 61, 20480, 81559") == Gpu(
        busy=0.87,
        temperature_celsius=61.0,
        memory_used_bytes=20480 * 2**20,
        memory_total_bytes=81559 * 2**20,
    )
    assert parse_nvidia("No devices were found") is None


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    look(tmp_path)
    machine = look(tmp_path)
    assert machine.cpu is not None
    assert 0 <= machine.cpu <= 1
    assert machine.memory_total_bytes
    assert machine.disk_free_bytes
    assert look(tmp_path / "not" / "yet").disk_free_bytes  # the disk that it would be on


@pytest.fixture
def macmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a macmon into the path that does what it is told."""

    def install(script: str) -> None:
        tool = tmp_path / "bin" / "macmon"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr("tui.machine.sys.platform", "darwin")

    return install


def test_macmon_is_heard_while_started_and_ended_with_the_screen(
    macmon: Callable[[str], None], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    macmon(f"echo $$ > {pid_file}; echo nonsense; echo '{MACMON}'; exec sleep 60")

    async def check() -> None:
        watch = GpuWatch()
        watch.start()
        await until(lambda: watch.gpu is not None)
        pid = int(pid_file.read_text())
        watch.stop()
        assert watch.gpu is None
        await until(lambda: not _is_there(pid))

    asyncio.run(check())


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_macmon_that_ends_is_told(macmon: Callable[[str], None]) -> None:
    macmon("exit 3")

    async def check() -> None:
        watch = GpuWatch()
        watch.start()
        await until(lambda: watch.hint == "macmon has ended")
        watch.stop()

    asyncio.run(check())


def test_a_mac_without_macmon_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.machine.sys.platform", "darwin")
    monkeypatch.setattr("tui.machine.shutil.which", lambda _: None)
    watch = GpuWatch()
    assert watch.hint == "install macmon for GPU and power"


# The pane

FULL = Machine(
    cpu=0.11,
    memory_used_bytes=41 * 2**30,
    memory_total_bytes=64 * 2**30,
    swap_used_bytes=2**28,
    disk_free_bytes=212 * 10**9,
    gpu=Gpu(busy=0.82, power_watts=38.2, temperature_celsius=71.4, system_watts=52.0),
)


def snapshot_of(tmp_path: Path, pid: int | None = 7, **latest: object) -> Snapshot:
    run = RunFolder(tmp_path / "runs" / "digits")
    status = RunStatus(RunState.RUNNING, "", pid, 40, None, None)
    return Snapshot(run, RunView(), status, latest=dict(latest))


def test_every_figure_has_its_line(tmp_path: Path) -> None:
    memory = {"active_bytes": 22.1 * 2**30, "peak_bytes": 2**35, "cache_bytes": 2**30}
    told = "\n".join(
        str(line) for line in hardware_lines(FULL, snapshot_of(tmp_path, memory=memory), 40)
    )
    for figure in (
        " 82 %", "38 W", "71 °C", " 11 %", "41.0/64 GiB", "22.1 GiB", "peak 32.0 GiB",
        "cache 1.00 GiB", "256 MiB", "212 GB free", "52 W in all", "engine 7",
    ):  # fmt: skip
        assert figure in told


def test_what_a_dead_engine_held_is_not_told(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, None, memory={"active_bytes": 2**30})
    told = "\n".join(str(line) for line in hardware_lines(FULL, snapshot, 40))
    assert "no engine at work" in told
    assert "1.00 GiB" not in told
    assert str(short_lines(FULL, snapshot)[1]) == "MLX n/a"


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    told = "\n".join(str(line) for line in hardware_lines(None, snapshot_of(tmp_path), 40))
    assert "GPU" not in told
    assert "n/a" in told
    assert "0 %" not in told


@pytest.mark.parametrize("width", [24, 38, 60, 120])
def test_lines_fit_their_pane(tmp_path: Path, width: int) -> None:
    lines = hardware_lines(FULL, snapshot_of(tmp_path), width)
    assert all(len(str(line)) <= max(width, 42) for line in lines)


def test_folded_it_takes_two_lines(tmp_path: Path) -> None:
    first, second = map(str, short_lines(FULL, snapshot_of(tmp_path)))
    assert first == "GPU 82 % 38 W  CPU 11 %  MEM 41.0/64 GiB"
    assert second == "MLX n/a"


def test_strange_memory_figures_are_left_out(tmp_path: Path) -> None:
    strange = {"active_bytes": "much", "peak_bytes": True, "cache_bytes": None}
    assert mlx_words(snapshot_of(tmp_path, memory=strange)) == []
