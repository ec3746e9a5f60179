"""Facts survive JSON, and say what they are said to say."""

import json
from dataclasses import FrozenInstanceError

import pytest

from engine.records import Bound, OptimizationMetrics, Quality, StageReport

QUALITY = Quality(Bound(0.97, 0.96), Bound(0.99, 0.98), Bound(0.95, 0.94), 1000, 51)


def report(final: Quality | None) -> StageReport:
    return StageReport(
        stage_number=1,
        attempt=2,
        remedy="more iterations",
        input_steps=16,
        output_steps=4,
        timesteps=(999.0, 500.0, 250.0, 19.5),
        grid_name="dp z_mse 1",
        iterations=600,
        learning_rate=1e-3,
        final_loss=0.01,
        select_quality=QUALITY,
        final_quality=final,
        is_accepted=final is not None,
        seconds=1.5,
    )


def test_a_score_is_the_weakest_part_and_its_bound_the_weakest_bound() -> None:
    assert QUALITY.score == 0.95
    assert QUALITY.lower_bound == 0.94
    assert QUALITY.is_conclusive
    assert not Quality(Bound(1, 1), None, Bound(1, 1), 10, 0).is_conclusive


@pytest.mark.parametrize("distribution", [Bound(0.5, 0.4), None])
def test_a_quality_survives_json(distribution: Bound | None) -> None:
    quality = Quality(Bound(0.9, 0.8), distribution, Bound(0.7, 0.6), 128, 12)
    written = json.loads(json.dumps(quality.to_dict(), allow_nan=False))
    assert Quality.from_dict(written) == quality
    assert written["score"] == quality.score
    assert written["lower_bound"] == quality.lower_bound


@pytest.mark.parametrize("final", [QUALITY, None])
def test_a_stage_report_survives_json(final: Quality | None) -> None:
    written = json.loads(json.dumps(report(final).to_dict(), allow_nan=False))
    assert StageReport.from_dict(written) == report(final)


def test_metrics_have_the_five_fields_of_the_design_and_say_how_each_was_measured() -> None:
    metrics = OptimizationMetrics(
        50, 4, 0.98, 10.5, 0.0, measured={"quality_score": "min(P, D, B)"}
    )
    written = json.loads(json.dumps(metrics.to_dict()))
    assert list(written)[:5] == [
        "original_steps",
        "optimized_steps",
        "quality_score",
        "inference_speedup",
        "memory_reduction",
    ]
    assert OptimizationMetrics(**written) == metrics
    with pytest.raises(FrozenInstanceError):
        metrics.quality_score = 1.0  # pyright: ignore[reportAttributeAccessIssue]
