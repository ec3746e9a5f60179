"""Latent models sampled as diffusers samples them: solvers, guidance, zero terminal SNR, pipelines.

The references are diffusers' own schedulers around the same networks in float32; their keys are
explained in the fixtures' reference.json.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.diffusion.grid import Grid, grid_at
from engine.diffusion.names import Solver, Spacing
from engine.diffusion.noise import ddim_step
from engine.models.diffusion import DiffusionModel
from engine.models.guidance import Condition, Guidance
from engine.models.loading import LoadedModel, load_model
from engine.models.pipeline import LatentPipeline

TRAJECTORY_TOLERANCE = 5e-5  # of every state, max abs over max abs
PIPELINE_TOLERANCE = 1e-3
KEPT_OF_50 = [0, 1, 2, 10, 25, 40, 49, 50]
PROMPTS = ["a photo of a red cat", "", "The  DOG's on 3 cars, (naïve)!"]

pytestmark = pytest.mark.usefixtures("eager")


class Case:
    """A fixture's model, its reference, and the start and condition of its trajectories."""

    def __init__(self, loaded: LoadedModel, reference: dict[str, np.ndarray]) -> None:
        self.loaded, self.reference = loaded, reference
        self.noise = mx.array(reference["noise"].transpose(0, 2, 3, 1))
        text = mx.array(reference["unet.encoder_hidden_states"])
        self.condition: Condition = {"encoder_hidden_states": text[:1]}
        self.guided = self.condition | {"uncond_encoder_hidden_states": text[1:]}

    def states(
        self, grid: Grid, solver: Solver = "ddim", guidance: Guidance | None = None
    ) -> np.ndarray:
        """Return every state of a trajectory in NCHW, the first included."""
        model = guided(self.loaded.model, guidance)
        states = [np.array(self.noise) * grid.start_scale]
        model.sample(
            self.noise,
            self.guided if guidance else self.condition,
            grid=grid,
            solver=solver,
            on_step=lambda i, z, x0: states.append(np.array(z)),
        )
        return np.stack(states).transpose(0, 1, 4, 2, 3)

    def hold(self, states: np.ndarray, key: str) -> None:
        """Hold every state against the reference's."""
        for found, wanted in zip(states, self.reference[key], strict=True):
            assert np.abs(found - wanted).max() < TRAJECTORY_TOLERANCE * np.abs(wanted).max()


def guided(model: DiffusionModel, guidance: Guidance | None) -> DiffusionModel:
    return DiffusionModel(
        model.network,
        model.schedule,
        model.grid,
        prediction_type=model.prediction_type,
        sample_shape=model.sample_shape,
        solver=model.solver,
        clip_range=model.clip_range,
        guidance=guidance,
    )


@pytest.fixture(scope="module", params=["sd15", "sd21v"])
def case(request: pytest.FixtureRequest, fixtures: Path, reference_of: Callable) -> Case:
    """Both fixtures in turn: epsilon and v_prediction."""
    return Case(load_model(fixtures / request.param), reference_of(request.param))


def test_the_noise_schedule_is_that_of_diffusers(case: Case) -> None:
    table = case.loaded.model.schedule.alphas_cumprod
    np.testing.assert_allclose(table, case.reference["schedule.alphas_cumprod"], rtol=3e-5)


def test_a_folder_says_how_it_is_sampled(fixtures: Path) -> None:
    """Stable Diffusion 1.5 ships PNDM; its schedule is kept, and DDIM is the solver."""
    loaded = load_model(fixtures / "sd15")
    assert loaded.checkpoint.family == "unet2d_condition"
    assert loaded.model.sample_shape == (8, 8, 4)
    assert (loaded.model.solver, loaded.model.steps) == ("ddim", 50)
    assert loaded.model.grid.timesteps[::49] == (981, 1)
    assert loaded.model.clip_range is None
    assert loaded.model.schedule.final_alpha_cumprod == loaded.model.schedule.alphas_cumprod[0]


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [4, 50])
def test_ddim_is_that_of_diffusers(case: Case, spacing: Spacing, steps: int) -> None:
    states = case.states(case.loaded.settings.grid(steps, spacing))
    key = f"ddim.{spacing}.{steps}"
    listed = case.loaded.settings.grid(steps, spacing).timesteps
    assert list(listed) == case.reference[f"{key}.timesteps"].tolist()
    case.hold(states[KEPT_OF_50] if steps == 50 else states, f"{key}.x")


@pytest.mark.parametrize("steps", [4, 50])
def test_linspace_ddim_is_that_of_diffusers_when_stepped_to_where_it_steps(
    case: Case, steps: int
) -> None:
    """Its scheduler goes to t - T // n, past or short of the next timestep that it lists."""
    grid = case.loaded.settings.grid(steps, "linspace")
    assert list(grid.timesteps) == case.reference[f"ddim.linspace.{steps}.timesteps"].tolist()
    schedule = case.loaded.model.schedule
    denoise = case.loaded.model.denoise_at(grid, "ddim", case.condition)
    z, states = case.noise, [np.array(case.noise)]
    for i, t in enumerate(grid.timesteps):
        following = t - schedule.count // steps
        alpha = np.sqrt(schedule.final_alpha_cumprod)
        sigma = np.sqrt(1 - schedule.final_alpha_cumprod)
        if following >= 0:
            level = grid_at(schedule, [following])
            alpha, sigma = level.alphas[0], level.sigmas[0]
        x0, eps = denoise(z, i)
        z = ddim_step(x0, eps, float(alpha), float(sigma))
        states.append(np.array(z))
    found = np.stack(states).transpose(0, 1, 4, 2, 3)
    case.hold(found[KEPT_OF_50] if steps == 50 else found, f"ddim.linspace.{steps}.x")


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing", "karras"])
def test_dpm_solver_is_that_of_diffusers(case: Case, spacing: Spacing) -> None:
    """It ends at no noise, whatever set_alpha_to_one says to DDIM."""
    settings = replace(
        case.loaded.settings, schedule=case.loaded.settings.schedule.ending_at("one")
    )
    grid = settings.grid(8, spacing, "dpmpp_2m")
    key = f"dpmpp2m{'_karras' if spacing == 'karras' else '.' + spacing}.8"
    if spacing != "karras":  # there diffusers lists the nearest whole timesteps of its levels
        assert list(grid.timesteps) == case.reference[f"{key}.timesteps"].tolist()
    ratios = np.array(grid.sigmas) / np.array(grid.alphas)  # diffusers keeps sigma / alpha
    np.testing.assert_allclose(ratios, case.reference[f"{key}.sigmas"], rtol=2e-6)
    case.hold(case.states(grid, "dpmpp_2m"), f"{key}.x")


def test_euler_is_that_of_diffusers(case: Case) -> None:
    settings = replace(
        case.loaded.settings, schedule=case.loaded.settings.schedule.ending_at("one")
    )
    grid = settings.grid(8, "linspace", "euler")
    np.testing.assert_allclose(grid.timesteps, case.reference["euler.8.timesteps"], rtol=1e-6)
    ratios = np.array(grid.sigmas) / np.array(grid.alphas)
    np.testing.assert_allclose(ratios, case.reference["euler.8.sigmas"], rtol=2e-6)
    # diffusers keeps z / alpha
    states = case.states(grid, "euler") / np.array(grid.alphas).reshape(-1, 1, 1, 1, 1)
    case.hold(states, "euler.8.x")


@pytest.mark.parametrize(
    ("key", "timesteps", "final"),
    [
        ("student4.alpha1", [999, 759, 499, 259], "one"),
        ("student4.alpha0", [999, 759, 499, 259], "first"),
        ("student4b.alpha1", [981, 613, 402, 97], "one"),
    ],
)
def test_a_students_steps_are_those_of_a_loop_written_by_hand(
    case: Case, key: str, timesteps: list[int], final: str
) -> None:
    schedule = case.loaded.settings.schedule.ending_at(final)  # type: ignore[arg-type]
    case.hold(case.states(grid_at(schedule, timesteps)), f"{key}.x")


def test_guidance_is_that_of_diffusers(case: Case) -> None:
    states = case.states(case.loaded.settings.grid(4), guidance=Guidance(7.5))
    case.hold(states, "cfg7.5.ddim.4.x")


def test_guidance_of_1_is_the_conditional_prediction(case: Case) -> None:
    grid = case.loaded.settings.grid(4)
    plain, led = case.states(grid), case.states(grid, guidance=Guidance(1.0))
    assert np.abs(plain - led).max() < 1e-5 * np.abs(plain).max()


def test_zero_terminal_snr_with_rescaled_guidance_is_that_of_diffusers(
    copy_of: Callable, edit_json: Callable, reference_of: Callable
) -> None:
    folder = copy_of("sd21v")
    edit_json(
        folder / "scheduler" / "scheduler_config.json",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    case = Case(load_model(folder, steps=8), reference_of("sd21v"))
    table = case.loaded.model.schedule.alphas_cumprod
    assert np.abs(table - case.reference["zsnr.alphas_cumprod"]).max() < 1e-6
    grid = case.loaded.model.grid
    assert list(grid.timesteps) == case.reference["zsnr.ddim.trailing.8.timesteps"].tolist()
    assert grid.alphas[0] == 0
    states = case.states(grid, guidance=Guidance(7.5, rescale=0.7))
    case.hold(states, "zsnr.cfg7.5_rescale0.7.ddim.trailing.8.x")


@pytest.mark.parametrize(
    ("name", "key", "negative", "scale"),
    [
        ("sd15", "pipeline", PROMPTS[2], 7.5),
        ("sd21v", "pipeline", PROMPTS[2], 7.5),
        ("sdxl", "pipeline", None, 5.0),
        ("sdxl", "pipeline.negative", "3 cars", 5.0),
    ],
)
def test_a_whole_pipeline_makes_diffusers_picture_of_a_prompt(
    name: str,
    key: str,
    negative: str | None,
    scale: float,
    fixtures: Path,
    reference_of: Callable,
    to_nhwc: Callable,
) -> None:
    reference = reference_of(name)
    loaded = load_model(fixtures / name, steps=4)
    pipeline = LatentPipeline(loaded.checkpoint)
    condition = pipeline.condition(PROMPTS[:1], negative, size=(64, 64))
    noise = to_nhwc(reference["pipeline.noise" if name == "sdxl" else "noise"])
    latents = guided(loaded.model, Guidance(scale)).sample(noise, condition)
    for found, wanted in (
        (latents, reference[f"{key}.latents"].transpose(0, 2, 3, 1)),
        (pipeline.pictures(latents), reference[f"{key}.image"]),
    ):
        assert np.abs(np.array(found) - wanted).max() < PIPELINE_TOLERANCE * np.abs(wanted).max()


def test_prompts_of_the_fixtures_are_those_of_their_references(fixtures: Path) -> None:
    for name in ("sd15", "sd21v"):
        meta = json.loads((fixtures / name / "reference.json").read_text())["meta"]
        assert meta["text_encoder.prompts"] == PROMPTS
