"""Listing runs and putting them away on the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from engine.commands import listing
from engine.run import JournalWriter, RunFolder, shelf
from engine.run.events import (
    Evaluated,
    Event,
    RunFinished,
    RunStarted,
    StageAccepted,
    StageRejected,
    StageStarted,
)

RECORDED = Path(__file__).parents[1] / "fixtures" / "runs"

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


def test_a_run_of_another_folder_is_thrown_into_that_ones_trash(
    diffopt: Diffopt, root: Path, tmp_path: Path
) -> None:
    far = RunFolder.create(tmp_path / "far away", "seed: 0\n", name="far", mounts=[])
    assert (
        f"`diffopt restore far --runs-dir '{tmp_path}/far away'`"
        in (diffopt("trash", str(far.path), is_json=False)[1])
    )
    assert "`diffopt restore first` brings" in diffopt("trash", "first", is_json=False)[1]
    code, told = diffopt("trash", ".trash/first", is_json=False)
    assert code == 2
    assert "in the trash already" in told
    assert names(diffopt("trash")[1]) == ["first"]


def test_emptying_the_trash_must_be_agreed_to(diffopt: Diffopt) -> None:
    diffopt("trash", "first")
    code, told = diffopt("empty-trash", is_json=False)
    assert code == 2
    assert "say --yes" in told
    code, done = diffopt("empty-trash", "--yes")
    assert (code, done["deleted"]) == (0, 1)
    assert diffopt("trash")[1] == []
    assert diffopt("empty-trash")[1]["deleted"] == 0, "nobody need be asked for nothing"


def test_emptying_deletes_what_was_asked_about_and_nothing_thrown_meanwhile(
    diffopt: Diffopt, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agree(count: int) -> bool:
        assert count == 1
        shelf.trash(RunFolder.open(root / "second"), client="another terminal")
        return True

    diffopt("trash", "first")
    monkeypatch.setattr(listing, "_has_agreed", agree)
    assert diffopt("empty-trash")[1]["deleted"] == 1
    assert names(diffopt("trash")[1]) == ["second"]


def test_a_run_that_is_worked_on_is_not_thrown(diffopt: Diffopt, root: Path) -> None:
    with RunFolder.open(root / "first").own():
        code, told = diffopt("trash", "first")
    assert code == 2
    assert "diffopt stop first" in told
    assert (root / "first").is_dir()


# What a run came to


def say(root: Path, *events: Event) -> None:
    with JournalWriter(root / "first" / "journal.sqlite") as journal:
        journal.emit(*events)


def looked_at(steps: int, score: float) -> Evaluated:
    return Evaluated(
        label="student",
        steps=steps,
        fidelity=score,
        distribution=score,
        band_energy=score,
        score=score,
        lower_bound=score - 0.01,
        noise_set="final",
        samples=64,
    )


def reached(facts: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(facts[key] for key in ("steps", "score", "lower_bound", "is_target_reached"))


def test_a_run_that_is_done_came_to_what_it_says_not_to_a_rejected_student(
    diffopt: Diffopt, root: Path
) -> None:
    for name in ("ladder", "smoke"):
        shutil.copytree(RECORDED / name, root / name)
    missed, held = (diffopt("show", name)[1] for name in ("ladder", "smoke"))
    assert missed["steps"] == 6
    assert missed["score"] == pytest.approx(0.9876, abs=1e-4)
    assert missed["lower_bound"] == pytest.approx(0.9752, abs=1e-4)
    assert (missed["is_target_reached"], held["is_target_reached"]) == (False, True)
    listed = {one["run"]: reached(one) for one in diffopt("runs")[1]}
    assert listed["ladder"] == reached(missed)
    assert listed["smoke"] == reached(held)
    lines = diffopt("runs", is_json=False)[1].splitlines()
    (ladder,) = [line for line in lines if line.startswith("ladder")]
    assert ladder.split()[:4] == ["ladder", "done", "6", "0.9876"]
    assert ladder.endswith("the target was missed")
    assert sum("missed" in line for line in lines) == 1


def test_a_run_at_work_came_to_its_last_accepted_student(diffopt: Diffopt, root: Path) -> None:
    say(root, RunStarted(pid=1, host="h", device="d", engine_version="0"))
    say(root, StageStarted(stage=1, input_steps=50, output_steps=8), looked_at(8, 0.99))
    assert reached(diffopt("show", "first")[1]) == (None,) * 4
    say(root, StageAccepted(stage=1, attempt=1, score=0.99, lower_bound=0.98, threshold=0.9))
    say(root, StageStarted(stage=2, input_steps=8, output_steps=4), looked_at(4, 0.5))
    say(root, StageRejected(stage=2, attempt=1, reason="below", score=0.5, lower_bound=0.49))
    assert reached(diffopt("show", "first")[1]) == (8, 0.99, 0.98, None)
    told = diffopt("show", "first", is_json=False)[1]
    assert "so far: 8 steps, score 0.9900, lower bound 0.9800" in told


def test_a_run_that_keeps_the_original_tells_its_steps(diffopt: Diffopt, root: Path) -> None:
    end = {"result": "No reduction passed", "exit_code": 3, "optimized_steps": 50, "seconds": 1.0}
    say(root, RunFinished(**end, score=1.0, lower_bound=1.0))
    assert reached(diffopt("show", "first")[1]) == (50, 1.0, 1.0, False)
    assert "the target was missed: 50 steps" in diffopt("show", "first", is_json=False)[1]


def test_damaged_figures_do_not_hide_a_run(diffopt: Diffopt, root: Path) -> None:
    shutil.copytree(RECORDED / "smoke", root / "smoke")
    figures = root / "smoke" / "metrics.json"
    for content in ("{", "[]", "{}", "\0"):
        figures.write_text(content)
        code, told = diffopt("show", "smoke", is_json=False)
        assert code == 0
        assert f"{figures} " in told
        assert "the result: 4 steps, score 0.9717" in told
        assert diffopt("show", "smoke")[1]["result"] is None


def test_a_damaged_run_that_is_archived_stays_out_of_the_list(diffopt: Diffopt, root: Path) -> None:
    (root / "first" / "journal.sqlite").write_bytes(b"")
    assert diffopt("archive", "first")[0] == 0
    assert names(diffopt("runs")[1]) == ["second"]
    (damaged,) = [one for one in diffopt("runs", "--all")[1] if one["run"] == "first"]
    assert (damaged["state"], damaged["is_archived"]) == ("damaged", True)
