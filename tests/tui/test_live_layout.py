"""Where the panes of Live stand: nothing overlaps, nothing is left bare, nothing is too small."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.screens.live_layout import TABS, regions

ALL = {"stages", "charts", "timesteps", "samples", "log", "hardware"}


@given(st.integers(80, 300), st.integers(20, 100), st.sampled_from(TABS))
def test_panes_cover_the_body_without_overlap(width: int, height: int, tab: str) -> None:
    places = list(regions(width, height, tab=tab).values())
    assert sum(place.area for place in places) == width * height
    for index, place in enumerate(places):
        assert place.x >= 0
        assert place.right <= width
        assert place.y >= 0
        assert place.bottom <= height
        assert not any(place.overlaps(other) for other in places[index + 1 :])
        assert place.width >= 30
        assert place.height >= 5


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((160, 46), ALL),
        ((140, 28), ALL),
        ((139, 34), ALL),
        ((120, 34), ALL),
        ((99, 34), {"stages", "charts", "log"}),
        ((120, 22), {"stages", "charts", "log"}),
        ((80, 22), {"stages", "charts", "log"}),
    ],
)
def test_what_is_seen_at_each_size(size: tuple[int, int], seen: set[str]) -> None:
    assert set(regions(*size)) == seen


def test_a_zoomed_pane_has_all_of_it() -> None:
    assert {name: tuple(place) for name, place in regions(120, 34, zoomed="log").items()} == {
        "log": (0, 0, 120, 34)
    }
