"""Stock diffusers and our exports where levels are odd: one step, zero terminal SNR, no whole t."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.diffusion.noise import BETA_SCHEDULES, NoiseSchedule, betas
from engine.export import export_student
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model
from engine.training.conditions import Conditions
from engine.training.evaluate import sample_all

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

pytestmark = [
    pytest.mark.interop,
    # these libraries warn about themselves and each other; our own warnings stay errors elsewhere
    pytest.mark.filterwarnings("default"),
]

CLOSE = 1e-4  # max abs over max abs
UNEVEN = [0, 9, 13, 15]


def student_of(original: LoadedModel, indices: list[int]) -> DiffusionModel:
    """Return a student that is not its teacher, on points of its teacher's grid."""
    student = original.model.student(original.model.grid.subset(indices))
    network: Any = student.network
    network.conv_out.bias = network.conv_out.bias + 0.01
    return student


def edited(source: Path, folder: Path, **changes: Any) -> Path:
    """Copy a model and change keys of its scheduler."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("reference.*"))
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def difference(student: DiffusionModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return how far diffusers' samples are from ours, by whatever the card says to run."""
    shape, count = student.sample_shape, 3
    noise = np.random.default_rng(0).standard_normal((count, *shape), np.float32)
    start = torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())
    labels = None
    if student.class_count is not None:
        labels = (np.arange(count) % student.class_count).astype(np.int32)
    ours = sample_all(student, noise, Conditions.of_labels(labels, len(noise)), batch_size=count)

    card = (folder / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    seen: list[Any] = []
    if labels is None:
        snippet = snippet.replace('from_pretrained(".")', f"from_pretrained({str(folder)!r})")
        snippet = snippet.replace("batch_size=4", f"batch_size={count}")
        module = __import__(diffusers.DDIMPipeline.__module__, fromlist=["randn_tensor"])
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: start)
        # the picture is clipped and rounded: look at the scheduler's last state instead
        original_step = diffusers.DDIMScheduler.step

        def step(self: Any, *arguments: Any, **options: Any) -> Any:
            result = original_step(self, *arguments, **options)
            seen.append(result.prev_sample)
            return result

        monkeypatch.setattr(diffusers.DDIMScheduler, "step", step)
    else:
        snippet = snippet.replace('folder = "."', f"folder = {str(folder)!r}")
        snippet = re.sub(r"torch\.randn\([^)]*\)", "given_noise", snippet)
        snippet = snippet.replace("torch.arange(10)", f"torch.arange({count})")
    given: dict[str, Any] = {"given_noise": start}
    exec(snippet, given)  # the very text that a person would copy
    theirs = (seen[-1] if labels is None else given["sample"]).numpy().transpose(0, 2, 3, 1)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("final", ["one", "first"])
@pytest.mark.parametrize("indices", [[0], [0, 3], [0, 15], UNEVEN])
def test_any_number_of_steps_of_an_unconditional_student(
    indices: list[int],
    final: Any,
    ddpm_cifar: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = load_model(ddpm_cifar, steps=16, spacing="trailing", final_alpha=final)
    student = student_of(original, indices)
    folder = export_student(student, original, tmp_path / "export", {})
    assert difference(student, folder, monkeypatch) < CLOSE


@pytest.mark.parametrize("source", ["ddpm_cifar", "class_conditional"])
@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
def test_zero_terminal_snr(
    kind: str,
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    model = edited(
        request.getfixturevalue(source),
        tmp_path / "model",
        prediction_type=kind,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    original = load_model(model, steps=16)
    assert original.model.grid.alphas[0] == 0
    student = student_of(original, UNEVEN)
    folder = export_student(student, original, tmp_path / "export", {})
    assert difference(student, folder, monkeypatch) < CLOSE


@pytest.mark.parametrize(
    ("sampler", "spacing"),
    [
        ("euler", "linspace"),
        ("euler", "trailing"),
        ("dpmpp_2m", "karras"),
        ("dpmpp_2m", "log_snr"),
        ("dpmpp_2m", "leading"),
    ],
)
@pytest.mark.parametrize("source", ["ddpm_cifar", "class_conditional"])
def test_students_of_other_samplers(
    source: str,
    sampler: Any,
    spacing: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Euler's timesteps are no whole numbers, and Karras' levels are not those of its timesteps."""
    # in v: an untrained network's eps, divided by a small alpha, would drown all differences
    path = edited(
        request.getfixturevalue(source),
        tmp_path / "model",
        prediction_type="v_prediction",
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
    )
    original = load_model(path, steps=16, solver=sampler, spacing=spacing)
    student = student_of(original, UNEVEN)
    folder = export_student(student, original, tmp_path / "export", {})
    assert difference(student, folder, monkeypatch) < CLOSE


@pytest.mark.parametrize("kind", BETA_SCHEDULES)
def test_every_beta_schedule_is_that_of_diffusers(kind: str) -> None:
    ours = NoiseSchedule.from_betas(betas(kind, 1000, 1e-4, 0.02)).alphas_cumprod
    if kind == "exp":  # known to diffusers, but offered by none of its schedulers' configs
        module = diffusers.schedulers.scheduling_ddpm
        trained = module.betas_for_alpha_bar(1000, alpha_transform_type="exp")
        given: dict[str, Any] = {"trained_betas": trained.numpy()}
    else:
        given = {"beta_schedule": kind}
    theirs = diffusers.DDPMScheduler(**given).alphas_cumprod.numpy()
    np.testing.assert_allclose(ours, theirs, rtol=3e-5)


def test_zero_terminal_snr_is_rescaled_as_by_diffusers() -> None:
    theirs = diffusers.DDIMScheduler(rescale_betas_zero_snr=True).alphas_cumprod.numpy()
    ours = NoiseSchedule.from_betas(betas("linear", 1000, 1e-4, 0.02))
    np.testing.assert_allclose(
        ours.rescaled_to_zero_terminal_snr().alphas_cumprod, theirs, rtol=1e-3, atol=1e-7
    )
