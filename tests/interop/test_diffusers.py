"""Stock diffusers opens what we export and samples as we do. Run by `make interop`."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.export import export_student
from engine.models.loading import load_model
from engine.training.conditions import Conditions
from engine.training.evaluate import sample_all

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

pytestmark = [
    pytest.mark.interop,
    # these libraries warn about themselves and each other; our own warnings stay errors elsewhere
    pytest.mark.filterwarnings("default"),
]

GRIDS = {"uniform": [0, 4, 8, 12], "uneven": [0, 9, 13, 15]}
CLOSE = 1e-4


def exported(path: str | Path, indices: list[int], folder: Path, final: str = "one") -> Any:
    """Export a student on a subset of a 16-step grid; return it with its folder."""
    original = load_model(path, steps=16, spacing="trailing", solver="ddim", final_alpha=final)  # type: ignore[arg-type]
    student = original.model.student(original.model.grid.subset(indices))
    # not the teacher's weights, or a network that was never exported would pass
    conv_out: Any = student.network.conv_out
    conv_out.bias = conv_out.bias + 0.01
    export_student(student, original, folder / "export", {"name": "test"})
    return student, folder / "export"


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("source", ["bundled:digits", "adm_pipeline"])
def test_a_class_conditional_student_samples_alike_by_its_cards_own_snippet(
    source: str, grid: str, tmp_path: Path
) -> None:
    path = source if ":" in source else Path(__file__).parents[1] / "fixtures" / source
    student, folder = exported(path, GRIDS[grid], tmp_path)
    height, width, channels = student.sample_shape
    noise = np.random.default_rng(0).standard_normal((10, height, width, channels), np.float32)
    labels = (np.arange(10) % student.class_count).astype(np.int32)
    ours = sample_all(student, noise, Conditions.of_labels(labels, len(noise)), batch_size=10)

    card = (folder / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    snippet = snippet.replace('folder = "."', "folder = given_folder")
    snippet = re.sub(r"torch\.randn\([^)]*\)", "given_noise", snippet)
    snippet = snippet.replace("torch.arange(10)", "given_labels")
    given = {
        "given_folder": str(folder),
        "given_noise": torch.from_numpy(noise.transpose(0, 3, 1, 2).copy()),
        "given_labels": torch.from_numpy(labels.astype(np.int64)),
    }
    exec(snippet, given)
    theirs = given["sample"].numpy().transpose(0, 2, 3, 1)
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() < CLOSE


@pytest.mark.parametrize("final", ["one", "first"])
@pytest.mark.parametrize("grid", GRIDS)
def test_an_unconditional_student_samples_alike_in_stock_ddim_pipeline(
    grid: str, final: str, tmp_path: Path, ddpm_cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, folder = exported(ddpm_cifar, GRIDS[grid], tmp_path, final)
    height, width, channels = student.sample_shape
    noise = np.random.default_rng(1).standard_normal((2, height, width, channels), np.float32)
    ours = sample_all(student, noise, Conditions.none(2), batch_size=2)

    pipeline = diffusers.DDIMPipeline.from_pretrained(str(folder))
    module = __import__(type(pipeline).__module__, fromlist=["randn_tensor"])
    start = torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: start)
    images = pipeline(batch_size=2, num_inference_steps=4, output_type="np").images
    wanted = np.clip(ours / 2 + 0.5, 0, 1)
    assert np.abs(images - wanted).max() < CLOSE

    again = load_model(folder, steps=4).model
    np.testing.assert_allclose(
        np.array(again.sample(mx.array(noise))), ours, atol=CLOSE * np.abs(ours).max()
    )


def test_a_v_prediction_student_with_a_noisy_end_samples_alike(tmp_path: Path) -> None:
    student, folder = exported("bundled:digits", GRIDS["uneven"], tmp_path, "first")
    noise = np.random.default_rng(2).standard_normal((4, 8, 8, 1), np.float32)
    labels = np.arange(4, dtype=np.int32)
    ours = sample_all(student, noise, Conditions.of_labels(labels, len(noise)), batch_size=4)

    unet = diffusers.UNet2DModel.from_pretrained(str(folder), subfolder="unet")
    scheduler = diffusers.DPMSolverMultistepScheduler.from_pretrained(
        str(folder), subfolder="scheduler"
    )
    scheduler.set_timesteps(timesteps=scheduler.config["diffopt_timesteps"])
    z = torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        for t in scheduler.timesteps:
            prediction = unet(z, t, class_labels=torch.from_numpy(labels.astype(np.int64))).sample
            z = scheduler.step(prediction, t, z).prev_sample
    theirs = z.numpy().transpose(0, 2, 3, 1)
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() < CLOSE
    assert replace(student.grid, name="own").alphas[-1] < 1
