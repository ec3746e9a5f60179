"""Listing runs and putting them away on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from engine.run import RunFolder

Diffopt = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for name in ("first", "second"):
        RunFolder.create(root, "seed: 0\n", name=name, mounts=[])
    return root


@pytest.fixture
def diffopt(root: Path, capsys: pytest.CaptureFixture[str]) -> Diffopt:
    """Run a command; return its exit code and what it printed, read as JSON with is_json."""

    def call(*words: str, is_json: bool = True) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*words, "--runs-dir", str(root), *(["--json"] if is_json else [])])
        printed = capsys.readouterr()
        if not is_json or not printed.out:
            return code, printed.out + printed.err
        return code, json.loads(printed.out)

    return call


def names(listed: list[dict[str, Any]]) -> list[str]:
    return [one["run"] for one in listed]


def test_an_archived_run_is_listed_only_with_all(diffopt: Diffopt) -> None:
    assert diffopt("archive", "first")[1] == {"run": "first", "is_archived": True}
    assert names(diffopt("runs")[1]) == ["second"]
    assert names(diffopt("runs", "--all")[1]) == ["second", "first"]
    told = diffopt("runs", is_json=False)[1]
    assert "1 archived" in told
    assert "first" not in told
    assert "queued, archived" in diffopt("runs", "--all", is_json=False)[1]
    assert diffopt("archive", "first", "--undo")[1]["is_archived"] is False
    assert names(diffopt("runs")[1]) == ["second", "first"]


def test_a_thrown_run_is_listed_in_the_trash_and_comes_back(diffopt: Diffopt, root: Path) -> None:
    assert diffopt("trash", "first")[1]["path"] == str(root / ".trash" / "first")
    assert names(diffopt("runs", "--all")[1]) == ["second"]
    assert names(diffopt("trash")[1]) == ["first"]
    assert "first" in diffopt("trash", is_json=False)[1]
    assert diffopt("restore", "first")[1]["path"] == str(root / "first")
    assert "empty" in diffopt("trash", is_json=False)[1]
    assert diffopt("restore", "first", is_json=False)[0] == 2


def test_emptying_the_trash_must_be_agreed_to(diffopt: Diffopt) -> None:
    diffopt("trash", "first")
    code, told = diffopt("empty-trash", is_json=False)
    assert code == 2
    assert "say --yes" in told
    code, done = diffopt("empty-trash", "--yes")
    assert (code, done["deleted"]) == (0, 1)
    assert diffopt("trash")[1] == []
    assert diffopt("empty-trash")[1]["deleted"] == 0, "nobody need be asked for nothing"


def test_a_run_that_is_worked_on_is_not_thrown(diffopt: Diffopt, root: Path) -> None:
    with RunFolder.open(root / "first").own():
        code, told = diffopt("trash", "first")
    assert code == 2
    assert "diffopt stop first" in told
    assert (root / "first").is_dir()
