"""The mission's own tests: distillation, sampling schedules, MLX, on the bundled model."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine import (
    AdaptiveDiffusionOptimizer,
    AdaptiveScheduler,
    DiffusionOptimizationConfig,
    DistillationStage,
    OptimizationMetrics,
    ProgressiveDistillation,
)
from engine.config import config_from_dict
from engine.hooks import Hooks
from engine.models.diffusion import DiffusionModel
from engine.models.loading import load_model
from engine.settings import HardwareSettings, QualitySettings, TrainingSettings
from engine.training.conditions import classes
from engine.training.distill import uniform_subset
from engine.training.evaluate import Evaluator
from engine.training.noise_sets import NoiseSet
from engine.training.trainer import parameters_of


def small_config(**changes: object) -> DiffusionOptimizationConfig:
    """Return settings for the bundled model, everything small: 12 steps to 3 by way of 6."""
    return config_from_dict(
        {
            "model_path": "bundled:digits",
            "optimization_stages": 2,
            "target_steps": 3,
            "quality_threshold": 0.6,
            "original": {"steps": 12},
            "schedule": {"pilot_iterations": 0, "costs": ["z_mse"], "gammas": [1.0]},
            "training": {
                "iterations": [50, 100],
                "trajectories": 96,
                "learning_rate": 1e-3,
                "batch_size": 16,
                "sample_every": 0,
            },
            "quality": {"samples": 128, "select_samples": 64, "bootstrap": 100},
            **changes,
        },
        "test",
    )


class TestDiffusionOptimization:
    """What the design card asks to be shown."""

    def test_progressive_distillation(self, tmp_path: Path) -> None:
        """Three distilled steps beat three undistilled ones, stage by stage, behind a gate."""
        optimizer = AdaptiveDiffusionOptimizer(small_config(), hooks=Hooks(folder=tmp_path))
        assert isinstance(optimizer.base_model, DiffusionModel)
        assert isinstance(optimizer.distillation_manager, ProgressiveDistillation)
        result = optimizer.optimize_diffusion_model()

        accepted = [report for report in optimizer.stage_reports if report.is_accepted]
        assert [report.output_steps for report in accepted] == [6, 3]
        metrics = OptimizationMetrics(**result["metrics"])
        assert (metrics.original_steps, metrics.optimized_steps) == (12, 3)
        assert result["exit_code"] == 0
        assert metrics.evaluation_ratio == 4
        assert metrics.inference_speedup > 1
        assert set(metrics.measured) >= {"quality_score", "inference_speedup", "memory_reduction"}

        scores = {anchor["label"]: anchor["quality"]["score"] for anchor in result["anchors"]}
        assert scores["original, run again"] == 1.0
        assert scores["distilled student"] > scores["undistilled, the student's grid"]
        assert scores["distilled student"] > scores["undistilled, uniform DDIM"]
        assert scores["original, another seed"] < 0.1
        assert scores["original, blurred"] < 0.9

        # what is left behind samples as the student did
        exported = load_model(tmp_path / "export").model
        assert exported.grid.timesteps == tuple(result["timesteps"])
        assert (tmp_path / "report.md").is_file()
        assert (tmp_path / "metrics.json").is_file()

    def test_stages_and_a_library_call_without_a_run(self) -> None:
        """The card's signatures suffice: create stages, distil one, get a module back."""
        teacher = load_model("bundled:digits", steps=8).model
        distillation = ProgressiveDistillation(
            TrainingSettings(iterations=[5], trajectories=16, batch_size=8, learning_rate=1e-3)
        )
        stages = distillation.create_distillation_stages(teacher, 2)
        assert stages == distillation.distillation_stages
        assert all(isinstance(stage, DistillationStage) for stage in stages)
        steps = [(stage.input_steps, stage.output_steps) for stage in stages]
        assert steps == [(8, 5), (5, 3), (3, 2)]
        before = parameters_of(stages[0].student_model)
        student = distillation.distill_stage(teacher, stages[0].student_model, stages[0])
        assert student is stages[1].teacher_model
        changed = [
            not np.array_equal(np.array(a), np.array(b))
            for (_, a), (_, b) in zip(
                sorted(_flat(before).items()),
                sorted(_flat(parameters_of(student)).items()),
                strict=True,
            )
        ]
        assert any(changed)

    def test_sampling_optimization(self) -> None:
        """The best way found to take four steps beats uniform DDIM by measured quality."""
        model = load_model("bundled:digits", steps=12).model
        scheduler = AdaptiveScheduler(
            model, quality=QualitySettings(select_samples=64, bootstrap=100)
        )
        ranked = scheduler.rank(scheduler.propose(4))
        scores = [one.quality.score for one in ranked]
        assert scores == sorted(scores, reverse=True)
        uniform = next(
            one
            for one in ranked
            if one.candidate.solver == "ddim" and one.candidate.grid.name == "trailing"
        )
        assert ranked[0].quality.score > uniform.quality.score + 0.02
        assert all(one.candidate.grid.steps == 4 for one in ranked)
        names = " ".join(one.candidate.grid.name for one in ranked)
        for proposed in (
            "dp ",
            "karras",
            "log_snr",
            "zero terminal SNR",
            "ends at first",
            ", from",
        ):
            assert proposed in names

    def test_mlx_optimization(self) -> None:
        """Compiling changes nothing, a narrower teacher little, and the switch turns it all off."""
        config = small_config(hardware={"teacher_dtype": "bfloat16", "teacher_bits": 8})
        assert AdaptiveDiffusionOptimizer(config).context.hardware.teacher_bits == 8
        plain = small_config(
            apple_silicon_optimization=False, hardware=config.to_dict()["hardware"]
        )
        settings = AdaptiveDiffusionOptimizer(plain).context.hardware
        assert (settings.compile, settings.teacher_bits, settings.teacher_dtype) == (
            False,
            None,
            "float32",
        )

        teacher = load_model("bundled:digits", steps=8).model
        noise_set = NoiseSet.select(64, teacher.sample_shape, classes(teacher.class_count))
        evaluator = Evaluator.against(
            teacher, noise_set, components=None, batch_size=64, resamples=100
        )
        for narrow in (teacher.frozen_as(mx.bfloat16), teacher.frozen_as(mx.float32, bits=8)):
            assert evaluator.quality_of(narrow).score > 0.97

        weights = {}
        for is_compiled in (True, False):
            (mx.enable_compile if is_compiled else mx.disable_compile)()
            distillation = ProgressiveDistillation(
                TrainingSettings(iterations=[4], trajectories=16, batch_size=8),
                HardwareSettings(compile=is_compiled),
            )
            student = teacher.student(uniform_subset(teacher, 4))
            distillation.distill_stage(teacher, student, {})
            weights[is_compiled] = _flat(student.network.parameters())
        mx.enable_compile()
        for key, compiled in weights[True].items():
            np.testing.assert_allclose(
                np.array(compiled), np.array(weights[False][key]), atol=2e-5, err_msg=key
            )


def _flat(tree: dict) -> dict[str, mx.array]:
    from mlx.utils import tree_flatten

    return dict(tree_flatten(tree))


@pytest.fixture(autouse=True)
def _runs_compiled_again():
    """Leave MLX as it was found, whatever a test switched off."""
    yield
    from engine import hardware

    if hardware.can_compile():
        mx.enable_compile()
