"""The machine is described truly, and what it cannot do is given up politely."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from engine import hardware
from engine.errors import ConfigError

ROOT = Path(__file__).parents[2]
EAGER = """
import logging
logging.basicConfig(format="LOGGED %(message)s", level=logging.WARNING)
from engine import hardware
import mlx.core as mx, mlx.nn as nn
assert hardware.configure_mlx() is False
assert hardware.describe_machine().can_compile is False
assert abs(mx.compile(lambda x: nn.silu(x) + 1)(mx.ones(3))[0].item() - 1.7310586) < 1e-5
"""

on_cpu = pytest.mark.skipif(
    sys.platform != "linux" or hardware.backend() != "cpu",
    reason="only a Linux CPU compiles with g++",
)


@pytest.fixture
def mlx_as_it_was() -> Iterator[None]:
    limit = mx.set_cache_limit(1 << 25)
    mx.set_cache_limit(limit)
    yield
    mx.set_cache_limit(limit)
    mx.enable_compile()


def run_eager(path: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    """Run EAGER with the programs of `path` alone and no compiled kernels at hand."""
    environment = os.environ | {
        "PATH": f"{path}{os.pathsep}/bin",
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(ROOT),
    }
    if path.name == "empty":
        environment["PATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-c", EAGER],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_a_full_temporary_folder_is_a_reason_not_to_compile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.delenv("MLX_DISABLE_COMPILE", raising=False)
    monkeypatch.setattr(hardware, "has_cxx_compiler", lambda: True)
    monkeypatch.setattr(tempfile, "gettempdir", full)
    assert "no temporary folder has room" in (hardware._why_not_compile() or "")


@on_cpu
def test_without_a_compiler_mlx_runs_eager_with_one_warning_that_names_the_remedy(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    run = run_eager(tmp_path / "empty", tmp_path)
    assert run.stderr.count("without compiling") == 1
    assert "install g++" in run.stderr


@on_cpu
def test_a_broken_compiler_is_found_out_before_the_first_step(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    compiler = programs / "g++"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "cc1plus: not found"\nexit 1\n'
    )
    compiler.chmod(0o755)
    run = run_eager(programs, tmp_path)
    assert run.stderr.count("without compiling") == 1
    assert "g++ does not work" in run.stderr


@on_cpu
def test_kernels_of_another_user_are_no_proof_that_new_ones_can_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlx" / hardware.version("mlx") / "cpu").mkdir(parents=True)
    monkeypatch.setattr(hardware, "has_cxx_compiler", lambda: True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "set TMPDIR" in (hardware._why_not_compile() or "")


@on_cpu
def test_mlx_switched_off_by_its_own_variable_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_DISABLE_COMPILE", "1")
    assert hardware._why_not_compile() == "MLX_DISABLE_COMPILE is set"


def test_a_machine_is_described_in_facts_that_json_can_hold() -> None:
    machine = hardware.describe_machine()
    facts = json.loads(json.dumps(dataclasses.asdict(machine)))
    assert facts["backend"] in ("metal", "cuda", "cpu")
    assert (facts["device"] == "cpu") == (facts["backend"] == "cpu")
    assert 0 < facts["available_memory_bytes"] <= facts["memory_bytes"]
    assert facts["chip"]
    assert facts["device_name"]
    assert facts["mlx_version"] == hardware.version("mlx")


def test_a_device_that_tells_nothing_is_still_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "backend", lambda: "metal")
    monkeypatch.setattr(mx, "device_info", dict)
    machine = hardware.describe_machine()
    assert machine.device == "gpu"
    assert machine.device_name == machine.chip
    assert machine.recommended_working_set_bytes is None


@pytest.mark.usefixtures("mlx_as_it_was")
def test_a_mac_keeps_a_quarter_of_its_working_set_for_reuse_and_wires_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wired: list[int] = []
    monkeypatch.setattr(hardware, "backend", lambda: "metal")
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 1 << 30})
    monkeypatch.setattr(mx, "set_wired_limit", wired.append)
    hardware.configure_mlx()
    assert mx.set_cache_limit(1 << 25) == 1 << 28
    assert wired == []


@pytest.mark.usefixtures("mlx_as_it_was")
def test_a_cache_limit_and_eager_steps_are_taken_as_asked() -> None:
    assert hardware.configure_mlx(compile=False, cache_limit_bytes=12_345_678) is False
    assert mx.set_cache_limit(1 << 25) == 12_345_678
    assert hardware.configure_mlx() is hardware.can_compile()


@pytest.mark.skipif(hardware.backend() != "cpu", reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        hardware.configure_mlx(device="gpu")


def test_peak_memory_counts_from_its_reset() -> None:
    hardware.clear_cache()
    hardware.reset_peak_memory()
    before = hardware.peak_memory_bytes()
    mx.eval(mx.zeros((1024, 1024)) + 1)
    assert hardware.peak_memory_bytes() - before >= 4 * 1024 * 1024


def test_a_blas_counts_as_effective_only_near_numpy() -> None:
    assert hardware.BlasSpeed(mlx_gflops=200, numpy_gflops=220).is_effective
    assert not hardware.BlasSpeed(mlx_gflops=6, numpy_gflops=200).is_effective
    speed = hardware.measure_blas(size=64, repeats=1)
    assert speed.mlx_gflops > 0
    assert speed.numpy_gflops > 0
