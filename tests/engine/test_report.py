"""The report says what was reached and what was not, and is whole Markdown."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.commands.listing import summary_of
from engine.records import Bound, OptimizationMetrics, Quality, StageReport
from engine.report import _curves, report_text, write_report


def quality(value: float, *, is_conclusive: bool = True) -> Quality:
    part = Bound(value, value - 0.01)
    return Quality(part, part if is_conclusive else None, part, 1000, 51)


@pytest.fixture
def result() -> dict[str, Any]:
    stage = StageReport(
        stage_number=1,
        attempt=1,
        remedy="as planned",
        input_steps=50,
        output_steps=4,
        timesteps=(999.0, 500.0, 250.0, 19.5),
        grid_name="dp z_mse 1",
        iterations=600,
        learning_rate=1e-3,
        final_loss=0.01,
        select_quality=quality(0.9, is_conclusive=False),
        final_quality=None,
        is_accepted=False,
        seconds=1.5,
    )
    anchor = {"label": "original, run again", "steps": 50, "noise_set": "final"}
    return {
        "name": "a run",
        "summary": "50 steps became 4.",
        "threshold": 0.95,
        "metrics": OptimizationMetrics(
            50, 4, 0.981234, 10.256, -0.05, 0.97, 12.5, {"quality_score": "on 1000 samples"}
        ).to_dict(),
        "timesteps": [999.0, 500.0, 250.0, 19.5],
        "grid": "dp z_mse 1",
        "anchors": [{**anchor, "quality": quality(1.0).to_dict()}],
        "gap_closed": None,
        "label_accuracy": {"original": 0.992, "student": 0.99},
        "stages": [stage.to_dict()],
        "frontier": [
            {"kind": "student", "steps": 4, "score": 0.98},
            {"kind": "undistilled", "steps": 4, "score": 0.87},
        ],
        "training_free": [
            {
                "solver": "ddim",
                "grid": "trailing",
                "timesteps": [999.0, 749.0, 499.0, 249.0],
                "steps": 4,
                **quality(0.87).to_dict(),
            }
        ],
        "final_looks": 3,
        "select_looks": 40,
        "noise_sha256": {"final": "f" * 64, "select": "e" * 64},
        "seconds": 61.2,
        "machine": "a machine",
        "samples": "samples/comparison.png",
    }


def test_no_change_of_memory_has_no_sign_of_less(result: dict[str, Any]) -> None:
    result["metrics"]["memory_reduction"] = -0.0003
    assert "-0.0 %" not in report_text(result, has_losses=True)
    result["metrics"]["memory_reduction"] = 0.0003
    assert "peak memory +0.0 %" in summary_of(result)


def test_every_figure_stands_in_the_text(result: dict[str, Any]) -> None:
    text = report_text(result, has_losses=True)
    for part in (
        "# a run: 50 steps to 4",
        "**50 steps became 4.**",
        "| quality score | 0.9812 | on 1000 samples |",
        "| its lower bound (95 %) | 0.9700 | threshold 0.95 |",
        "| speed-up | 10.26x |",
        "12.50x fewer",
        "-5.0 %",
        "Timesteps: 999, 500, 250, 19.5 (grid: dp z_mse 1).",
        "original 0.992, student 0.990",
        "without training was not measured",
        "| ddim | trailing | 999, 749, 499, 249 | 0.8700 |",
        "looked at 3 times",
        "![loss of each try](loss.png)",
        "![samples](samples/comparison.png)",
    ):
        assert part in text
    assert "loss.png" not in report_text(result, has_losses=False)


def test_what_was_not_measured_is_not_a_number(result: dict[str, Any]) -> None:
    (row,) = [
        line for line in report_text(result, has_losses=False).splitlines() if "50 to 4" in line
    ]
    assert row.count("not measured") == 2
    assert row.endswith("| rejected |")


def test_every_row_of_a_table_has_as_many_cells_as_its_head(result: dict[str, Any]) -> None:
    cells: int | None = None
    for line in report_text(result, has_losses=True).splitlines():
        if not line.startswith("|"):
            cells = None
            continue
        cells = cells or line.count("|")
        assert line.count("|") == cells, line


def test_a_try_that_was_cancelled_stands_in_the_table_of_stages(result: dict[str, Any]) -> None:
    begun = {"attempt": 1, "remedy": "as planned", "grid_name": "uniform", "iterations": 60}
    steps = {"input_steps": 10, "output_steps": 6, "reason": "cancelled by ada"}
    result["stages"] = []
    result["cancelled"] = [
        {"stage_number": 1, **steps, **begun, "learning_rate": 0.001},
        {"stage_number": 2, **steps},
    ]
    lines = report_text(result, has_losses=False).splitlines()
    first, second = (line for line in lines if line.endswith("| cancelled by ada |"))
    assert first.startswith("| 1 | 1 | as planned | 10 to 6 | uniform | 60 | 0.001 | not measured")
    assert second.startswith("| 2 | - | - | 10 to 6 | - | - | - | not measured |")
    test_every_row_of_a_table_has_as_many_cells_as_its_head(result)


def test_plots_are_pictures_and_nothing_else_is_left(
    result: dict[str, Any], tmp_path: Path
) -> None:
    path = write_report(tmp_path, result, {"stage 1": [(1, 0.5), (2, 0.25)]})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loss.png", "quality.png", "report.md"]
    assert path == tmp_path / "report.md"
    for name in ("loss.png", "quality.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 400


def test_the_plot_shows_the_best_that_was_found_without_training(result: dict[str, Any]) -> None:
    best = {**result["training_free"][0], "solver": "dpmpp_2m", "score": 0.95}
    curves = _curves(result | {"training_free": [*result["training_free"], best]})
    assert curves == {
        "student": [(4, 0.98)],
        "undistilled": [(4, 0.87)],
        "searched": [(4, 0.95)],
    }


def test_a_run_in_which_nothing_passed_is_reported_too(
    result: dict[str, Any], tmp_path: Path
) -> None:
    result |= {"frontier": [], "samples": None, "label_accuracy": None, "training_free": []}
    text = write_report(tmp_path, result, {}).read_text(encoding="utf-8")
    assert "## Samples" not in text
    assert "## Without any training" not in text
    assert (tmp_path / "quality.png").is_file()


@pytest.mark.parametrize(("gap", "told"), [(0.75, "75% is closed"), (-0.2, "take that instead")])
def test_the_gap_is_said_in_words(result: dict[str, Any], gap: float, told: str) -> None:
    assert told in report_text(result | {"gap_closed": gap}, has_losses=False)
