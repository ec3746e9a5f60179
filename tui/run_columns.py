"""The columns of the runs table: what they show, how wide, and which give way first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.content import Content

from engine.run.fact import Fact
from tui import format as words
from tui.listing import RunRow

MARKS = "◆▲■●★▼"  # of marked runs, as Compare draws them
STATE_STYLES = {
    "running": "$primary",
    "done": "$success",
    "paused": "$warning",
    "stopping": "$warning",
    "stuck": "$warning",
    "failed": "$error",
    "lost": "$error",
    "missed": "$warning",
    "damaged": "$error",
}
QUIET = "$text-muted"
_LEAST_NAME, _MOST_NAME = 18, 44
_PERCENT = 6
_MOST_PROGRESS, _MOST_STAGE = 26, 28


class Column(Fact):
    """One column; the one of highest `rank` is left out first where there is no room."""

    key: str
    title: str
    width: int
    rank: int
    show: Callable[[RunRow, float, int], Content]  # a run, the time, the column's width
    order: Callable[[RunRow, float], Any] | None = None  # None: it cannot be sorted by
    is_right: bool = False
    is_falling: bool = True  # the way it is sorted first


def state_style(state: str) -> str:
    """Return the colour of a state."""
    return STATE_STYLES.get(state, QUIET)


def state_of(row: RunRow) -> Content:
    """Return a state's sign and word."""
    state = row.shown_state
    if not state:
        return Content.styled("· reading", QUIET)
    return Content.styled(f"{words.glyph(state)} {words.word(state)}", state_style(state))


def score_of(row: RunRow) -> Content:
    """Return the score with a sign that says whether its bound reaches the threshold."""
    return judged(row.score, row.lower_bound, row.threshold)


def judged(score: float | None, bound: float | None, threshold: float | None) -> Content:
    """Return a score, its sign and colour; the sign is left out where nothing was asked for."""
    if score is None:
        return Content.styled(words.NOTHING, QUIET)
    if bound is None or threshold is None:
        return Content(words.score(score) + " ")
    sign, style = ("✓", "$success") if bound >= threshold else ("✗", "$warning")
    return Content.styled(f"{words.score(score)}{sign}", style)


def steps_of(row: RunRow) -> Content:
    """Return "50→4": of the original, and of the best student that passed."""
    if row.original_steps is None:
        return Content.styled(words.NOTHING, QUIET)
    if row.steps is None:
        return Content.assemble(f"{row.original_steps}", ("→", QUIET), ("?", QUIET))
    return Content.assemble(f"{row.original_steps}", ("→", QUIET), f"{row.steps}")


def progress_of(row: RunRow, width: int) -> Content:
    """Return a bar and a percentage, together `width` cells wide."""
    room = width - _PERCENT
    if row.progress is None:
        return Content.styled("─" * room + f"{words.NOTHING:>{_PERCENT}}", "$text-disabled")
    bar = words.bar(row.progress, room)
    full = len(bar.rstrip(words.EMPTY))
    return Content.assemble(
        ("━" * full, state_style(row.shown_state)),
        ("─" * (room - full), "$text-disabled"),
        (f" {words.percent(row.progress)}", "" if row.is_live else QUIET),
    )


def _figure(text: str) -> Content:
    return Content.styled(text, QUIET) if text == words.NOTHING else Content(text)


def _age(row: RunRow, now: float, _: int) -> Content:
    return Content.styled(words.age(row.age(now)), QUIET)


def _eta(row: RunRow, now: float, _: int) -> Content:
    return _figure(words.left(row.eta_seconds))


def _bound(row: RunRow, now: float, _: int) -> Content:
    return Content.styled(words.score(row.lower_bound), QUIET)


def _or_last(value: float | None) -> tuple[bool, float]:
    return value is not None, value or 0.0


COLUMNS: tuple[Column, ...] = (
    Column("state", "STATE", 11, 1, lambda row, *_: state_of(row),
           lambda row, _: row.state, is_falling=False),
    Column("stage", "STAGE", 18, 4, lambda row, *_: Content(row.stage)),
    Column("progress", "PROGRESS", 14, 3, lambda row, _, width: progress_of(row, width),
           lambda row, _: _or_last(row.progress)),
    Column("score", "SCORE", 7, 2, lambda row, *_: score_of(row),
           lambda row, _: _or_last(row.score), is_right=True),
    Column("bound", "BOUND", 6, 7, _bound, lambda row, _: _or_last(row.lower_bound),
           is_right=True),
    Column("steps", "STEPS", 6, 6, lambda row, *_: steps_of(row),
           lambda row, _: row.steps if row.steps is not None else 1 << 30, is_right=True,
           is_falling=False),
    Column("age", "AGE", 6, 8, _age, lambda row, _: row.created, is_right=True),
    Column("eta", "ETA", 6, 5, _eta,
           lambda row, _: row.eta_seconds if row.eta_seconds is not None else 1e18,
           is_right=True, is_falling=False),
)  # fmt: skip
NAME = Column("name", "NAME", _LEAST_NAME, 0, lambda row, *_: Content(row.name),
              lambda row, _: row.name.lower(), is_falling=False)  # fmt: skip
SORTS: tuple[Column, ...] = (
    COLUMNS[6],
    NAME,
    *(column for column in COLUMNS if column.order is not None and column.key != "age"),
)


class Layout(Fact):
    """The columns that fit with their widths, and how wide the name is."""

    columns: tuple[tuple[Column, int], ...]
    name_width: int


def fit(width: int, names: Sequence[str]) -> Layout:
    """Return the columns for so many characters; what is left goes to progress and stage."""
    longest = max([_LEAST_NAME, *(len(name) for name in names)])
    columns = list(COLUMNS)
    while len(columns) > 1 and _room(width, columns) < min(longest, _LEAST_NAME + 4):
        columns.remove(max(columns, key=lambda column: column.rank))
    room = _room(width, columns)
    name = max(1, min(room, longest, _MOST_NAME))
    spare = max(0, room - name)
    widths = {column.key: column.width for column in columns}
    for key, most in (("progress", _MOST_PROGRESS), ("stage", _MOST_STAGE)):
        if key in widths:
            more = min(spare, most - widths[key])
            widths[key] += more
            spare -= more
    return Layout(tuple((column, widths[column.key]) for column in columns), name)


def _room(width: int, columns: Sequence[Column]) -> int:
    return width - 2 - sum(column.width + 1 for column in columns)


def head(layout: Layout, sort: str, is_falling: bool) -> Content:
    """Return the line of titles, with a sign at the column that sorts."""
    cells = [_titled(NAME, layout.name_width, sort, is_falling)]
    cells += [_titled(column, width, sort, is_falling) for column, width in layout.columns]
    return Content.styled("  " + " ".join(cells), f"bold {QUIET}")


def line(row: RunRow, layout: Layout, now: float, marked: Mapping[Path, int]) -> Content:
    """Return a run's line; `marked` holds the places of marked runs."""
    place = marked.get(row.path)
    sign = (" ", "") if place is None else (MARKS[place % len(MARKS)], series_style(place))
    name = words.clipped(row.name, layout.name_width)
    style = QUIET if row.is_archived or not row.state else "bold" if row.is_live else ""
    parts: list[Any] = [sign, " ", (name.ljust(layout.name_width), style)]
    for column, width in layout.columns:
        parts += [" ", padded(column.show(row, now, width), width, is_right=column.is_right)]
    return Content.assemble(*parts)


def series_style(place: int) -> str:
    """Return the colour of a marked run's sign and line."""
    return f"$series-{place % len(MARKS) + 1}"


def padded(content: Content, width: int, *, is_right: bool = False) -> Content:
    """Return a cell cut or filled to its width."""
    if content.cell_length > width:
        return content.truncate(width, ellipsis=True)
    blank = Content(" " * (width - content.cell_length))
    return Content.assemble(blank, content) if is_right else Content.assemble(content, blank)


def _titled(column: Column, width: int, sort: str, is_falling: bool) -> str:
    sign = ("▼" if is_falling else "▲") if column.key == sort else ""
    title = words.clipped(f"{column.title}{sign}", width)
    return title.rjust(width) if column.is_right else title.ljust(width)
