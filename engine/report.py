"""report.md and its plots: what was lost and gained, said so that a person can act on it.

Reads facts, measures nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.files import replacing, write_text

_COLOURS = {
    "student": "#0072B2",
    "undistilled": "#D55E00",
    "searched": "#009E73",
    "threshold": "#555555",
}  # told apart by the colour-blind
_NAMED = 5  # images that are told by name


def write_report(
    folder: Path, result: Mapping[str, Any], losses: Mapping[str, Sequence[tuple[int, float]]]
) -> Path:
    """Write report.md, quality.png and loss.png into `folder`; return the report's path.

    `result` is what `optimize_diffusion_model` returns; `losses` are (step, loss) by the name of
    each try.
    """
    if losses:
        _plot_losses(folder / "loss.png", losses)
    _plot_quality(folder / "quality.png", result)
    path = folder / "report.md"
    write_text(path, report_text(result, has_losses=bool(losses)))
    return path


def report_text(result: Mapping[str, Any], *, has_losses: bool) -> str:
    """Return the report in Markdown."""
    metrics = result["metrics"]
    lines = [
        f"# {result['name']}: {metrics['original_steps']} steps to {metrics['optimized_steps']}",
        "",
        f"**{result['summary']}**",
        "",
        "| | value | how it was measured |",
        "|---|---|---|",
        _row(
            "original steps",
            metrics["original_steps"],
            metrics["measured"].get("original_steps", ""),
        ),
        _row(
            "optimised steps",
            metrics["optimized_steps"],
            metrics["measured"].get("optimized_steps", ""),
        ),
        _row(
            "quality score",
            f"{metrics['quality_score']:.4f}",
            metrics["measured"].get("quality_score", ""),
        ),
        _row(
            "its lower bound (95 %)",
            _number(metrics["quality_lower_bound"]),
            f"threshold {result['threshold']:g}",
        ),
        _row(
            "speed-up",
            f"{metrics['inference_speedup']:.2f}x",
            metrics["measured"].get("inference_speedup", ""),
        ),
        _row(
            "network evaluations",
            f"{metrics['evaluation_ratio']:.2f}x fewer",
            metrics["measured"].get("evaluation_ratio", "steps of the original per step now"),
        ),
        _row(
            "memory reduction",
            f"{100 * metrics['memory_reduction']:z.1f} %",
            metrics["measured"].get("memory_reduction", ""),
        ),
        "",
        f"Timesteps: {', '.join(f'{t:g}' for t in result['timesteps'])} (grid: {result['grid']}).",
        "",
        *_guidance_lines(result.get("guidance")),
        *_images_lines(result.get("images")),
        "## What the score means",
        "",
        (
            "`quality_score = min(P, D, B)` against the original sampler from the same noise: P "
            "paired fidelity, D distribution,"
        ),
        (
            "B band energy. 1 is identical. The anchors below say what "
            "other numbers mean on this model."
        ),
        "",
        "| sampler | steps | P | D | B | score | lower bound | noise |",
        "|---|---|---|---|---|---|---|---|",
        *(_anchor_row(anchor) for anchor in result["anchors"]),
        "",
        *_mode_lines(result.get("modes")),
        _gap_line(result["gap_closed"]),
    ]
    if result.get("label_accuracy"):
        accuracy = result["label_accuracy"]
        lines += [
            "",
            "A paired score says nothing about the teacher itself. Share of samples that a small "
            "classifier reads as the digit asked for: "
            + ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
            + ".",
        ]
    lines += [
        "",
        "![quality against steps](quality.png)",
        "",
        "## Stages",
        "",
        *_stage_table(result["stages"], result.get("cancelled", ())),
    ]
    if has_losses:
        lines += ["", "![loss of each try](loss.png)"]
    if result.get("samples"):
        lines += [
            "",
            "## Samples",
            "",
            "Rows: original, undistilled at the student's steps, student; same noise.",
            "",
        ]
        lines += [f"![samples]({result['samples']})"]
    if result.get("training_free"):
        lines += [
            "",
            "## Without any training",
            "",
            *_ranking_table(result["training_free"], result["metrics"]),
        ]
    lines += [
        "",
        "## Behind the figures",
        "",
        (
            f"The final noise was looked at {result['final_looks']} times, the select noise "
            f"{result['select_looks']} times. Noise hashes: final "
            f"`{result['noise_sha256']['final'][:16]}`, select "
            f"`{result['noise_sha256']['select'][:16]}`."
        ),
        f"Run time since the run began, or was last taken up: {result['seconds']:.0f} s "
        f"on {result['machine']}.",
    ]
    return "\n".join(lines) + "\n"


def _stage_table(
    stages: Sequence[Mapping[str, Any]], cancelled: Sequence[Mapping[str, Any]]
) -> list[str]:
    rows = [
        (
            "| stage | try | remedy | steps | grid | iterations | rate | select score | final "
            "score | lower bound | verdict |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for stage in stages:
        select, final = stage["select_quality"], stage["final_quality"]
        verdict = "accepted" if stage["is_accepted"] else "rejected" if select else "diverged"
        rows.append(
            f"| {stage['stage_number']} | {stage['attempt']} | {stage['remedy']} | "
            f"{stage['input_steps']} to {stage['output_steps']} | {stage['grid_name']} | "
            f"{stage['iterations']} | {stage['learning_rate']:g} | "
            f"{_number(select['score'] if select else None)} | "
            f"{_number(final['score'] if final else None)} | "
            f"{_number(final['lower_bound'] if final else None)} | "
            f"{verdict} |"
        )
    for one in cancelled:  # before it was judged, or even begun
        keys = ("attempt", "remedy", "grid_name", "iterations", "learning_rate")
        attempt, remedy, *how = (str(one.get(key, "-")) for key in keys)
        steps = f"{one['input_steps']} to {one['output_steps']}"
        cells = [str(one["stage_number"]), attempt, remedy, steps, *how]
        rows.append(f"| {' | '.join([*cells, *[_number(None)] * 3, one['reason']])} |")
    return rows


def _ranking_table(ranking: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            "The best ways found to sample the original model in "
            f"{ranking[0]['steps']} steps, on the select noise:"
        ),
        "",
        "| solver | grid | timesteps | score |",
        "|---|---|---|---|",
    ]
    for one in ranking[:8]:
        timesteps = ", ".join(f"{t:.4g}" for t in one["timesteps"])
        rows.append(f"| {one['solver']} | {one['grid']} | {timesteps} | {one['score']:.4f} |")
    return rows


def _anchor_row(anchor: Mapping[str, Any]) -> str:
    quality = anchor["quality"]
    distribution = quality["distribution"]
    return (
        f"| {anchor['label']} | {anchor['steps']} | {quality['fidelity']['value']:.4f} | "
        f"{_number(distribution['value'] if distribution else None)} | "
        f"{quality['band_energy']['value']:.4f} | {quality['score']:.4f} | "
        f"{quality['lower_bound']:.4f} | {anchor['noise_set']}, n = {quality['samples']}"
        f"{', latents' if quality.get('mode') == 'latents' else ''} |"
    )


def _guidance_lines(guidance: Mapping[str, Any] | None) -> list[str]:
    if not guidance:
        return []
    return [
        f"The original was guided by {guidance['scale']:g} ({guidance['convention']}); the student "
        "has learned it and is sampled without, one evaluation a step.",
        "",
    ]


def _images_lines(images: Mapping[str, Any] | None) -> list[str]:
    if not images:
        return []
    left_out = images["left_out"]
    told = f"Training states were made from {images['count'] - len(left_out)} images"
    if left_out:
        names = ", ".join(left_out[:_NAMED]) + (", ..." if left_out[_NAMED:] else "")
        told += f"; {len(left_out)} of {images['count']} cannot be decoded ({names})"
    return [f"{told}.", ""]


def _mode_lines(modes: Mapping[str, str] | None) -> list[str]:
    if not modes or modes["select"] == modes["final"]:
        return []
    return [
        f"The select noise is looked at in {modes['select']}, the final one in {modes['final']}: "
        "scores of different modes are not to be compared.",
        "",
    ]


def _gap_line(gap: float | None) -> str:
    if gap is None:
        return "The gap to the best sampler without training was not measured at this step count."
    if gap < 0:
        return "The best sampler without training does better than this student: take that instead."
    return f"Of the gap that the best sampler without training leaves, {gap:.0%} is closed."


def _row(name: str, value: object, how: str) -> str:
    return f"| {name} | {value} | {how} |"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _plot_quality(path: Path, result: Mapping[str, Any]) -> None:
    from matplotlib.figure import Figure  # slow to import, and needed at the end of a run only

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    curves = _curves(result)
    for key, label, marker in (
        ("student", "distilled", "o"),
        ("undistilled", "without training, uniform DDIM", "s"),
        ("searched", "without training, best that was found", "D"),
    ):
        if points := curves[key]:
            axes.plot(*zip(*points, strict=True), marker=marker, color=_COLOURS[key], label=label)
    axes.axhline(
        result["threshold"],
        color=_COLOURS["threshold"],
        linestyle="--",
        label=f"threshold {result['threshold']:g}",
    )
    axes.set_xlabel("sampling steps")
    axes.set_ylabel("quality score (select noise)")
    axes.set_xscale("log", base=2)
    ticks = sorted({steps for points in curves.values() for steps, _ in points})
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _curves(result: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Return (steps, score) by the kind of sampler, on the select noise."""
    curves: dict[str, dict[int, float]] = {"student": {}, "undistilled": {}, "searched": {}}
    for point in result["frontier"]:
        curves[point["kind"]][point["steps"]] = point["score"]
    best = curves["searched"]
    for one in result["training_free"]:
        best[one["steps"]] = max(one["score"], best.get(one["steps"], 0.0))
    return {kind: sorted(points.items()) for kind, points in curves.items()}


def _plot_losses(path: Path, losses: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, points in losses.items():
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
    axes.set_xlabel("optimiser step of the try")
    axes.set_ylabel("loss")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
