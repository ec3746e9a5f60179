"""What the Runs screen says of the selected run: settings, place, loss, last event, folder.

Reading is apart from writing it out: `read_details` opens the run's files, off the event loop, and
`detail_lines` is pure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from textual.content import Content

from engine.run import JournalReader, MetricPoint, RunFolder
from engine.run.fact import Fact
from tui import format as words
from tui.broken import BROKEN, why
from tui.fold import fold, with_progress
from tui.listing import RunRow
from tui.plot import bars, columns_of, limits_of
from tui.run_columns import score_of, state_of, steps_of
from tui.state import RunView
from tui.telling import clock_time, line_of

_LABEL = 8
_POINTS = 32
_MOST_CHANGES = 6


class Details(Fact):
    """What was read of a run."""

    view: RunView
    loss: tuple[MetricPoint, ...] = ()
    last_loss: float | None = None
    step: int | None = None
    images_per_second: float | None = None
    last: tuple[float, str] | None = None  # the newest event worth telling
    changes: tuple[tuple[str, str], ...] | None = None  # settings unlike the recipe's, or defaults
    notice: str = ""
    problem: str = ""  # why nothing could be read


def read_details(row: RunRow) -> Details:
    """Return what a run's files say, or why they cannot be read."""
    run = RunFolder(row.path)
    try:
        with JournalReader(run.journal_path) as reader, reader.snapshot():
            latest = reader.latest()
            facts = reader.facts()
            view = fold(RunView(), facts)
            view = with_progress(view, latest.get("phase"), view.last_time or 0.0)
            told = [line for stored in facts[-20:] if (line := line_of(stored)) is not None]
            values = reader.last_values()
            loss = tuple(reader.metrics("loss", points=_POINTS))
            notice = reader.notice or ""
    except BROKEN as error:
        return Details(view=RunView(), problem=why(run.journal_path, error))
    last = max((one for one in told if one.level != "DEBUG"), key=lambda one: one.id, default=None)
    return Details(
        view=view,
        loss=loss,
        last_loss=values["loss"][1] if "loss" in values else None,
        step=max((step for step, _ in values.values()), default=None),
        images_per_second=values["images_per_second"][1] if "images_per_second" in values else None,
        last=(last.time, last.text) if last else None,
        changes=changed_settings(run.config_path, row.label),
        notice=notice,
    )


def changed_settings(path: Path, label: str = "") -> tuple[tuple[str, str], ...] | None:
    """Return the settings of a file that are not those of the recipe called `label`.

    Where there is none of that name, those that are not the defaults; None where the file cannot be
    read.
    """
    from tui.schema import defaults, flat, settings_in
    from tui.yaml_spelling import is_same

    found = settings_in(path)
    if found is None:
        return None
    usual = defaults() | flat(_recipe(label))
    return tuple(
        (key, _plain(value))
        for key, value in found.items()
        if key not in usual or not is_same(usual[key], value)
    )


@lru_cache
def _recipe(label: str) -> dict[str, Any]:
    """Return what stands in the recipe of that name; nothing where there is none."""
    from engine.config import recipe_names, recipe_text
    from engine.yaml_text import parse_yaml

    return parse_yaml(recipe_text(label), label) if label in recipe_names() else {}


def detail_lines(
    row: RunRow, details: Details | None, now: float, width: int, height: int
) -> list[Content]:
    """Return the selected run in at most `height` lines, the most wanted first."""
    view = details.view if details is not None and not details.problem else row.view
    lines: list[tuple[int, Content]] = [(0, _first(row, view, width))]  # rank, line
    if row.reason and row.state != "running":
        for number, part in enumerate(_wrapped(row.reason, width, 2)):
            lines.append((1 + number, Content.styled(part, _reason_style(row))))
    if details is None or details.problem:
        note = "reading…" if row.is_readable else ""
        if details is not None and details.problem != row.reason:
            parts = _wrapped(details.problem, width, 3)
            lines += [(0, Content.styled(part, "$error")) for part in parts]
            note = ""
        return [line for _, line in [*lines, (0, Content.styled(note, "$text-muted"))]][:height]
    lines += [(rank, line) for rank, line in _read_lines(row, details, now, width)]
    lines.append((7, _pair("folder", short_path(row.path), width)))
    if details.notice:
        lines.insert(1, (0, Content.styled(words.clipped(details.notice, width), "$warning")))
    while len(lines) > height:
        lines.remove(max(lines, key=lambda one: one[0]))
    return [line for _, line in lines]


def sparkline(points: tuple[MetricPoint, ...]) -> str:
    """Return a metric as bars on a logarithmic scale, the whole run."""
    columns = columns_of(points, len(points))
    limits = limits_of([one for one in columns if one is not None], is_log=True)
    return bars(columns, 1, limits)[0] if points else ""


def short_path(path: Path) -> str:
    """Return a path as a person writes it: ~/diffopt/runs."""
    with contextlib.suppress(ValueError):
        return f"~/{path.absolute().relative_to(Path.home())}"
    return str(path)


def _read_lines(row: RunRow, details: Details, now: float, width: int) -> list[tuple[int, Content]]:
    lines: list[tuple[int, Content]] = []
    view = details.view
    step = "" if details.step is None else f"step {words.count(details.step)}"
    rate = words.rate(details.images_per_second, "img") if row.is_live else ""
    where = [part for part in (row.stage, step, rate) if part and part != words.NOTHING]
    if where:
        label = "stage" if row.stage else "trained"
        lines.append((4, _pair(label, "  ".join(where), width)))
    if trace := sparkline(details.loss):
        loss = Content.assemble(
            (f"{'loss':{_LABEL}}", "$text-muted"),
            (trace, "$series-1"),
            f"  {words.number(details.last_loss)}",
        )
        lines.append((2, loss))
    if details.last is not None:
        when, text = details.last
        lines.append((3, _pair("last", f"{clock_time(when)} {text}", width)))
    if details.changes is not None:
        lines.append((5, _pair("config", _changes(row, details.changes), width)))
    if coming := _next(view, row):
        lines.append((6, _pair("next", coming, width)))
    if view.device:
        lines.append((8, _pair("device", words.printable(view.device), width)))
    return lines


def _first(row: RunRow, view: RunView | None, width: int) -> Content:
    parts: list[Any] = [state_of(row)]
    if row.score is not None:
        parts += ["  ", score_of(row)]
        if row.lower_bound is not None:
            parts += [(f" ≥ {words.score(row.lower_bound)}", "$text-muted")]
        if row.threshold is not None:
            parts += [(f" of {row.threshold:g}", "$text-muted")]
    if row.original_steps is not None:
        parts += ["  ", steps_of(row), (" steps", "$text-muted")]
    if row.ended is not None and view is not None:
        parts += [(f"  {words.duration(view.worked_seconds)} at work", "$text-muted")]
    elif row.eta_seconds is not None:
        parts += [(f"  {words.left(row.eta_seconds)} left", "$text-muted")]
    line = Content.assemble(*parts)
    return line.truncate(width, ellipsis=True) if line.cell_length > width else line


def _changes(row: RunRow, changes: tuple[tuple[str, str], ...]) -> str:
    recipe = f"{words.printable(row.label)}, " if row.label else ""
    kind = "changed" if _recipe(row.label) else "unlike the defaults"
    if not changes:
        return f"{recipe}nothing {kind}"
    told = [f"{key.rpartition('.')[2]} {value}" for key, value in changes[:_MOST_CHANGES]]
    more = f" and {len(changes) - _MOST_CHANGES} more" if len(changes) > _MOST_CHANGES else ""
    return f"{recipe}{len(changes)} {kind}: {', '.join(told)}{more}"


def _next(view: RunView, row: RunRow) -> str:
    if row.state in ("done", "cancelled", "") or not view.stages:
        return ""
    waiting = [
        f"{stage.input_steps}→{stage.output_steps}"
        for stage in view.stages
        if stage.state == "waiting" and stage.output_steps is not None
    ]
    return " · ".join([*waiting, "evaluate", "export and report"])


def _pair(label: str, text: str, width: int) -> Content:
    text = words.clipped(words.printable(text), max(1, width - _LABEL))
    return Content.assemble((f"{label:{_LABEL}}", "$text-muted"), text)


def _reason_style(row: RunRow) -> str:
    return "$error" if row.state in ("failed", "lost", "damaged", "stuck") else "$text-muted"


def _wrapped(text: str, width: int, most: int) -> list[str]:
    import textwrap

    lines = textwrap.wrap(words.printable(text), max(20, width))
    if len(lines) > most:
        lines = [*lines[: most - 1], words.clipped(" ".join(lines[most - 1 :]), width)]
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{…}"
    return words.clipped(str(value), 24)
