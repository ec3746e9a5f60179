"""From a folder to a model that samples as the folder asks, or as the caller overrides."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.errors import CheckpointError
from engine.models.loading import load_model

Copy = Callable[[str], Path]
Edit = Callable[..., None]


def test_a_folder_says_how_it_is_sampled(ddpm_cifar: Path) -> None:
    loaded = load_model(ddpm_cifar)
    model = loaded.model
    assert not loaded.is_distilled
    assert (model.steps, model.solver, model.clip_range, model.prediction_type) == (
        50,
        "ddim",
        1.0,
        "epsilon",
    )
    assert model.grid.timesteps[:2] == (980.0, 960.0)
    assert model.sample_shape == (16, 16, 3)
    assert model.class_count is None


def test_a_caller_may_override_it(ddpm_cifar: Path) -> None:
    model = load_model(
        ddpm_cifar,
        steps=7,
        spacing="trailing",
        solver="dpmpp_2m",
        final_alpha="first",
        clip_sample=False,
    ).model
    assert (model.steps, model.solver, model.clip_range) == (7, "dpmpp_2m", None)
    assert model.grid.timesteps[0] == 999
    assert model.grid.sigmas[-1] > 0
    assert load_model(ddpm_cifar, clip_sample=True).model.clip_range == 1.0


def test_classes_are_counted(class_conditional: Path) -> None:
    assert load_model(class_conditional, steps=3).model.class_count == 5


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_that_the_schedule_has_not_are_refused(steps: int, ddpm_cifar: Path) -> None:
    with pytest.raises(
        CheckpointError, match=f"{steps} steps were asked of a schedule of 1000 timesteps"
    ):
        load_model(ddpm_cifar, steps=steps)


def test_all_steps_of_a_schedule_may_be_asked_for(ddpm_cifar: Path) -> None:
    for solver in ("ddim", "dpmpp_2m", "euler"):
        assert load_model(ddpm_cifar, steps=1000, solver=solver).model.steps == 1000


def test_a_network_without_a_scheduler_gets_the_defaults_of_ddpm(copy_of: Copy) -> None:
    folder = copy_of("ddpm_cifar")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    assert load_model(folder / "unet", steps=4).model.grid.timesteps == (750, 500, 250, 0)


def test_a_bad_scheduler_is_named_with_its_file(copy_of: Copy, edit_json: Edit) -> None:
    folder = copy_of("ddpm_cifar")
    edit_json(folder / "scheduler" / "scheduler_config.json", beta_schedule="cubic")
    with pytest.raises(
        CheckpointError, match=r"scheduler_config\.json: beta_schedule is 'cubic'; wanted one of"
    ):
        load_model(folder)


def test_a_student_keeps_its_own_grid_order_and_no_clipping(copy_of: Copy, edit_json: Edit) -> None:
    folder = copy_of("ddpm_cifar")
    edit_json(
        folder / "scheduler" / "scheduler_config.json",
        _class_name="DPMSolverMultistepScheduler",
        solver_order=1,
        clip_sample=False,
        diffopt_timesteps=[999, 400, 30],
    )
    loaded = load_model(folder, steps=50, solver="euler", spacing="karras")
    assert loaded.is_distilled
    assert loaded.model.grid.timesteps == (999, 400, 30)
    assert (loaded.model.solver, loaded.model.clip_range) == ("ddim", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_size": None}, "sample_size is None; wanted the height and width"),
        ({"sample_size": [16, "a"]}, "sample_size"),
    ],
)
def test_a_network_without_a_size_cannot_be_sampled(
    changes: dict, message: str, copy_of: Copy, edit_json: Edit
) -> None:
    folder = copy_of("ddpm_cifar")
    edit_json(folder / "unet" / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


@pytest.mark.usefixtures("eager")
def test_a_size_may_be_a_height_and_a_width(
    copy_of: Copy, edit_json: Edit, unit_normal: Callable[..., np.ndarray]
) -> None:
    folder = copy_of("ddpm_cifar")
    edit_json(folder / "unet" / "config.json", sample_size=[16, 8])
    model = load_model(folder, steps=1).model
    assert model.sample_shape == (16, 8, 3)
    assert model.sample(mx.array(unit_normal(1, 16, 8, 3))).shape == (1, 16, 8, 3)
