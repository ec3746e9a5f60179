"""Whole tiny runs behind the gate: nothing unproven is kept, every try is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import config_from_dict
from engine.hooks import Hooks
from engine.interruptions import CancelStage
from engine.models.checkpoint import network_tensors
from engine.models.loading import load_model
from engine.optimizer import AdaptiveDiffusionOptimizer
from engine.run.events import Event, StageStarted

pytestmark = pytest.mark.usefixtures("eager", "few_candidates")


@pytest.fixture
def optimizer_of(folder_of: Callable[..., Path]) -> Callable[..., AdaptiveDiffusionOptimizer]:
    """Build an optimizer with everything tiny."""

    def build(
        stage_steps: list[int], threshold: float, hooks: Hooks | None = None, **training: Any
    ) -> AdaptiveDiffusionOptimizer:
        config = config_from_dict(
            {
                "model_path": str(folder_of("v_prediction", timestep_spacing="trailing")),
                "optimization_stages": len(stage_steps),
                "target_steps": stage_steps[-1],
                "quality_threshold": threshold,
                "original": {"steps": 8},
                "schedule": {"pilot_iterations": 2, "costs": ["z_mse"], "gammas": [1.0]},
                "training": {
                    "stage_steps": stage_steps,
                    "iterations": [2],
                    "trajectories": 16,
                    "batch_size": 8,
                    "learning_rate": 1e-5,
                    "sample_every": 1,
                }
                | training,
                "quality": {"samples": 64, "select_samples": 64, "bootstrap": 100},
                "hardware": {"compile": False},
                "export": {"samples": 2, "timing_batch_size": 1},
            },
            "test",
        )
        return AdaptiveDiffusionOptimizer(config, hooks=hooks, name="tiny")

    return build


@pytest.fixture
def run(
    optimizer_of: Callable[..., AdaptiveDiffusionOptimizer], tmp_path: Path
) -> Callable[..., Any]:
    """Run into tmp_path/run; return the optimizer, its result and what it told."""

    def run(**settings: Any) -> Any:
        told: list[Event] = []
        (tmp_path / "run").mkdir()
        hooks = Hooks(emit=told.append, folder=tmp_path / "run")
        optimizer = optimizer_of(**settings, hooks=hooks)
        return optimizer, optimizer.optimize_diffusion_model(), told

    return run


@pytest.mark.usefixtures("no_charts")
def test_what_cannot_pass_is_tried_up_the_ladder_and_then_left(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """A lower bound of 1 is for the teacher alone: the original stays."""
    optimizer, result, told = run(stage_steps=[2], threshold=1.0)
    first = [r for r in optimizer.stage_reports if r.stage_number == 1]
    assert [(r.attempt, r.remedy) for r in first] == [
        (1, "as planned"),
        (2, "more iterations"),
        (3, "lower learning rate"),
        (4, "another grid"),
    ]
    assert [r.iterations for r in first] == [2, 4, 4, 4]
    assert first[2].learning_rate < first[0].learning_rate
    assert first[3].timesteps != first[0].timesteps
    # then the reduction is cut in two, twice, and no more
    reached = [(r.input_steps, r.output_steps) for r in optimizer.stage_reports if r.attempt == 1]
    assert reached == [(8, 2), (8, 4), (8, 6)]
    assert not any(r.is_accepted for r in optimizer.stage_reports)

    assert result["exit_code"] == 3
    assert not result["is_target_reached"]
    assert result["metrics"]["optimized_steps"] == result["metrics"]["original_steps"] == 8
    assert result["metrics"]["quality_score"] == 1
    assert "keep the original 8 steps" in result["summary"]
    assert result["export"] is None
    assert not (tmp_path / "run" / "export").exists()
    assert (tmp_path / "run" / "report.md").is_file()
    kinds = [type(event).__name__ for event in told]
    assert kinds.count("TryStarted") == kinds.count("StageRejected") == len(result["stages"])
    assert kinds.count("StageRolledBack") == 1
    assert "StageAccepted" not in kinds
    assert len(result["stages"]) == len(optimizer.stage_reports)
    for stage in result["stages"]:
        assert f"| {stage['remedy']} |" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.usefixtures("no_charts")
def test_the_run_ends_with_the_fewest_steps_that_passed(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    optimizer, result, told = run(stage_steps=[7, 1], threshold=0.9, retries=1)
    accepted = [r for r in optimizer.stage_reports if r.is_accepted]
    assert [r.output_steps for r in accepted] == [7]
    assert result["exit_code"] == 3
    assert result["metrics"]["optimized_steps"] == 7
    assert result["metrics"]["quality_lower_bound"] >= 0.9
    assert "1 steps missed the threshold of 0.9. The fewest that pass are 7" in result["summary"]
    rolled_back = [event for event in told if type(event).__name__ == "StageRolledBack"]
    assert [event.to_steps for event in rolled_back] == [7]
    assert load_model(tmp_path / "run" / "export").model.steps == 7


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (2, "The way to 1 steps was cancelled by ada. The fewest that pass are 7, at"),
        (1, "was cancelled by ada before a reduction passed the gate: keep the original 8 steps."),
    ],
)
@pytest.mark.usefixtures("no_charts")
def test_a_stage_that_was_cancelled_is_told_as_that(
    optimizer_of: Callable[..., AdaptiveDiffusionOptimizer], stage: int, words: str
) -> None:
    """Nothing was measured at its steps, so nothing is said of a threshold."""
    begun: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, StageStarted):
            begun.append(event.stage)

    def cancel(save: object) -> None:
        if save is not None and begun[-1] == stage:
            raise CancelStage("cancelled by ada")

    hooks = Hooks(emit=watch, between_steps=cancel)
    optimizer = optimizer_of(stage_steps=[7, 1], threshold=0.9, hooks=hooks)
    assert words in optimizer.optimize_diffusion_model()["summary"]


def test_every_optimiser_step_of_the_run_is_told(
    optimizer_of: Callable[..., AdaptiveDiffusionOptimizer],
) -> None:
    """So that a pause names the step it holds at, and not the last one that was reported."""
    told: list[int] = []
    optimizer_of(
        stage_steps=[7, 6], threshold=0.01, hooks=Hooks(at_step=told.append), report_every=2
    ).optimize_diffusion_model()
    assert told == [1, 2, 3, 4]


def test_a_run_that_passes_leaves_everything_behind(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    optimizer, result, told = run(stage_steps=[7, 6], threshold=0.5)
    assert result["exit_code"] == 0
    assert result["is_target_reached"]
    assert [r.output_steps for r in optimizer.stage_reports] == [7, 6]
    assert optimizer.stage_reports[1].input_steps == 7
    folder = tmp_path / "run"
    for name in ("report.md", "metrics.json", "quality.png", "loss.png", result["samples"]):
        assert (folder / name).is_file(), name
    assert json.loads((folder / "metrics.json").read_text())["metrics"] == result["metrics"]
    assert load_model(folder / "export").is_distilled
    manifest = json.loads((folder / "export" / "diffopt_manifest.json").read_text())
    assert manifest["quality_score"] == result["metrics"]["quality_score"]
    sheets = [event.path for event in told if type(event).__name__ == "SamplesSaved"]
    assert len(sheets) > 2
    assert all((folder / sheet).is_file() for sheet in sheets)


@pytest.mark.usefixtures("no_charts")
def test_every_figure_says_what_it_means_and_how_it_was_measured(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    _, result, _ = run(stage_steps=[4], threshold=0.01)
    anchors = {anchor["label"]: anchor["quality"] for anchor in result["anchors"]}
    assert anchors["original, run again"]["score"] == 1
    assert anchors["original, run again"]["lower_bound"] == 1
    assert anchors["original, another seed"]["fidelity"]["value"] < 0.1
    assert anchors["original, blurred"]["score"] < 0.95
    assert anchors["distilled student"]["score"] == result["metrics"]["quality_score"]
    assert {"undistilled, uniform DDIM", "undistilled, the student's grid"} <= anchors.keys()
    assert {"original at twice the steps", "best without training"} <= anchors.keys()

    metrics = result["metrics"]
    assert metrics["evaluation_ratio"] == 2
    for name in (
        "original_steps",
        "optimized_steps",
        "quality_score",
        "inference_speedup",
        "memory_reduction",
    ):
        assert metrics["measured"][name]
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    for how in metrics["measured"].values():
        assert how in report
    assert result["noise_sha256"]["final"][:16] in report
    assert result["final_looks"] >= 1


def test_the_same_seed_gives_the_same_bytes(
    optimizer_of: Callable[..., AdaptiveDiffusionOptimizer],
) -> None:
    def weights(seed: int) -> bytes:
        student: Any = optimizer_of([4], 0.01, seed=seed).progressive_distillation()
        tensors = network_tensors(student.network)
        return b"".join(tensors[key].tobytes() for key in sorted(tensors))

    first = weights(0)
    assert weights(0) == first
    assert weights(1) != first
