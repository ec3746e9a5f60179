"""The ladder of tries, and who passes the gate."""

import math
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from engine.models.diffusion import DiffusionModel
from engine.records import Bound, Quality
from engine.training.evaluate import Evaluator
from engine.training.gate import LADDER, judge, rungs, smaller_reduction


def test_remedies_come_in_the_order_of_what_they_cost_the_plan() -> None:
    assert [remedy.name for remedy in LADDER] == [
        "as planned",
        "more iterations",
        "lower learning rate",
        "another grid",
        "smaller reduction",
    ]
    assert [rung.iterations_factor for rung in LADDER[:4]] == [1, 2, 2, 2]
    assert LADDER[2].learning_rate_factor < 1
    assert LADDER[3].takes_next_grid
    assert LADDER[4].is_smaller_reduction


@pytest.mark.parametrize("retries", range(9))
def test_the_ladder_is_bounded_by_the_retries_asked_for(retries: int) -> None:
    tries = rungs(retries, input_steps=16, output_steps=4, has_other_grid=True)
    assert tries == list(LADDER[: retries + 1])
    assert tries[0].name == "as planned"


def test_remedies_that_cannot_apply_are_left_out() -> None:
    names = [r.name for r in rungs(8, input_steps=5, output_steps=4, has_other_grid=False)]
    assert names == ["as planned", "more iterations", "lower learning rate"]
    names = [r.name for r in rungs(3, input_steps=16, output_steps=4, has_other_grid=False)]
    assert names[-1] == "smaller reduction"


def test_a_smaller_reduction_is_strictly_between() -> None:
    for before in range(2, 60):
        for after in range(1, before):
            middle = smaller_reduction(before, after)
            assert (middle is None) is (before - after == 1)
            if middle is not None:
                assert after < middle < before
                assert abs(middle - math.sqrt(before * after)) <= 0.5
    assert smaller_reduction(16, 4) == 8
    assert smaller_reduction(5, 4) is None


def quality(value: float, lower: float, *, samples: int = 1000) -> Quality:
    distribution = Bound(1.0, 1.0) if samples >= 64 else None
    return Quality(Bound(value, lower), distribution, Bound(1.0, 1.0), samples, 10)


@dataclass
class FixedEvaluator:
    """Says what it was told to say, and counts who asked."""

    says: Quality
    asked: list[Any] = field(default_factory=list)

    def quality_of(self, model: Any, **_: Any) -> Quality:
        """Return the fixed quality."""
        self.asked.append(model)
        return self.says


@pytest.mark.parametrize(
    ("select", "final", "is_accepted", "looks", "reason"),
    [
        ((0.94, 0.99), (0.99, 0.99), False, 0, "on the select noise is below 0.95"),
        ((0.95, 0.10), (0.96, 0.95), True, 1, "lower bound 0.9500 reaches 0.95"),
        ((0.99, 0.99), (0.96, 0.949), False, 1, "lower bound 0.9490 of score 0.9600 is below 0.95"),
        ((0.99, 0.99), (0.90, 0.89), False, 1, "is below 0.95"),
    ],
)
def test_the_lower_bound_on_the_final_noise_decides(
    select: tuple[float, float],
    final: tuple[float, float],
    is_accepted: bool,
    looks: int,
    reason: str,
) -> None:
    first, last = FixedEvaluator(quality(*select)), FixedEvaluator(quality(*final))
    student = cast(DiffusionModel, object())
    verdict = judge(student, cast(Evaluator, first), lambda: cast(Evaluator, last), 0.95)
    assert verdict.is_accepted is is_accepted
    assert (len(first.asked), len(last.asked)) == (1, looks)
    assert (verdict.final is not None) is bool(looks)
    assert reason in verdict.reason


def test_the_final_noise_is_not_even_sampled_before_the_first_look_passes() -> None:
    def never() -> Evaluator:
        raise AssertionError("the final noise was looked at")

    first = FixedEvaluator(quality(0.5, 0.4))
    student = cast(DiffusionModel, object())
    assert not judge(student, cast(Evaluator, first), never, 0.95).is_accepted


def test_too_few_samples_are_no_verdict_however_good() -> None:
    first = FixedEvaluator(quality(1.0, 1.0))
    last = FixedEvaluator(quality(1.0, 1.0, samples=63))
    student = cast(DiffusionModel, object())
    verdict = judge(student, cast(Evaluator, first), lambda: cast(Evaluator, last), 0.5)
    assert not verdict.is_accepted
    assert "63 samples are too few for a verdict" in verdict.reason


def test_a_score_is_its_weakest_part() -> None:
    parts = (Bound(0.9, 0.5), Bound(0.8, 0.7), Bound(0.7, 0.69))
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        fidelity, distribution, band_energy = (parts[i] for i in order)
        found = Quality(fidelity, distribution, band_energy, 100, 10)
        assert found.score == 0.7
        assert found.lower_bound == 0.5
    assert np.isclose(Quality(parts[0], None, parts[2], 10, 0).score, 0.7)
