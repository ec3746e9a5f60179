"""Where each pane of Live stands, for every size of terminal. Pure geometry."""

from __future__ import annotations

from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

TABS = ("log", "samples", "hardware", "timesteps")
"""What shares one place in narrow layouts."""
WIDE, NARROW, SHORT = 140, 100, 28  # columns, columns, rows of the body

_GRID_ROWS = 5
_CHART_ROWS = 7


def regions(
    width: int, height: int, *, tab: str = "log", zoomed: str | None = None
) -> dict[str, Region]:
    """Return the region of each pane that is seen, by its id."""
    if zoomed is not None:
        return {zoomed: Region(0, 0, width, height)}
    if width >= WIDE and height >= SHORT:
        return _wide(width, height)
    if width >= NARROW and height >= SHORT:
        return _normal(width, height)
    return _narrow(width, height, tab)


def _wide(width: int, height: int) -> dict[str, Region]:
    """Three columns: what is done, how it goes, what comes of it."""
    side = max(44, min(54, width * 28 // 100))
    middle = width - 2 * side
    grid = _GRID_ROWS + 7
    hardware = 15
    charts = height * 55 // 100
    return {
        "stages": Region(0, 0, side, height - grid),
        "timesteps": Region(0, height - grid, side, grid),
        "charts": Region(side, 0, middle, charts),
        "log": Region(side, charts, middle, height - charts),
        "samples": Region(side + middle, 0, side, height - hardware),
        "hardware": Region(side + middle, height - hardware, side, hardware),
    }


def _normal(width: int, height: int) -> dict[str, Region]:
    """Two columns over log and hardware."""
    left = max(42, width * 38 // 100)
    bottom = max(11, height * 32 // 100)
    top = height - bottom
    hardware = 42
    return {
        "stages": Region(0, 0, left, top - _GRID_ROWS),
        "timesteps": Region(0, top - _GRID_ROWS, left, _GRID_ROWS),
        "charts": Region(left, 0, width - left, _CHART_ROWS),
        "samples": Region(left, _CHART_ROWS, width - left, top - _CHART_ROWS),
        "log": Region(0, top, width - hardware, bottom),
        "hardware": Region(width - hardware, top, hardware, bottom),
    }


def _narrow(width: int, height: int, tab: str) -> dict[str, Region]:
    """Stages and metrics over one place for all else."""
    bottom = max(8, height * 36 // 100)
    top = height - bottom
    left = 36 if width < NARROW else 42
    return {
        "stages": Region(0, 0, left, top),
        "charts": Region(left, 0, width - left, top),
        tab: Region(0, top, width, bottom),
    }


class LiveLayout(Layout):
    """Gives every pane its region; a pane without one is not seen."""

    name = "live"

    def __init__(self) -> None:
        """Begin with the log in the shared place."""
        self.tab = TABS[0]
        self.zoomed: str | None = None

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        """Return the placements of the panes, and of the search box over the log's edge."""
        places = regions(size.width, size.height, tab=self.tab, zoomed=self.zoomed)
        out: list[WidgetPlacement] = []
        for child in children:
            region = places.get(child.id or "")
            if child.id == "find" and "log" in places:
                log = places["log"]
                region = Region(log.x + 2, log.bottom - 1, max(10, log.width - 30), 1)
            if region is not None:
                order = 1 if child.id == "find" else 0
                out.append(WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, child, order))
        return out
