"""Facts: dataclasses to whoever reads them, with methods that they share."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, field, fields, is_dataclass, replace
from typing import Any

import pytest

from engine.run.fact import Fact, changed


class Point(Fact):
    """Somewhere."""

    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)


class Other(Fact):
    """Of the same fields."""

    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)


def test_it_is_a_dataclass_to_whoever_reads_it() -> None:
    point = Point(1, names=["here"])
    assert is_dataclass(point)
    assert [one.name for one in fields(point)] == ["x", "y", "names"]
    assert asdict(point) == {"x": 1, "y": 2, "names": ["here"]}
    assert replace(point, y=5) == Point(1, 5, ["here"]) == changed(point, y=5)
    assert point == Point(1, 2, ["here"])
    assert repr(Point(1)) == "Point(x=1, y=2, names=[])"
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_what_is_made_of_a_default_is_each_one_s_own() -> None:
    assert Point(1).names is not Point(1).names


def test_equal_facts_are_of_one_kind_and_hash_alike() -> None:
    assert Point(1) != Other(1)
    one, same = Point(1, 2, ()), Point(y=2, names=(), x=1)  # type: ignore[arg-type]
    assert hash(one) == hash(same)
    assert len({one, same, Other(1, 2, ())}) == 2  # type: ignore[arg-type]


def test_it_does_not_change() -> None:
    point = Point(1)
    with pytest.raises(FrozenInstanceError, match="'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="'x'"):
        del point.x  # type: ignore[misc]
    assert changed(point, x=3) is not point
    assert point.x == 1


@pytest.mark.parametrize(
    ("given", "named", "words"),
    [
        ((), {}, "lacks x"),
        ((1,), {"z": 1}, "has no z"),
        ((), {"y": 1, "z": 1}, "lacks x"),
        ((1, 2, [], 4), {}, "has 3 fields, and 4 were given"),
        ((1,), {"x": 1}, "was given a field twice"),
    ],
)
def test_what_does_not_fit_is_refused(
    given: tuple[Any, ...], named: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        Point(*given, **named)


def test_a_field_that_is_not_there_is_not_changed() -> None:
    with pytest.raises(TypeError, match="has no z"):
        changed(Point(1), z=2)
