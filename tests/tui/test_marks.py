from pathlib import Path

import pytest

from tui.marks import Marks


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.mkdir()
    return paths


def test_a_mark_keeps_its_place_whatever_becomes_of_others(runs: list[Path]) -> None:
    marks, (a, b, c) = Marks(), runs
    for path in runs:
        marks.toggle(path)
    assert marks.places() == {a: 0, b: 1, c: 2}
    marks.toggle(a)
    assert marks.places() == {b: 1, c: 2}
    marks.toggle(a)
    assert list(marks) == [a, b, c], "the lowest free place, and in the order of places"


def test_a_run_that_is_away_counts_as_unmarked_until_it_is_back(runs: list[Path]) -> None:
    marks, (a, b, c) = Marks(), runs
    marks.toggle(a)
    marks.toggle(b)
    a.rename(a.with_name("trash"))
    assert (list(marks), len(marks)) == ([b], 1)
    marks.toggle(c)
    a.with_name("trash").rename(a)
    assert marks.places() == {a: 0, b: 1, c: 2}, "its place was kept"
