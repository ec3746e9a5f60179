"""Quality as text: the gauge, the chart of tries, and the word against the threshold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.run.events import Evaluated
from tests.tui.journals import events_of
from tui.fold import fold
from tui.quality import Mark, limits_for, marks_of, quality_chart, quality_words
from tui.state import RunView, StageView, TryView

LADDER = fold(RunView(), events_of("ladder"))
anything = st.one_of(st.floats(), st.floats(0, 1))


def view_of(score: float, lower: float, threshold: float | None, state: str) -> RunView:
    measured = Evaluated(
        label="student", steps=4, fidelity=score, distribution=None, band_energy=score, score=score,
        lower_bound=lower, noise_set="final", samples=8, stage=1, attempt=1,
    )  # fmt: skip
    one = TryView(1, final=measured, state=state)
    return RunView(threshold=threshold, stages=(StageView(1, tries=(one,)),))


def test_every_try_of_the_recorded_ladder_has_its_mark() -> None:
    marks = marks_of(LADDER)
    assert [mark.label for mark in marks] == [
        "1.1",
        "2.1",
        "2.2",
        "2.3",
        "2.4",
        "3.1",
        "3.2",
        "3.3",
    ]
    assert [mark.is_accepted for mark in marks] == [True] + [False] * 7


def test_while_a_run_works_its_newest_try_counts_and_at_its_end_the_student_that_passed() -> None:
    assert quality_words(replace(LADDER, state="running"), 30)[1:] == ("0.9828", "<")
    assert quality_words(LADDER, 30)[1:] == ("0.9876", "≥")


@pytest.mark.parametrize(
    ("lower", "sign"), [(0.95, "≥"), (0.9, "≥"), (0.89, "<"), (float("nan"), "<")]
)
def test_the_lower_bound_decides_not_the_score(lower: float, sign: str) -> None:
    assert quality_words(view_of(0.96, lower, 0.9, "running"), 20)[2] == sign


def test_before_a_measurement_it_says_what_it_waits_for() -> None:
    assert quality_words(RunView(), 40)[0].plain == "after the first stage"
    assert quality_words(RunView(state="done"), 40)[0].plain == "no stage was measured"
    assert "measured when" in quality_chart(RunView(), 40, 10)[0].plain


def test_the_chart_has_marks_whiskers_threshold_and_names() -> None:
    rows = [row.plain for row in quality_chart(view_of(1.0, 0.95, 0.92, "accepted"), 16, 12)]
    assert rows[0].startswith("quality")
    assert "threshold 0.92" in rows[0]
    assert any("✓" in row for row in rows)
    assert any("┴" in row for row in rows)
    assert any("┄┄┄" in row for row in rows)
    assert "1.1" in rows[-1]
    assert len({len(row) for row in rows[1:]}) == 1


@given(anything, anything, st.one_of(st.none(), anything), st.integers(8, 120), st.integers(1, 30))
def test_any_figures_can_be_drawn(
    score: float, lower: float, threshold: float | None, width: int, height: int
) -> None:
    view = view_of(score, lower, threshold, "rejected")
    assert quality_words(view, width)[0].cell_length == width
    rows = quality_chart(view, width, height)
    assert {row.cell_length for row in rows[1:]} == {width + 11}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_limits_leave_room_below_every_bound(lowers: list[float]) -> None:
    limits = limits_for([Mark("1.1", 1.0, lower) for lower in lowers], None)
    assert limits.low <= min(lowers)
    assert limits.high == 1.0
