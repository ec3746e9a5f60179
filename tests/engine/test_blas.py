"""The fast BLAS is made once, loaded before MLX, and missed politely. One process a claim."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine import blas

ROOT = Path(__file__).parents[2]
REPORT = """
import dataclasses, json, logging
logging.basicConfig(format="LOGGED %(message)s", level=logging.WARNING)
from engine.blas import load_fast_blas
print(json.dumps(dataclasses.asdict(load_fast_blas())))
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the cure is for Linux")
with_wheels = pytest.mark.skipif(
    sys.platform != "linux" or find_spec("scipy_openblas32") is None, reason="needs the cpu extra"
)


def python(code: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that keeps its copy of OpenBLAS in `cache`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in (blas.SWITCH, *blas.THREAD_SETTINGS)
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@with_wheels
def test_mlx_finds_the_fast_product_first_and_still_computes_right(tmp_path: Path) -> None:
    code = """
from engine.blas import load_fast_blas
report = load_fast_blas()
import ctypes, numpy as np, mlx.core as mx
found, ours = ctypes.CDLL(None).cblas_sgemm, ctypes.CDLL(report.path).cblas_sgemm
assert ctypes.cast(found, ctypes.c_void_p).value == ctypes.cast(ours, ctypes.c_void_p).value
a = np.random.default_rng(0).standard_normal((70, 70), dtype=np.float32)
assert np.allclose(np.array(mx.array(a) @ mx.array(a)), a @ a, atol=1e-4)
inverse = mx.linalg.inv(mx.array(a), stream=mx.cpu)   # LAPACK, which keeps its own library
assert np.allclose(np.array(inverse) @ a, np.eye(70), atol=1e-2)
assert load_fast_blas() is report and report.is_fast
"""
    python(code, tmp_path)


@with_wheels
def test_two_processes_at_once_leave_one_copy_which_the_next_one_reuses(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = [
            json.loads(run.stdout)["path"]
            for run in pool.map(lambda _: python(REPORT, tmp_path), range(2))
        ]
    assert len(set(paths)) == 1
    copy = Path(paths[0])
    assert list(copy.parent.iterdir()) == [copy]
    made = copy.stat().st_mtime_ns
    assert json.loads(python(REPORT, tmp_path).stdout)["path"] == str(copy)
    assert copy.stat().st_mtime_ns == made


@with_wheels
def test_a_cache_that_cannot_be_written_costs_one_logged_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    run = python(REPORT, in_the_way)
    assert not json.loads(run.stdout)["is_fast"]
    assert run.stderr.count("LOGGED") == 1
    assert "cannot be written" in run.stderr


@with_wheels
def test_a_damaged_copy_is_missed_politely_and_named(tmp_path: Path) -> None:
    copy = Path(json.loads(python(REPORT, tmp_path).stdout)["path"])
    copy.write_bytes(b"not a library")
    run = python(REPORT, tmp_path)
    assert not json.loads(run.stdout)["is_fast"]
    assert str(copy) in run.stderr


@linux
def test_without_the_wheel_the_remedy_is_named(tmp_path: Path) -> None:
    run = python("import sys; sys.modules['scipy_openblas32'] = None" + REPORT, tmp_path)
    report = json.loads(run.stdout)
    assert not report["is_fast"]
    assert "diffopt-tui[cpu]" in report["reason"] or "GPU" in report["reason"]
    assert not list(tmp_path.iterdir())


@linux
def test_the_switch_keeps_mlx_as_it_came_and_says_nothing(tmp_path: Path) -> None:
    run = python(REPORT, tmp_path, DIFFOPT_BLAS="system")
    assert json.loads(run.stdout) == {
        "name": "MLX's own",
        "path": None,
        "reason": "DIFFOPT_BLAS=system asks for it",
        "is_fast": False,
    }
    assert run.stderr == ""


@linux
def test_after_mlx_it_is_too_late_and_the_report_says_so(tmp_path: Path) -> None:
    # The shared library itself, so that a hook set by `import engine` cannot have come first.
    run = python("import mlx.core" + REPORT, tmp_path)
    assert "import engine first" in json.loads(run.stdout)["reason"]


@with_wheels
def test_the_hook_loads_it_when_mlx_is_imported_and_not_before(tmp_path: Path) -> None:
    code = """
from engine import blas
blas.load_fast_blas_with_mlx()
import json, numpy
assert blas._report is None
import mlx.core
assert blas._report.is_fast
"""
    python(code, tmp_path)


@with_wheels
def test_a_chosen_number_of_threads_is_respected(tmp_path: Path) -> None:
    code = """
import ctypes
from engine.blas import load_fast_blas
print(ctypes.CDLL(load_fast_blas().path).scipy_openblas_get_num_threads())
"""
    assert python(code, tmp_path, OPENBLAS_NUM_THREADS="1").stdout.strip() == "1"


def test_a_mac_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(blas, "_report", None)
    report = blas.load_fast_blas()
    assert (report.name, report.path, report.is_fast) == ("Accelerate", None, True)
    hooks = list(sys.meta_path)
    blas.load_fast_blas_with_mlx()
    assert sys.meta_path == hooks


def test_a_process_never_counts_more_cores_than_there_are() -> None:
    assert 1 <= blas.usable_cores() <= (os.cpu_count() or 1)


@with_wheels
@pytest.mark.parametrize(("threads", "wanted"), [("", [1, "all"]), ("2", [2, 2])])
def test_a_small_network_gets_one_thread_unless_the_user_chose(
    tmp_path: Path, threads: str, wanted: list[int | str]
) -> None:
    code = """
import ctypes
from engine import blas
path = blas.load_fast_blas().path
for parameters in (1000, 10**9):
    blas.fit_threads(parameters)
    print(ctypes.CDLL(path).scipy_openblas_get_num_threads())
"""
    found = python(code, tmp_path, **({"OPENBLAS_NUM_THREADS": threads} if threads else {}))
    cores = blas.usable_cores()
    assert found.stdout.split() == [str(cores if n == "all" else n) for n in wanted]


def test_fitting_threads_without_a_fast_blas_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_report", None)
    blas.fit_threads(1000)
    assert blas._report is None
