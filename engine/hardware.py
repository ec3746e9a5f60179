"""What this machine is, and how MLX is set up for it. The one file that knows Metal from a CPU.

Not a planner: what fits is worked out from these facts elsewhere. Used by the optimizer and by
`doctor`, which prints all of it. Every Metal-only call is guarded, and every key of
``mx.device_info`` has a fallback.
"""

import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import mlx.core as mx
import numpy as np
import psutil

from engine.blas import BlasReport, load_fast_blas, usable_cores
from engine.errors import ConfigError

Backend = Literal["metal", "cuda", "cpu"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of one machine, as `diffopt doctor` and a run's record tell them."""

    platform: str
    chip: str
    cores: int
    memory_bytes: int
    available_memory_bytes: int
    mlx_version: str
    device: Literal["gpu", "cpu"]
    device_name: str
    backend: Backend
    recommended_working_set_bytes: int | None
    has_cxx_compiler: bool
    can_compile: bool
    supports_bfloat16: bool
    blas: BlasReport

    @property
    def summary(self) -> str:
        """The machine in one line, as a report says it."""
        how = "compiled" if self.can_compile else "eager"
        return (
            f"{self.chip}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB, "
            f"{self.platform}; "
            f"MLX {self.mlx_version} on {self.backend}, {how}, BLAS {self.blas.name}"
        )


@dataclass(frozen=True, slots=True)
class BlasSpeed:
    """Measured speed of a large float32 matrix product on the CPU, in MLX and in NumPy."""

    mlx_gflops: float
    numpy_gflops: float

    @property
    def is_effective(self) -> bool:
        """Whether MLX is near NumPy's speed: the reference BLAS reaches 3 to 9 % of it."""
        return self.mlx_gflops > 0.25 * self.numpy_gflops


def backend() -> Backend:
    """Return what MLX's default device computes with."""
    if mx.default_device().type != mx.DeviceType.gpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def describe_machine() -> Machine:
    """Return what this machine is. On a CPU the first call tries to compile a tiny kernel."""
    kind = backend()
    info = mx.device_info()
    chip = _chip()
    total, available = _memory()
    device_name, working_set = chip, None
    if kind != "cpu":
        device_name = str(info.get("device_name") or info.get("architecture") or chip)
        # Metal says what it advises, CUDA what there is.
        working_set = info.get("max_recommended_working_set_size") or info.get("total_memory")
    return Machine(
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        chip=chip,
        cores=usable_cores(),
        memory_bytes=total,
        available_memory_bytes=available,
        mlx_version=version("mlx"),
        device="cpu" if kind == "cpu" else "gpu",
        device_name=device_name,
        backend=kind,
        recommended_working_set_bytes=int(working_set) if working_set else None,
        has_cxx_compiler=has_cxx_compiler(),
        can_compile=can_compile(),
        supports_bfloat16=supports_bfloat16(),
        blas=load_fast_blas(),
    )


def configure_mlx(
    *,
    compile: bool = True,
    cache_limit_bytes: int | None = None,
    wired_limit_bytes: int | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
) -> bool:
    """Set MLX up for this process and return whether its functions are compiled.

    Without `cache_limit_bytes` a Mac keeps a quarter of the recommended working set for reuse: by
    default freed buffers can push the system into swap (mlx#3129). Memory is wired only where
    `wired_limit_bytes` asks for it (mlx#3186: kernel panics).

    Raises:
        ConfigError: `device` is "gpu" and MLX has none here.
    """
    if device == "gpu" and not (mx.metal.is_available() or mx.cuda.is_available()):
        raise ConfigError("device is gpu, but MLX finds no GPU here. Choose auto or cpu.")
    if device != "auto":
        mx.set_default_device(mx.gpu if device == "gpu" else mx.cpu)

    # Asked first and always: once compiling is switched off, nobody can find out any more.
    is_compiled = can_compile() and compile
    if is_compiled:
        mx.enable_compile()
    else:
        mx.disable_compile()

    is_metal = backend() == "metal"
    if cache_limit_bytes is None and is_metal:
        cache_limit_bytes = (
            int(mx.device_info().get("max_recommended_working_set_size") or 0) // 4 or None
        )
    if cache_limit_bytes is not None:
        mx.set_cache_limit(cache_limit_bytes)
    if wired_limit_bytes is not None and is_metal:
        mx.set_wired_limit(wired_limit_bytes)
    return is_compiled


def stop_compiling() -> None:
    """Run functions eagerly from now on."""
    mx.disable_compile()


def has_cxx_compiler() -> bool:
    """Return whether the C++ compiler is there that MLX calls to compile functions for a CPU."""
    if sys.platform == "darwin":
        # A Mac always has /usr/bin/g++; without the developer tools it only offers to install them.
        tools = (
            "/Library/Developer/CommandLineTools/usr/bin/g++",
            "/Applications/Xcode.app/Contents/Developer",
        )
        return any(Path(tool).exists() for tool in tools)
    return shutil.which("g++") is not None


@cache
def can_compile() -> bool:
    """Return whether ``mx.compile`` works here; if not, switch it off and log one warning.

    GPUs compile by themselves. On a CPU MLX calls g++ and keeps kernels in the temporary folder.
    Without g++ on PATH it quietly runs eager; with a broken one, or a folder that belongs to
    somebody else, the first evaluation would raise.
    """
    if backend() != "cpu":
        return True
    reason = _why_not_compile()
    if reason is None:
        return True
    _log.warning("MLX runs without compiling, which is slower: %s", reason)
    # MLX's activations are compiled functions themselves: an eager step needs this as well.
    mx.disable_compile()
    return False


def _why_not_compile() -> str | None:
    """Return what keeps MLX from compiling for the CPU; None once a tiny function has run."""
    if os.environ.get("MLX_DISABLE_COMPILE"):
        return "MLX_DISABLE_COMPILE is set"
    if not has_cxx_compiler():
        remedy = "xcode-select --install" if sys.platform == "darwin" else "install g++"
        return f"there is no C++ compiler ({remedy})"
    # Kernels compiled earlier, by anyone, load without a compiler: the probe alone proves little.
    try:
        kernels = Path(tempfile.gettempdir(), "mlx", version("mlx"), "cpu")
    except OSError:  # tried by writing there
        return "no temporary folder has room; set TMPDIR to one that has"
    if kernels.exists() and not os.access(kernels, os.W_OK):
        return f"{kernels} belongs to somebody else; set TMPDIR to a folder of your own"
    try:
        mx.eval(mx.compile(lambda x: mx.square(x) + 0.5)(mx.zeros(3)))
    except RuntimeError as error:
        return f"g++ does not work ({str(error).splitlines()[0][-200:]})"
    return None


def supports_bfloat16() -> bool:
    """Return whether bfloat16 saves time here. On a CPU it takes three times as long as float32."""
    return backend() != "cpu"


def reset_peak_memory() -> None:
    """Start a new measurement of peak memory."""
    mx.reset_peak_memory()


def peak_memory_bytes() -> int:
    """Return the most memory MLX has held since the last reset, cache apart."""
    return mx.get_peak_memory()


def memory_in_use() -> dict[str, int]:
    """Return what MLX holds now, the most since the last reset, and what it keeps for reuse.

    Keys active_bytes, peak_bytes, cache_bytes; the journal's latest value ``memory``.
    """
    return {
        "active_bytes": mx.get_active_memory(),
        "peak_bytes": mx.get_peak_memory(),
        "cache_bytes": mx.get_cache_memory(),
    }


def memory_budget_bytes() -> int:
    """Return the memory that a run may plan with: what is free now and what MLX holds already.

    A tenth of a GPU's working set is left to its other uses, 15 % of a CPU's free memory to ours.
    """
    machine = describe_machine()
    free = 0.85 * (machine.available_memory_bytes + mx.get_active_memory())
    if machine.recommended_working_set_bytes is None:
        return int(free)
    if machine.backend == "cuda":  # a memory of its own: the system's says nothing about it
        return int(0.9 * machine.recommended_working_set_bytes)
    return int(min(free, 0.9 * machine.recommended_working_set_bytes))


def clear_cache() -> None:
    """Give MLX's freed buffers back to the system, as after a preview or an evaluation."""
    mx.clear_cache()


def measure_blas(size: int = 1024, repeats: int = 3) -> BlasSpeed:
    """Return the measured speed of multiplying (size, size) arrays on the CPU, in MLX and NumPy."""
    left = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    in_mlx = mx.array(left)
    return BlasSpeed(
        mlx_gflops=_gflops(
            size, repeats, lambda: mx.eval(mx.matmul(in_mlx, in_mlx, stream=mx.cpu))
        ),
        numpy_gflops=_gflops(size, repeats, lambda: left @ left),
    )


def blas_gflops(size: int = 1024) -> float:
    """Return the measured speed of MLX multiplying (size, size) float32 arrays on the CPU."""
    return measure_blas(size).mlx_gflops


def _gflops(size: int, repeats: int, multiply: Callable[[], object]) -> float:
    multiply()  # starts threads and touches the memory
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def _chip() -> str:
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            name = subprocess.run(
                command, capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            name = ""
    else:
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
        except OSError:
            lines = []
        name = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
        )
    return name or platform.processor() or platform.machine()


def _memory() -> tuple[int, int]:
    """Return total and free memory in bytes, of the machine or of a container that has less."""
    memory = psutil.virtual_memory()
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max": no limit
        return memory.total, memory.available
    return min(memory.total, limit), min(memory.available, max(0, limit - used))
