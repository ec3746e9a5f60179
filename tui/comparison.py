"""What Compare puts side by side: each run's frontiers, figures and pictures. No Textual.

Students come from the journal, so that a run at work can be compared too; what only the end of a
run measures comes from its metrics.json. All points of the chart were measured on the select noise;
the table's verdict is that of the final noise. A figure that was not measured is None.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.run import JournalReader, RunFolder
from engine.run.events import Evaluated, SamplesSaved, StageAccepted
from engine.run.fact import Fact
from engine.run.figures import is_figure
from tui.broken import BROKEN, why
from tui.fold import fold
from tui.gallery import SampleFile
from tui.state import RunView

METRICS = ("score", "lower bound", "fidelity", "distribution", "band energy")
AXES = ("steps", "evaluations", "speed-up", "seconds")
AXIS_WORDS = {
    "steps": "sampling steps",
    "evaluations": "network evaluations a sample",
    "speed-up": "times fewer evaluations than the original",
    "seconds": "seconds a sample, measured",
}
KINDS = {
    "uniform": "uniform grid, no training",
    "searched": "best grid found, no training",
    "rejected": "rejected try",
    "student": "distilled",
    "original": "original",
}
_PARTS = ("fidelity", "distribution", "band_energy")
_TIMED = re.compile(r"wall clock, ([0-9.]+) s against ([0-9.]+) s;.*batch ([0-9]+)")


class Point(Fact):
    """A sampler that was measured."""

    kind: str  # "student", "rejected", "uniform", "searched", "original"
    steps: int
    values: Mapping[str, float]  # by METRICS; what was not measured is missing
    label: str = ""
    seconds: float | None = None  # a sample, by the clock


class Compared(Fact):
    """A run as Compare shows it."""

    path: Path
    place: int  # among the marked
    state: str = ""
    problem: str = ""  # why nothing could be read
    threshold: float | None = None
    original_steps: int | None = None
    target_steps: int | None = None
    is_missed: bool = False  # done, and the target was not reached
    points: tuple[Point, ...] = ()
    steps: int | None = None  # of the student that was taken, and its figures on the final noise
    score: float | None = None
    lower_bound: float | None = None
    speedup: float | None = None  # by the clock
    evaluation_ratio: float | None = None
    seconds: float | None = None
    original_seconds: float | None = None
    gap_closed: float | None = None
    label_accuracy: float | None = None
    sample: SampleFile | None = None  # the newest sheet
    report: Path | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name


class Series(Fact):
    """A line of the chart: points (x, y) by rising x."""

    run: Compared
    kind: str  # of the points
    points: tuple[tuple[float, float], ...]


def read_compared(path: Path, place: int) -> Compared:
    """Return a run to compare; one that cannot be read says why, whatever is the matter with it."""
    try:
        return _read(RunFolder(path), place)
    except BROKEN as error:
        return Compared(path, place, problem=why(path / "journal.sqlite", error))


def _read(run: RunFolder, place: int) -> Compared:
    with JournalReader(run.journal_path) as reader:
        facts = reader.facts()
    view = fold(RunView(), facts)
    state = str(run.status().state)
    result = _result(run)
    students = _students([stored.event for stored in facts])
    untrained = _without_training(result, view)
    seconds, original_seconds = _seconds(result)
    metrics = _dict(result.get("metrics"))
    best = [point for point in students if point.kind == "student"]
    verdict = view.result
    keeps_original = verdict is not None and verdict.optimized_steps == view.original_steps
    return Compared(
        run.path,
        place,
        state=state,
        target_steps=view.target_steps,
        is_missed=view.is_missed,
        threshold=view.threshold,
        original_steps=view.original_steps,
        points=tuple(
            _timed(point, metrics.get("optimized_steps"), seconds, original_seconds)
            for point in (*students, *untrained)
        ),
        steps=verdict.optimized_steps if verdict else (best[-1].steps if best else None),
        # the original against itself is no student's score
        score=verdict.score if verdict and not keeps_original else None,
        lower_bound=verdict.lower_bound if verdict and not keeps_original else None,
        speedup=None if keeps_original else _number(metrics.get("inference_speedup")),
        evaluation_ratio=_number(metrics.get("evaluation_ratio")),
        seconds=seconds,
        original_seconds=original_seconds,
        gap_closed=_number(result.get("gap_closed")),
        label_accuracy=_number(_dict(result.get("label_accuracy")).get("student")),
        sample=_newest_sample(run, view),
        report=run.report_path if run.report_path.is_file() else None,
    )


def series_of(run: Compared, metric: str, axis: str) -> list[Series]:
    """Return a run's lines and single points for a chart."""
    out = []
    for kind in KINDS:
        points = []
        for point in run.points:
            x, y = x_of(run, point, axis), point.values.get(metric)
            if point.kind == kind and is_figure(x) and is_figure(y):
                points.append((x, y))
        if points:
            out.append(Series(run, kind, tuple(sorted(points))))
    return out


def x_of(run: Compared, point: Point, axis: str) -> float | None:
    """Return where a point stands across.

    The samplers that diffopt has evaluate the network once a step.
    """
    if axis == "seconds":
        return point.seconds
    if axis == "speed-up":
        return run.original_steps / point.steps if run.original_steps and point.steps else None
    return float(point.steps)


def csv_text(runs: Sequence[Compared]) -> str:
    """Return every point of every run as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["run", "kind", "sampler", "steps", "original_steps", "threshold", "noise",
         *(name.replace(" ", "_") for name in METRICS), "seconds_per_sample"]
    )  # fmt: skip
    for run in runs:
        for point in run.points:
            values = [point.values.get(name, "") for name in METRICS]
            writer.writerow(
                [run.name, point.kind, point.label, point.steps, run.original_steps or "",
                 "" if run.threshold is None else run.threshold, "select", *values,
                 "" if point.seconds is None else point.seconds]
            )  # fmt: skip
        if run.score is not None:
            writer.writerow(
                [run.name, "verdict", "", run.steps or "", run.original_steps or "",
                 "" if run.threshold is None else run.threshold, "final", run.score,
                 run.lower_bound, "", "", "", "" if run.seconds is None else run.seconds]
            )  # fmt: skip
    return out.getvalue()


def differences(runs: Sequence[Compared]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the settings that are not the same in all runs, with each run's value.

    What a file does not name is its default.
    """
    from tui.schema import defaults, settings_in

    found = [settings_in(run.path / "config.yaml") or {} for run in runs]
    keys = list(dict.fromkeys(key for one in found for key in one))
    usual = defaults()
    rows = [(key, tuple(str(one.get(key, usual.get(key, "—"))) for one in found)) for key in keys]
    return [row for row in rows if len(set(row[1])) > 1]


def _result(run: RunFolder) -> dict[str, Any]:
    try:
        content = json.loads(run.metrics_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _students(events: Sequence[object]) -> list[Point]:
    accepted = {(one.stage, one.attempt) for one in events if isinstance(one, StageAccepted)}
    points = []
    for event in events:
        if (
            isinstance(event, Evaluated)
            and event.stage is not None
            and event.noise_set == "select"
            and event.label == "student"
        ):
            is_in = (event.stage, event.attempt) in accepted
            values = _values(
                event.score, event.lower_bound, event.fidelity, event.distribution,
                event.band_energy,
            )  # fmt: skip
            label = f"stage {event.stage} try {event.attempt}"
            points.append(Point("student" if is_in else "rejected", event.steps, values, label))
    return points


def _without_training(result: Mapping[str, Any], view: RunView) -> list[Point]:
    """Return the original, its uniform grids, and the best grid found for each step count."""
    points: list[Point] = []
    if view.original_steps:
        ones: dict[str, float] = dict.fromkeys(METRICS, 1.0)
        points.append(Point("original", view.original_steps, ones, "original"))
    for one in _dicts(result.get("frontier")):
        steps, score = _number(one.get("steps")), _number(one.get("score"))
        if one.get("kind") == "undistilled" and steps and score is not None:
            points.append(Point("uniform", int(steps), {"score": score}, "ddim on a uniform grid"))
    best: dict[int, Point] = {}
    for one in _dicts(result.get("training_free")):
        try:
            parts = [one[name] and one[name]["value"] for name in _PARTS]
            values = _values(one["score"], one["lower_bound"], *parts)
            label = f"{one['solver']} on {one['grid']}"
            point = Point("searched", int(one["steps"]), values, label)
        except (KeyError, TypeError, ValueError):
            continue
        known = best.get(point.steps)
        if known is None or point.values["score"] > known.values["score"]:
            best[point.steps] = point
    return [*points, *best.values()]


def _values(
    score: float, bound: float, fidelity: float, distribution: float | None, band: float
) -> dict[str, float]:
    found = zip(METRICS, (score, bound, fidelity, distribution, band), strict=True)
    return {name: float(value) for name, value in found if value is not None}


def _seconds(result: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return seconds a sample of (the student, the original), as the run's end measured them."""
    measured = _dict(_dict(result.get("metrics")).get("measured"))
    match = _TIMED.search(str(measured.get("inference_speedup", "")))
    if match is None:
        return None, None
    batch = max(1, int(match[3]))
    return float(match[2]) / batch, float(match[1]) / batch


def _timed(
    point: Point, student_steps: object, seconds: float | None, original_seconds: float | None
) -> Point:
    """Return the point with its time, where that very sampler was timed."""
    if point.kind == "original":
        found = original_seconds
    elif point.kind == "student" and point.steps == student_steps:
        found = seconds
    else:
        return point
    return Point(point.kind, point.steps, point.values, point.label, found)


def _newest_sample(run: RunFolder, view: RunView) -> SampleFile | None:
    for when, event in reversed(view.samples):
        if isinstance(event, SamplesSaved) and (run.path / event.path).is_file():
            return SampleFile.of(when, event)
    return None


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # pyright: ignore[reportArgumentType]
