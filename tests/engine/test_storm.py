"""A short storm of commands on a true worker; benchmarks/storm.py has the long one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "storm.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("storm", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "storm", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_of_two_clients_commands_none_is_lost_or_doubled_and_all_see_one_state(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))
    found = benchmark.storm(tmp_path, 5.0)
    assert found.wrong == []
    assert found.sent == sum(found.outcomes.values()) > 20
    assert found.outcomes["done"] > 0
    assert found.wal_bytes < 64e6
