"""Charts of text: shapes, limits that hold still, and no value that breaks them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.run.metrics import MetricPoint
from tui.plot import (
    Limits,
    bars,
    braille,
    columns_of,
    gauge,
    limits_of,
    step_axis,
    value_labels,
    widened,
)

numbers = st.one_of(st.floats(), st.floats(-1e6, 1e6), st.floats(0, 1))
columns = st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=60)


def points_of(values: list[float], span: int = 4) -> list[MetricPoint]:
    return [
        MetricPoint(span * index, span * index + span - 1, span, value, value, value)
        for index, value in enumerate(values)
    ]


@given(columns, st.integers(1, 12), st.booleans())
def test_any_values_give_rows_of_the_right_size(
    values: list[float | None], height: int, is_log: bool
) -> None:
    limits = limits_of([v for v in values if v is not None], is_log=is_log)
    assert limits.low < limits.high
    assert [len(row) for row in bars(values, height, limits)] == [len(values)] * height
    dots = braille(values, height, limits)
    assert [len(row) for row in dots] == [(len(values) + 1) // 2] * height
    assert len(value_labels(limits, height)) == height


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=30), st.booleans())
def test_limits_hold_every_value(values: list[float], is_log: bool) -> None:
    limits = limits_of(values, is_log=is_log)
    assert limits.low <= min(values) * 1.001
    assert limits.high >= max(values) * 0.999


def test_limits_are_round() -> None:
    assert limits_of([0.0312, 0.18]) == Limits(0.0, 0.2)
    assert limits_of([0.0007, 0.012], is_log=True) == Limits(0.0001, 0.1, True)
    close = limits_of([0.21, 0.34], is_log=True)
    assert (close.low, close.high) == pytest.approx((0.2, 0.5))


def test_limits_hold_still_until_they_are_exceeded_or_hardly_used() -> None:
    before = limits_of([0.0, 0.8])
    assert limits_of([0.1, 0.5], before) == before
    assert limits_of([0.0, 1.3], before) != before
    assert limits_of([0.0, 0.2], before) != before
    assert limits_of([0.1, 0.5], before, is_log=True) != before


def test_a_growing_run_changes_only_its_newest_bar() -> None:
    limits = Limits(0.0, 1.0)
    values = [0.1, 0.5, 0.9, 0.4]
    (shorter,) = bars(columns_of(points_of(values[:3]), 8), 1, limits)
    (longer,) = bars(columns_of(points_of(values), 8), 1, limits)
    assert shorter == "▁▄▇     "
    assert longer == "▁▄▇▃    "


def test_a_value_holds_until_the_next_is_told() -> None:
    points = points_of([1.0, 5.0, 3.0])
    assert columns_of([points[0], points[2]], 4) == [1.0, 1.0, 3.0, None]


def test_few_bars_are_drawn_wider_by_whole_factors() -> None:
    assert widened([1.0, 2.0, 3.0, None, None, None, None], 7) == [1, 1, 2, 2, 3, 3, None]
    assert widened([1.0, 2.0, 3.0, None], 4) == [1, 2, 3, None]


def test_the_bars_of_a_run_that_has_ended_fill_the_width() -> None:
    assert widened([1.0, 2.0, 3.0, None], 4, is_whole=True) == [1, 1, 2, 3]
    assert widened([], 4, is_whole=True) == []


def test_what_is_not_finite_is_marked() -> None:
    assert bars([1.0, math.nan, math.inf], 1, Limits(0.0, 1.0)) == ["█!!"]


def test_a_line_in_dots_is_drawn_whole() -> None:
    rows = braille([0.0, 1.0], 1, Limits(0.0, 1.0))
    assert rows == [chr(0x2800 + 0x40 + 0x08 + 0x10 + 0x20)]


def test_the_axis_says_where_it_begins_and_ends() -> None:
    line, labels = step_axis(0, 12_000, 60)
    assert len(line) == len(labels) == 60
    assert labels.startswith("0")
    assert labels.endswith("12 000")
    assert line.count("┬") == 4


@given(numbers, numbers, st.one_of(st.none(), numbers), st.integers(4, 60))
def test_a_gauge_has_its_width(
    score: float, lower: float, threshold: float | None, width: int
) -> None:
    assert len(gauge(score, lower, threshold, width, Limits(0.0, 1.0))) == width


def test_a_gauge_shows_score_bound_and_threshold() -> None:
    assert gauge(1.0, 0.5, 0.0, 5, Limits(0.0, 1.0)) == "┼─━━●"
