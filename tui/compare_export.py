"""What E on Compare writes: every point as CSV, and the chart as PNG by matplotlib."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.files import replacing, write_text
from tui.comparison import AXIS_WORDS, KINDS, Compared, csv_text, series_of

FOLDER = "compare"
_MARKERS = {"student": "o", "uniform": "s", "searched": "*", "rejected": "x", "original": "D"}
_STROKES = {"student": "-", "uniform": ":"}
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def export(root: Path, runs: Sequence[Compared], metric: str, axis: str) -> Mapping[str, Path]:
    """Write both files below the runs folder and return their paths by ending.

    Raises OSError where they cannot be written; no half of one is left.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"compare-{time.strftime('%Y%m%d-%H%M%S')}"
    paths = {ending: folder / f"{stem}.{ending}" for ending in ("csv", "png")}
    write_text(paths["csv"], csv_text(runs))
    write_png(paths["png"], runs, metric, axis)
    return paths


def write_png(path: Path, runs: Sequence[Compared], metric: str, axis: str) -> None:
    """Write the chart of `metric` against `axis` as PNG."""
    from matplotlib.figure import Figure  # slow to import, and needed for this alone

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    ticks: set[float] = set()
    for run in runs:
        for series in series_of(run, metric, axis):
            ticks |= {x for x, _ in series.points}
            axes.plot(
                *zip(*series.points, strict=True),
                color=_PALETTE[run.place % len(_PALETTE)],
                marker=_MARKERS[series.kind],
                linestyle=_STROKES.get(series.kind, ""),
                fillstyle="full" if series.kind == "student" else "none",
                label=f"{run.name}, {KINDS[series.kind]}",
            )
    for threshold in sorted({run.threshold for run in runs if run.threshold is not None}):
        if metric in ("score", "lower bound"):
            axes.axhline(threshold, color="#555555", linestyle="--", linewidth=1)
            axes.annotate(
                f"threshold {threshold:g}",
                (1, threshold),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize="small",
                color="#555555",
            )
    axes.set_xlabel(AXIS_WORDS[axis])
    axes.set_ylabel(f"{metric} (select noise)")
    if ticks:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
        axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
