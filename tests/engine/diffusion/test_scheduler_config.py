"""Every key of a scheduler_config.json is obeyed, or refused by name."""

from typing import Any

import numpy as np
import pytest

from engine.diffusion.scheduler_config import GRID_KEY, SchedulerSettings, read_scheduler_config
from engine.errors import CheckpointError

SOURCE = "model/scheduler/scheduler_config.json"


def read(**config: Any) -> SchedulerSettings:
    return read_scheduler_config(config, SOURCE)


def test_an_empty_config_means_the_defaults_of_diffusers() -> None:
    settings = read()
    assert settings.prediction_type == "epsilon"
    assert settings.solver == "ddim"
    assert settings.spacing == "leading"
    assert settings.clip_range == 1.0
    assert settings.own_grid() is None
    assert settings.schedule.count == 1000
    assert settings.schedule.final_alpha_cumprod == 1.0
    assert settings.schedule.alphas_cumprod[0] == pytest.approx(1 - 1e-4)


@pytest.mark.parametrize(
    ("class_name", "solver", "spacing", "clip_range"),
    [
        ("DDPMScheduler", "ddim", "leading", 1.0),
        ("DDIMScheduler", "ddim", "leading", 1.0),
        ("PNDMScheduler", "ddim", "leading", None),
        ("EulerDiscreteScheduler", "euler", "linspace", None),
        ("DPMSolverMultistepScheduler", "dpmpp_2m", "linspace", None),
        ("UniPCMultistepScheduler", "dpmpp_2m", "linspace", None),
        ("LCMScheduler", "ddim", "leading", None),
    ],
)
def test_each_class_brings_its_solver_spacing_and_clipping(
    class_name: str, solver: str, spacing: str, clip_range: float | None
) -> None:
    settings = read(_class_name=class_name)
    assert (settings.solver, settings.spacing, settings.clip_range) == (solver, spacing, clip_range)


def test_null_means_the_default() -> None:
    assert (
        read(
            prediction_type=None, beta_end=None, clip_sample=None, timestep_spacing=None
        ).clip_range
        == 1.0
    )


def test_dpm_solver_of_order_one_is_ddim() -> None:
    assert read(_class_name="DPMSolverMultistepScheduler", solver_order=1).solver == "ddim"


def test_keys_are_obeyed() -> None:
    settings = read(
        _class_name="DDIMScheduler",
        num_train_timesteps=100,
        beta_start=0.001,
        beta_end=0.1,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=True,
        clip_sample_range=2.5,
        steps_offset=1,
        set_alpha_to_one=False,
    )
    assert settings.schedule.count == 100
    assert settings.schedule.alphas_cumprod[0] == pytest.approx(0.999)
    assert settings.schedule.final_alpha_cumprod == settings.schedule.alphas_cumprod[0]
    assert settings.prediction_type == "v_prediction"
    assert settings.clip_range == 2.5
    assert settings.grid(4).timesteps == (99, 74, 49, 24)
    assert settings.grid(4, "leading").timesteps == (76, 51, 26, 1)


def test_the_two_names_of_a_noisy_end_mean_the_same() -> None:
    by_alpha = read(_class_name="DDIMScheduler", set_alpha_to_one=False)
    by_sigma = read(_class_name="DPMSolverMultistepScheduler", final_sigmas_type="sigma_min")
    assert by_alpha.schedule.final_alpha_cumprod == by_sigma.schedule.final_alpha_cumprod < 1


def test_sdxl_ends_clean_though_its_config_carries_a_key_of_ddim() -> None:
    """The scheduler_config.json of stable-diffusion-xl-base-1.0, keys of other classes included."""
    settings = read(
        _class_name="EulerDiscreteScheduler",
        beta_end=0.012,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        clip_sample=False,
        interpolation_type="linear",
        num_train_timesteps=1000,
        prediction_type="epsilon",
        sample_max_value=1.0,
        set_alpha_to_one=False,
        skip_prk_steps=True,
        steps_offset=1,
        timestep_spacing="leading",
        trained_betas=None,
        use_karras_sigmas=False,
    )
    assert settings.solver == "euler"
    assert settings.schedule.final_alpha_cumprod == 1
    grid = settings.grid(4)
    assert grid.timesteps == (751, 501, 251, 1)
    assert (grid.start_scale, grid.sigmas[-1]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("class_name", "key", "value"),
    [
        ("DDPMScheduler", "set_alpha_to_one", False),
        ("EulerAncestralDiscreteScheduler", "set_alpha_to_one", False),
        ("DPMSolverMultistepScheduler", "set_alpha_to_one", False),
        ("DDIMScheduler", "final_sigmas_type", "sigma_min"),
        ("LCMScheduler", "final_sigmas_type", "sigma_min"),
    ],
)
def test_keys_of_other_classes_are_not_obeyed(class_name: str, key: str, value: Any) -> None:
    settings = read(**{"_class_name": class_name, key: value})
    assert settings.schedule.final_alpha_cumprod == 1


def test_only_classes_that_clip_can_be_told_to() -> None:
    assert read(_class_name="PNDMScheduler", clip_sample=True).clip_range is None
    assert read(_class_name="LCMScheduler", clip_sample=True).clip_range == 1.0


@pytest.mark.parametrize(
    ("class_name", "first_beta", "last_alpha"),
    [
        ("DDIMScheduler", 1e-4, 1.0),
        ("PNDMScheduler", 1e-4, 1 - 1e-4),
        ("LCMScheduler", 0.00085, 1.0),
        ("TCDScheduler", 0.00085, 1.0),
        ("HeunDiscreteScheduler", 0.00085, 1.0),
    ],
)
def test_each_class_has_its_own_defaults(
    class_name: str, first_beta: float, last_alpha: float
) -> None:
    schedule = read(_class_name=class_name).schedule
    assert schedule.alphas_cumprod[0] == pytest.approx(1 - first_beta)
    assert schedule.final_alpha_cumprod == pytest.approx(last_alpha)


def test_trained_betas_are_taken_as_they_are() -> None:
    settings = read(num_train_timesteps=3, trained_betas=[0.1, 0.2, 0.5])
    np.testing.assert_allclose(settings.schedule.alphas_cumprod, [0.9, 0.72, 0.36], rtol=1e-6)


def test_karras_sigmas_are_a_spacing() -> None:
    assert (
        read(_class_name="DPMSolverMultistepScheduler", use_karras_sigmas=True).spacing == "karras"
    )


def test_zero_terminal_snr_is_rescaled_for_v_prediction() -> None:
    settings = read(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert settings.schedule.alphas_cumprod[-1] == 0


def test_a_student_carries_its_own_timesteps() -> None:
    grid = read(**{GRID_KEY: [999, 500.5, 20]}).own_grid()
    assert grid is not None
    assert grid.timesteps == (999.0, 500.5, 20.0)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "_class_name"),
        ({"_class_name": 3}, "_class_name"),
        ({"_class_name": ["DDIMScheduler"]}, "_class_name"),
        ({"thresholding": True}, "thresholding"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"use_lu_lambdas": True}, "use_lu_lambdas"),
        ({"use_exponential_sigmas": True}, "use_exponential_sigmas"),
        ({"use_beta_sigmas": True}, "use_beta_sigmas"),
        ({"prediction_type": "flow_prediction"}, "prediction_type"),
        ({"num_train_timesteps": 0}, "num_train_timesteps"),
        ({"num_train_timesteps": 10.0}, "num_train_timesteps"),
        ({"num_train_timesteps": True}, "num_train_timesteps"),
        ({"beta_schedule": "cubic"}, "beta_schedule"),
        ({"beta_start": -1}, "beta_start"),
        ({"beta_start": "1e-4"}, "beta_start"),
        ({"beta_end": float("nan")}, "beta_end"),
        ({"beta_end": 3.0}, "beta_end"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ({"trained_betas": 0.1}, "trained_betas"),
        ({"trained_betas": [2.0], "num_train_timesteps": 1}, "trained_betas"),
        ({"trained_betas": [None], "num_train_timesteps": 1}, "trained_betas"),
        ({"trained_betas": ["a"], "num_train_timesteps": 1}, "trained_betas"),
        ({"trained_betas": [[0.1], [0.1, 0.2]], "num_train_timesteps": 2}, "trained_betas"),
        ({"set_alpha_to_one": "yes"}, "set_alpha_to_one"),
        ({"final_sigmas_type": "middle"}, "final_sigmas_type"),
        ({"rescale_betas_zero_snr": 1}, "rescale_betas_zero_snr"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"timestep_spacing": "random"}, "timestep_spacing"),
        ({"use_karras_sigmas": "no"}, "use_karras_sigmas"),
        ({"clip_sample": 1}, "clip_sample"),
        ({"clip_sample": True, "clip_sample_range": 0}, "clip_sample_range"),
        ({"steps_offset": -1}, "steps_offset"),
        ({"steps_offset": 1.5}, "steps_offset"),
        ({GRID_KEY: []}, GRID_KEY),
        ({GRID_KEY: 4}, GRID_KEY),
        ({GRID_KEY: [10, 10]}, GRID_KEY),
        ({GRID_KEY: [10, 20]}, GRID_KEY),
        ({GRID_KEY: [1000, 20]}, GRID_KEY),
        ({GRID_KEY: [20, -1]}, GRID_KEY),
        ({GRID_KEY: ["20"]}, GRID_KEY),
        ({GRID_KEY: [float("nan")]}, GRID_KEY),
        ({GRID_KEY: [[20], [10]]}, GRID_KEY),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_key(config: dict[str, Any], key: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_scheduler_config(config, SOURCE)
    message = str(caught.value)
    assert message.startswith(f"{SOURCE}: ")
    assert key in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("class_name", "key", "value"),
    [
        ("EulerDiscreteScheduler", "interpolation_type", "log_linear"),
        ("EulerDiscreteScheduler", "timestep_type", "continuous"),
    ],
)
def test_keys_that_would_change_the_samples_are_refused(
    class_name: str, key: str, value: Any
) -> None:
    with pytest.raises(CheckpointError, match=key):
        read(_class_name=class_name, **{key: value})
