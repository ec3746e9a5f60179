"""Every point stands where its figures put it, within the room there is."""

import pytest

from tui.scatter import Line, scatter, tick_words

RISING = Line(((4.0, 0.90), (8.0, 0.95), (16.0, 0.99)), "◆", "$series-1", "solid")


def plain(*lines: Line, width: int = 60, height: int = 16, **more: object) -> list[str]:
    return [line.plain for line in scatter(lines, width, height, **more)]  # pyright: ignore[reportArgumentType]


def places(rows: list[str], sign: str) -> list[tuple[int, int]]:
    return [(x, y) for y, row in enumerate(rows) for x, one in enumerate(row) if one == sign]


@pytest.mark.parametrize("size", [(20, 6), (40, 10), (76, 18), (150, 40)])
def test_the_chart_fills_its_room_and_no_more(size: tuple[int, int]) -> None:
    rows = plain(RISING, width=size[0], height=size[1])
    assert len(rows) == size[1]
    assert max(map(len, rows)) <= size[0]
    assert len(places(rows, "◆")) == 3


@pytest.mark.parametrize("size", [(18, 16), (60, 4), (0, 0)])
def test_without_room_there_is_no_chart(size: tuple[int, int]) -> None:
    assert plain(RISING, width=size[0], height=size[1]) == []


def test_nothing_measured_is_no_chart() -> None:
    assert plain() == []
    assert plain(Line((), "◆", "")) == []
    assert plain(Line(((0.0, 1.0),), "◆", "")) == [], "zero has no place on a logarithmic axis"


def test_equal_factors_are_equally_far_apart_and_higher_scores_higher() -> None:
    first, second, third = sorted(places(plain(RISING), "◆"))
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=1)
    assert first[1] > second[1] > third[1]


def test_lines_join_points_and_dotted_ones_have_gaps() -> None:
    def dots(stroke: str) -> int:
        rows = plain(Line(RISING.points, "◆", "", stroke))
        return sum("⠀" < one <= "⣿" for row in rows for one in row)

    assert dots("") == 0
    assert 0 < dots("dotted") < dots("solid")


def test_ticks_stand_below_their_points() -> None:
    rows = plain(RISING)
    marks = [x for x, one in enumerate(rows[-2]) if one == "┬"]
    assert marks == [x for x, _ in sorted(places(rows, "◆"))]
    assert rows[-1].split() == ["4", "8", "16"]


def test_points_at_one_place_stand_side_by_side() -> None:
    here = Line(((4.0, 0.9),), "◆", "")
    there = Line(((4.0, 0.9),), "▲", "")
    rows = plain(here, there, Line(((8.0, 1.0),), "○", ""))
    ((x, y),) = places(rows, "◆")
    assert places(rows, "▲") == [(x + 1, y)]


def test_a_level_is_drawn_with_its_words_unless_it_is_far_below() -> None:
    rows = plain(RISING, levels=[(0.95, "threshold 0.95"), (0.1, "threshold 0.1")])
    told = "\n".join(rows)
    assert "threshold 0.95" in told
    assert "threshold 0.1" not in told.replace("threshold 0.95", "")


def test_labels_are_round_and_stand_at_their_values() -> None:
    rows = plain(Line(((4.0, 0.90), (8.0, 1.0)), "◆", ""), height=18)
    labels = {row[:8].strip(): y for y, row in enumerate(rows) if row[:8].strip()}
    assert labels["1.00"] == min(y for _, y in places(rows, "◆"))
    assert labels["0.90"] == max(y for _, y in places(rows, "◆"))


def test_distance_tells_scores_near_one_apart() -> None:
    near = Line(((4.0, 0.99), (8.0, 0.999), (16.0, 0.5)), "◆", "")
    linear = dict(places(plain(near), "◆"))
    apart = dict(places(plain(near, is_distance=True), "◆"))
    first, second, *_ = sorted(linear)
    assert linear[first] == linear[second]
    assert apart[first] - apart[second] >= 3
    assert any(row.strip().startswith("0.99") for row in plain(near, is_distance=True))


def test_one_point_alone_is_drawn() -> None:
    assert len(places(plain(Line(((4.0, 1.0),), "◆", "")), "◆")) == 1


@pytest.mark.parametrize(
    ("value", "words"), [(4.0, "4"), (12.5, "12.5"), (0.0034, "0.0034"), (1.6666, "1.67")]
)
def test_ticks_are_written_plainly(value: float, words: str) -> None:
    assert tick_words(value) == words


@pytest.mark.parametrize("score", [1.0, 1.2, 0.999, 0.99, 0.9, 0.0, -9.0])
@pytest.mark.parametrize("is_distance", [False, True])
def test_points_of_one_height_have_a_chart_all_the_same(score: float, is_distance: bool) -> None:
    rows = plain(Line(((4.0, score), (8.0, score)), "◆", ""), is_distance=is_distance)
    assert len(rows) == 16
    assert len(places(rows, "◆")) == 2
