"""The gate.

A stage's student passes only if its quality holds, and gets a bounded number of other chances.

The select noise is looked at first and costs nothing; the final noise, on which scores are
reported, is looked at only when the first look passes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from engine.models.diffusion import DiffusionModel
from engine.records import Quality
from engine.training.evaluate import Evaluator, OnProgress


@dataclass(frozen=True)
class Remedy:
    """One rung of the ladder: what a further try changes against the plan."""

    name: str
    iterations_factor: float = 1.0
    learning_rate_factor: float = 1.0
    takes_next_grid: bool = False
    is_smaller_reduction: bool = False


LADDER: tuple[Remedy, ...] = (
    Remedy("as planned"),
    Remedy("more iterations", iterations_factor=2.0),
    Remedy("lower learning rate", iterations_factor=2.0, learning_rate_factor=0.3),
    Remedy("another grid", iterations_factor=2.0, takes_next_grid=True),
    Remedy("smaller reduction", is_smaller_reduction=True),
)


def rungs(
    retries: int, *, input_steps: int, output_steps: int, has_other_grid: bool
) -> list[Remedy]:
    """Return the tries that one stage may take.

    The plan and at most `retries` remedies that can apply to it.
    """
    can_split = smaller_reduction(input_steps, output_steps) is not None
    usable = [
        remedy
        for remedy in LADDER
        if (has_other_grid or not remedy.takes_next_grid)
        and (can_split or not remedy.is_smaller_reduction)
    ]
    return usable[: retries + 1]


def smaller_reduction(input_steps: int, output_steps: int) -> int | None:
    """Return the step count half-way (in ratio) between two counts, None if none lies between."""
    middle = round(math.sqrt(input_steps * output_steps))
    return middle if output_steps < middle < input_steps else None


@dataclass(frozen=True)
class Verdict:
    """What the gate saw.

    The select look, the final look if there was one, and whether the student passes.
    """

    select: Quality
    final: Quality | None
    is_accepted: bool
    reason: str


def judge(
    student: DiffusionModel,
    select: Evaluator,
    final: Callable[[], Evaluator],
    threshold: float,
    on_progress: OnProgress | None = None,
) -> Verdict:
    """Return the verdict on `student` against the original teacher.

    `final` is called only if the first look passes. Passes if the one-sided 95 % lower bound of its
    score on the final noise reaches `threshold`.
    """
    early = select.quality_of(student, on_progress=on_progress)
    if early.score < threshold:
        return Verdict(
            early,
            None,
            False,
            f"score {early.score:.4f} on the select noise is below {threshold:g}",
        )
    quality = final().quality_of(student, on_progress=on_progress)
    if not quality.is_conclusive:
        return Verdict(
            early, quality, False, f"{quality.samples} samples are too few for a verdict"
        )
    if quality.lower_bound < threshold:
        return Verdict(
            early,
            quality,
            False,
            f"lower bound {quality.lower_bound:.4f} of score "
            f"{quality.score:.4f} is below {threshold:g}",
        )
    return Verdict(
        early, quality, True, f"lower bound {quality.lower_bound:.4f} reaches {threshold:g}"
    )
