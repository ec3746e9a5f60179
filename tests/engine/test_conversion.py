"""An epsilon model's students may learn v instead, by a gated stage before the first reduction."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import config_from_dict
from engine.hooks import Hooks
from engine.models.diffusion import DiffusionModel
from engine.optimizer import AdaptiveDiffusionOptimizer
from engine.run.events import Event, RunPlanned, StageRolledBack

pytestmark = pytest.mark.usefixtures("eager", "few_candidates")


@pytest.fixture
def converted(
    folder_of: Callable[..., Path], tmp_path: Path
) -> Callable[..., tuple[dict[str, Any], list[Event]]]:
    """Run a tiny epsilon model with students that predict v; return what came and was told."""

    def run(threshold: float) -> tuple[dict[str, Any], list[Event]]:
        settings = {
            "model_path": str(folder_of("epsilon")),
            "optimization_stages": 1,
            "target_steps": 3,
            "quality_threshold": threshold,
            "original": {"steps": 6},
            "schedule": {"pilot_iterations": 0, "costs": ["z_mse"], "gammas": [1.0]},
            "training": {
                "student_prediction": "v_prediction",
                "iterations": [2],
                "trajectories": 8,
                "batch_size": 8,
                "sample_every": 0,
                "retries": 0,
            },
            "quality": {"samples": 64, "select_samples": 64, "bootstrap": 100},
            "hardware": {"compile": False},
        }
        told: list[Event] = []
        (tmp_path / "run").mkdir()
        hooks = Hooks(emit=told.append, folder=tmp_path / "run")
        optimizer = AdaptiveDiffusionOptimizer(config_from_dict(settings, "test"), hooks=hooks)
        return optimizer.optimize_diffusion_model(), told

    return run


def test_the_first_stage_teaches_the_other_prediction_on_the_same_grid(
    converted: Callable[..., tuple[dict[str, Any], list[Event]]], tmp_path: Path
) -> None:
    result, told = converted(threshold=1e-9)
    assert [(s["stage_number"], s["input_steps"], s["output_steps"]) for s in result["stages"]] == [
        (0, 6, 6),
        (1, 6, 3),
    ]
    planned = [event for event in told if isinstance(event, RunPlanned)]
    assert [stage.stage for stage in planned[0].stages] == [0, 1]
    scheduler = tmp_path / "run" / "export" / "scheduler" / "scheduler_config.json"
    assert json.loads(scheduler.read_text())["prediction_type"] == "v_prediction"


def test_a_conversion_that_fails_is_left_out_and_the_reduction_tried_all_the_same(
    converted: Callable[..., tuple[dict[str, Any], list[Event]]],
) -> None:
    result, told = converted(threshold=1.0)
    assert [stage["stage_number"] for stage in result["stages"]] == [0, 1]
    assert [event.stage for event in told if isinstance(event, StageRolledBack)] == [0, 1]
    assert result["metrics"]["optimized_steps"] == 6
    assert result["export"] is None


def test_students_predict_otherwise_on_the_teachers_own_grid_alone(
    make_model: Callable[..., DiffusionModel],
) -> None:
    from engine.settings import TrainingSettings
    from engine.training.distill import ProgressiveDistillation, uniform_subset

    teacher = make_model(steps=4, class_count=None, prediction_type="epsilon")
    manager = ProgressiveDistillation(TrainingSettings(student_prediction="v_prediction"))
    assert manager.student_of(teacher, teacher.grid).prediction_type == "v_prediction"
    reduced = manager.student_of(teacher, uniform_subset(teacher, 2))
    assert reduced.prediction_type == "epsilon"
