"""What is exported is the student: the same weights, levels and samples when it is loaded again."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine.diffusion.grid import Grid
from engine.export import MANIFEST, export_student
from engine.export import student as export_module
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model

pytestmark = pytest.mark.usefixtures("eager")

FACTS = {"name": "small", "base_model": "somewhere", "original_steps": 16, "quality_score": 0.99}
UNEVEN = [0, 9, 13, 15]


def weights_of(model: DiffusionModel) -> dict[str, np.ndarray]:
    return {key: np.array(value) for key, value in tree_flatten(model.network.parameters())}


def student_of(original: LoadedModel, indices: list[int]) -> DiffusionModel:
    """Return a student that is not its teacher: exporting the wrong network must be seen."""
    student = original.model.student(original.model.grid.subset(indices, "chosen"))
    network: Any = student.network
    network.conv_out.bias = network.conv_out.bias + 0.01
    return student


def samples_of(model: DiffusionModel, noise: np.ndarray) -> np.ndarray:
    labels = np.arange(len(noise), dtype=np.int32) % (model.class_count or 1)
    condition = {"class_labels": mx.array(labels)} if model.class_count else {}
    return np.array(model.sample(mx.array(noise), condition))


@pytest.fixture
def noise_for(unit_normal: Callable[..., np.ndarray]) -> Callable[[DiffusionModel], np.ndarray]:
    return lambda model: unit_normal(3, *model.sample_shape)


@pytest.mark.parametrize("final", ["one", "first"])
def test_a_class_conditional_student_comes_back_with_the_same_bytes_and_samples(
    final: Any, class_conditional: Path, tmp_path: Path, noise_for: Callable
) -> None:
    original = load_model(class_conditional, steps=16, spacing="trailing", final_alpha=final)
    student = student_of(original, UNEVEN)
    folder = export_student(student, original, tmp_path / "export", FACTS)
    assert folder == tmp_path / "export"
    again = load_model(folder)
    assert again.is_distilled
    assert (again.model.solver, again.model.clip_range) == ("ddim", None)
    assert again.model.class_count == 5
    assert again.model.grid.timesteps == student.grid.timesteps
    assert again.model.grid.alphas == student.grid.alphas
    for key, value in weights_of(student).items():
        np.testing.assert_array_equal(weights_of(again.model)[key], value)
    noise = noise_for(student)
    np.testing.assert_array_equal(samples_of(again.model, noise), samples_of(student, noise))


@pytest.mark.parametrize("final", ["one", "first"])
@pytest.mark.parametrize("indices", [[0, 4, 8, 12], UNEVEN, [0, 1], [0, 8], [0]])
def test_an_unconditional_student_comes_back_with_the_same_samples(
    indices: list[int], final: Any, ddpm_cifar: Path, tmp_path: Path, noise_for: Callable
) -> None:
    original = load_model(ddpm_cifar, steps=16, spacing="trailing", final_alpha=final)
    student = student_of(original, indices)
    again = load_model(export_student(student, original, tmp_path / "export", FACTS))
    assert again.is_distilled  # whatever steps are asked for, it is sampled at its own
    assert again.model.steps == len(indices)
    kept = weights_of(again.model)
    rows, channels = kept.pop("time_proj.weight").shape
    assert (rows - (final == "first")) % len(indices) == 0
    assert channels == 16
    for key, value in weights_of(student).items():
        np.testing.assert_array_equal(kept[key], value)
    # written as float32 betas, which near 1 would keep few digits of a small alpha
    np.testing.assert_allclose(again.model.grid.alphas, student.grid.alphas, rtol=1e-5, atol=1e-9)
    noise = noise_for(student)
    wanted = samples_of(student, noise)
    found = samples_of(again.model, noise)
    assert np.abs(found - wanted).max() < 2e-5 * np.abs(wanted).max()


def test_an_export_of_an_export_is_the_same_student(
    class_conditional: Path, tmp_path: Path, noise_for: Callable
) -> None:
    """Load, export, load: nothing drifts."""
    original = load_model(class_conditional, steps=16, spacing="trailing")
    first = load_model(
        export_student(student_of(original, UNEVEN), original, tmp_path / "one", FACTS)
    )
    second = load_model(export_student(first.model.student(), first, tmp_path / "two", FACTS))
    weights = [
        (tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        for name in ("one", "two")
    ]
    assert weights[0] == weights[1]
    noise = noise_for(first.model)
    np.testing.assert_array_equal(samples_of(second.model, noise), samples_of(first.model, noise))


@pytest.mark.parametrize(
    ("sampler", "spacing"), [("euler", "linspace"), ("euler", "trailing"), ("dpmpp_2m", "karras")]
)
@pytest.mark.parametrize("source", ["class_conditional", "ddpm_cifar"])
def test_levels_between_the_trained_ones_survive(
    source: str,
    sampler: Any,
    spacing: Any,
    tmp_path: Path,
    noise_for: Callable,
    request: pytest.FixtureRequest,
) -> None:
    """Euler's timesteps are no whole numbers, and Karras' levels are not those of its timesteps."""
    original = load_model(
        request.getfixturevalue(source), steps=16, solver=sampler, spacing=spacing
    )
    student = student_of(original, UNEVEN)
    again = load_model(export_student(student, original, tmp_path / "export", FACTS))
    noise = noise_for(student)
    wanted = samples_of(student, noise)
    assert np.abs(samples_of(again.model, noise) - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_other_beta_schedules_are_written_out(
    class_conditional: Path, tmp_path: Path, noise_for: Callable
) -> None:
    import shutil

    copied = Path(shutil.copytree(class_conditional, tmp_path / "model"))
    path = copied / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_schedule": "sigmoid"}))
    original = load_model(copied, steps=16, spacing="trailing")
    student = student_of(original, UNEVEN)
    folder = export_student(student, original, tmp_path / "export", FACTS)
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert len(config["trained_betas"]) == 1000
    noise = noise_for(student)
    np.testing.assert_allclose(
        samples_of(load_model(folder).model, noise),
        samples_of(student, noise),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_manifest_tells_the_truth(class_conditional: Path, tmp_path: Path) -> None:
    original = load_model(class_conditional, steps=16, spacing="trailing")
    student = student_of(original, UNEVEN)
    folder = export_student(student, original, tmp_path / "export", FACTS)
    manifest = json.loads((folder / MANIFEST).read_text())
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    assert manifest["sha256"].keys() == files
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    weights = class_conditional / "unet" / "diffusion_pytorch_model.safetensors"
    assert manifest["base_weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert tuple(manifest["timesteps"]) == student.grid.timesteps
    assert (
        Grid(
            tuple(manifest["timesteps"]),
            tuple(manifest["alphas"]),
            tuple(manifest["sigmas"]),
            "chosen",
        )
        == student.grid
    )
    assert manifest["quality_score"] == 0.99
    assert manifest["prediction_type"] == "epsilon"
    assert manifest["solver"] == "ddim"
    assert set(manifest["software"]) == {"python", "mlx", "numpy", "safetensors"}


def test_the_card_says_how_to_sample_and_names_no_place(
    class_conditional: Path, ddpm_cifar: Path, tmp_path: Path
) -> None:
    for source, words in (
        (class_conditional, ["torch.arange(10) % 5", 'config["diffopt_timesteps"]']),
        (ddpm_cifar, ["DDIMPipeline", "num_inference_steps=4"]),
    ):
        original = load_model(source, steps=16, spacing="trailing")
        folder = export_student(student_of(original, UNEVEN), original, tmp_path / "export", FACTS)
        card = (folder / "README.md").read_text(encoding="utf-8")
        for word in [*words, "# small: 4 steps instead of 16", "| quality score | 0.99 |"]:
            assert word in card
        assert str(tmp_path) not in card + (folder / MANIFEST).read_text(encoding="utf-8")


@pytest.mark.parametrize("is_there_before", [False, True])
@pytest.mark.parametrize("broken", ["save_network", "model_card", "_manifest"])
def test_a_half_written_export_is_never_seen(
    broken: str,
    is_there_before: bool,
    class_conditional: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shift_output: Callable,
) -> None:
    original = load_model(class_conditional, steps=16, spacing="trailing")
    student = student_of(original, UNEVEN)
    folder, before = tmp_path / "export", {}
    if is_there_before:
        export_student(student, original, folder, FACTS)
        before = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(export_module, broken, fail)
    shift_output(student, 1.0)
    with pytest.raises(OSError, match="no space left"):
        export_student(student, original, folder, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == (["export"] if is_there_before else [])
    if is_there_before:
        assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_new_export_takes_the_place_of_an_old_one(
    class_conditional: Path, tmp_path: Path
) -> None:
    original = load_model(class_conditional, steps=16, spacing="trailing")
    for indices in ([0, 4, 8, 12], UNEVEN):
        folder = export_student(student_of(original, indices), original, tmp_path / "e", FACTS)
    (folder / "stray.txt").write_text("left by hand")
    export_student(student_of(original, [0, 5]), original, folder, FACTS)
    assert load_model(folder).model.steps == 2
    assert not (folder / "stray.txt").exists()
