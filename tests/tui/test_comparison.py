"""What is compared is what was measured, from runs at work as from finished ones."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine.run import JournalWriter, RunFolder
from engine.run.events import (
    Evaluated,
    PlannedStage,
    RunFinished,
    RunPlanned,
    RunStarted,
    SamplesSaved,
    StageAccepted,
)
from engine.run.fact import changed
from tui.compare_export import export
from tui.comparison import AXES, METRICS, csv_text, differences, read_compared, series_of
from tui.widgets.compare_table import table_lines


def evaluated(stage: int, steps: int, score: float, noise_set: str = "select") -> Evaluated:
    return Evaluated(
        label="student", steps=steps, fidelity=score, distribution=None, band_energy=1.0,
        score=score, lower_bound=score - 0.01, noise_set=noise_set, samples=64, stage=stage,
        attempt=1,
    )  # fmt: skip


def accepted(stage: int) -> StageAccepted:
    return StageAccepted(stage=stage, attempt=1, score=0.9, lower_bound=0.9, threshold=0.8)


def kinds(path: Path) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for point in read_compared(path, 0).points:
        out.setdefault(point.kind, []).append(point.steps)
    return out


def test_a_finished_run_has_both_frontiers_and_its_verdict(
    recorded: Callable[[str], RunFolder],
) -> None:
    run = recorded("smoke")
    found = read_compared(run.path, 2)
    result = json.loads(run.metrics_path.read_text())
    assert (found.name, found.state, found.place) == ("smoke", "done", 2)
    assert kinds(run.path) == {
        "student": [6, 4], "uniform": [6, 4], "searched": [4], "original": [10],
    }  # fmt: skip
    assert found.score == result["metrics"]["quality_score"]
    assert found.lower_bound == result["metrics"]["quality_lower_bound"]
    assert found.steps == 4
    assert found.speedup == result["metrics"]["inference_speedup"]
    searched = next(point for point in found.points if point.kind == "searched")
    assert searched.values["score"] == max(one["score"] for one in result["training_free"])
    assert found.sample is not None
    assert (run.path / found.sample.path).is_file()
    assert found.report == run.report_path


def test_rejected_tries_are_points_of_their_own(recorded: Callable[[str], RunFolder]) -> None:
    found = kinds(recorded("ladder").path)
    assert found["student"] == [6]
    assert sorted(found["rejected"]) == [4, 4, 4, 4, 5, 5, 5]


def test_a_run_at_work_shows_what_it_has_measured(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "seed: 0\n", name="a", mounts=[])
    stages = (PlannedStage(1, 16, 8), PlannedStage(2, 8, 4))
    with JournalWriter(run.journal_path) as journal:
        journal.emit(
            RunStarted(pid=1, host="h", device="d"),
            RunPlanned(original_steps=16, target_steps=4, threshold=0.8, stages=stages),
            evaluated(1, 8, 0.97),
            evaluated(1, 8, 0.96, "final"),
            accepted(1),
            evaluated(2, 4, 0.7),
        )
    found = read_compared(run.path, 0)
    assert kinds(run.path) == {"student": [8], "rejected": [4], "original": [16]}
    assert found.points[0].values["score"] == 0.97, "of the select noise"
    assert "distribution" not in found.points[0].values
    assert (found.steps, found.score, found.seconds, found.sample) == (8, None, None, None)


def test_only_what_was_timed_has_seconds(recorded: Callable[[str], RunFolder]) -> None:
    run = recorded("smoke")
    found = read_compared(run.path, 0)
    timed = {(point.kind, point.steps) for point in found.points if point.seconds is not None}
    assert timed == {("student", 4), ("original", 10)}
    told = json.loads(run.metrics_path.read_text())["metrics"]["measured"]["inference_speedup"]
    assert f"{32 * (found.seconds or 0):.3f} s;" in told
    assert found.original_seconds is not None
    assert found.seconds is not None
    assert found.original_seconds > found.seconds


def test_a_series_rises_along_every_axis(recorded: Callable[[str], RunFolder]) -> None:
    found = read_compared(recorded("smoke").path, 0)
    for axis in AXES:
        for metric in METRICS:
            for series in series_of(found, metric, axis):
                xs = [x for x, _ in series.points]
                assert xs == sorted(xs)
                assert all(x > 0 for x in xs)
    student = next(one for one in series_of(found, "score", "speed-up") if one.kind == "student")
    assert [x for x, _ in student.points] == [10 / 6, 10 / 4]
    assert {one.kind for one in series_of(found, "fidelity", "steps")} == {
        "student", "searched", "original",
    }, "the uniform grids' parts are not kept"  # fmt: skip


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"frontier": 3, "training_free": [{}, 4]}'])
def test_a_damaged_result_leaves_what_the_journal_says(
    recorded: Callable[[str], RunFolder], damage: str
) -> None:
    run = recorded("smoke")
    run.metrics_path.write_text(damage)
    assert kinds(run.path) == {"student": [6, 4], "original": [10]}
    assert read_compared(run.path, 0).score is not None


def test_a_run_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    found = read_compared(tmp_path / "gone", 0)
    assert "journal.sqlite" in found.problem
    assert found.points == ()


@pytest.mark.parametrize("content", ['{"metrics": [1]}', '{"metrics": {"measured": 3}}', "[" * 9])
def test_a_result_of_another_shape_is_passed_over(
    recorded: Callable[[str], RunFolder], content: str
) -> None:
    run = recorded("smoke")
    run.metrics_path.write_text(content)
    found = read_compared(run.path, 0)
    assert found.problem == ""
    assert found.score is not None


def test_whatever_a_folder_holds_is_a_reason_and_no_exception(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "seed: 0\n", name="a", mounts=[])
    with JournalWriter(run.journal_path) as journal:
        journal.emit(SamplesSaved(path="x" * 5000, what="comparison"))
    assert "name too long" in read_compared(run.path, 0).problem


def test_figures_that_are_none_are_on_no_chart(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "seed: 0\n", name="a", mounts=[])
    with JournalWriter(run.journal_path) as journal:
        journal.emit(evaluated(1, 8, math.nan), evaluated(1, 0, 0.9), evaluated(1, 4, 0.8))
    found = read_compared(run.path, 0)
    for axis in AXES:
        for series in series_of(found, "score", axis):
            assert all(math.isfinite(x) and math.isfinite(y) for x, y in series.points)


def test_the_original_is_not_compared_with_itself(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "seed: 0\n", name="kept", mounts=[])
    with JournalWriter(run.journal_path) as journal:
        journal.emit(
            RunStarted(pid=1, host="h", device="d"),
            RunPlanned(original_steps=16, target_steps=4, threshold=0.8, stages=()),
            RunFinished(result="", exit_code=3, optimized_steps=16, score=1.0, lower_bound=1.0,
                        seconds=1.0),
        )  # fmt: skip
    kept = read_compared(run.path, 0)
    assert (kept.is_missed, kept.score, kept.steps) == (True, None, 16)
    other = changed(kept, path=tmp_path / "other", score=0.9, lower_bound=0.7, is_missed=False)
    told = "\n".join(line.plain for line in table_lines([kept, other], 90, -1))
    assert "kept missed its target of 4 steps" in told
    assert "highest" not in told
    assert "✓" not in told
    assert "1.0000" not in told


def test_the_csv_has_every_point_and_the_verdict(recorded: Callable[[str], RunFolder]) -> None:
    runs = [
        read_compared(recorded(name).path, place) for place, name in enumerate(("smoke", "ladder"))
    ]
    rows = list(csv.DictReader(csv_text(runs).splitlines()))
    assert len(rows) == sum(len(run.points) + 1 for run in runs)
    verdict = next(row for row in rows if row["kind"] == "verdict")
    assert (verdict["run"], verdict["noise"], verdict["steps"]) == ("smoke", "final", "4")
    assert float(verdict["score"]) == runs[0].score
    assert {row["noise"] for row in rows if row["kind"] != "verdict"} == {"select"}


def test_the_differences_are_those_of_the_settings(recorded: Callable[[str], RunFolder]) -> None:
    runs = [
        read_compared(recorded(name).path, place) for place, name in enumerate(("smoke", "ladder"))
    ]
    found = dict(differences(runs))
    assert found["quality_threshold"] == ("0.5", "0.975")
    assert "model_path" not in found
    plain = RunFolder.create(
        runs[0].path.parent, "training: {batch_size: 3}\n", name="plain", mounts=[]
    )
    other = dict(differences([runs[0], read_compared(plain.path, 1)]))
    assert other["training.batch_size"] == ("32", "3")
    assert "target_steps" not in other, "a silent file means the default"
    again = dict(differences([read_compared(plain.path, 0), read_compared(plain.path, 1)]))
    assert again == {}


@pytest.mark.parametrize("text", ["seed: !!int ''", "seed: " + "[" * 3000])
def test_a_config_that_cannot_be_read_differs_from_others(tmp_path: Path, text: str) -> None:
    odd = RunFolder.create(tmp_path, "seed: 1\n", name="odd", mounts=[])
    odd.config_path.write_text(text)
    plain = RunFolder.create(tmp_path, "training: {batch_size: 3}\n", name="plain", mounts=[])
    runs = [read_compared(run.path, place) for place, run in enumerate((odd, plain))]
    assert dict(differences(runs))["training.batch_size"] == ("64", "3")


@pytest.mark.parametrize("axis", AXES)
def test_both_files_of_an_export_are_whole(
    recorded: Callable[[str], RunFolder], tmp_path: Path, axis: str
) -> None:
    runs = [read_compared(recorded("smoke").path, 0)]
    paths = export(tmp_path / "out", runs, "score", axis)
    assert paths["csv"].read_text() == csv_text(runs)
    with Image.open(paths["png"]) as image:
        image.load()
        assert image.width > 600
    assert {path.suffix for path in paths["csv"].parent.iterdir()} == {".csv", ".png"}
