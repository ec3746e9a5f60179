"""Students that read prompts: whole pipelines, networks alone, adapters alone, and back again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file, save_file

from engine.errors import CheckpointError, ConfigError
from engine.export import MANIFEST, check_exportable, export_student
from engine.export import student as export_module
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model
from engine.models.lora import adapters, fuse
from engine.models.lora_files import LORA_NAME
from engine.settings import LoraSettings

pytestmark = pytest.mark.usefixtures("eager")

FIXTURES = Path(__file__).parents[1] / "fixtures"
FACTS = {"name": "small", "base_model": "somewhere", "original_steps": 50}
UNEVEN = [0, 9, 30, 49]


def load(name: str, **changes: Any) -> LoadedModel:
    return load_model(FIXTURES / name, **({"steps": 50, "spacing": "trailing"} | changes))


def adapted_student(original: LoadedModel, seed: int = 0) -> DiffusionModel:
    """Return a student whose adapters do something."""
    lora = LoraSettings(enabled=True, rank=3, alpha=6.0)
    student = original.model.student(original.model.grid.subset(UNEVEN, "chosen"), lora=lora)
    rng = np.random.default_rng(seed)
    for _, layer in adapters(student.network):
        shape = layer.lora_B.weight.shape
        layer.lora_B.weight = mx.array(0.1 * rng.standard_normal(shape, dtype=np.float32))
    return student


def prediction(model: DiffusionModel, width: int = 24) -> np.ndarray:
    rng = np.random.default_rng(1)
    z = mx.array(rng.standard_normal((1, 8, 8, 4), dtype=np.float32))
    text = mx.array(rng.standard_normal((1, 7, width), dtype=np.float32))
    condition = {"encoder_hidden_states": text}
    return np.array(model(z, mx.array([500.0]), condition))


@pytest.mark.parametrize("name", ["sd15", "sd21v"])
def test_a_pipeline_comes_back_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    original = load(name)
    student = adapted_student(original)
    folder = export_student(student, original, tmp_path / "export", FACTS)
    again = load_model(folder)
    assert again.is_distilled
    assert again.model.grid.timesteps == student.grid.timesteps
    assert again.model.grid.alphas == student.grid.alphas
    assert again.model.prediction_type == student.prediction_type
    wanted = dict(tree_flatten(fuse(student.network).parameters()))
    found = dict(tree_flatten(again.model.network.parameters()))
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(np.array(found[key]), np.array(value))
    second = export_student(again.model.student(), again, tmp_path / "second", FACTS)
    weights = Path("unet") / "diffusion_pytorch_model.safetensors"
    assert (second / weights).read_bytes() == (folder / weights).read_bytes()


def test_what_stands_beside_the_network_is_that_of_the_original_byte_for_byte(
    tmp_path: Path,
) -> None:
    original = load("sd15")
    folder = export_student(adapted_student(original), original, tmp_path / "export", FACTS)
    source = FIXTURES / "sd15"
    index = json.loads((folder / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "DPMSolverMultistepScheduler"]
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["_class_name"] == "StableDiffusionPipeline"
    beside = ("text_encoder", "tokenizer", "vae")
    files = [path for name in beside for path in (source / name).rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert (folder / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_large_files_are_linked_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(2 << 20))
    export_module._linked_or_copied(str(big), str(tmp_path / "linked"))
    assert (tmp_path / "linked").stat().st_ino == big.stat().st_ino

    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(export_module.os, "link", refuse)
    export_module._linked_or_copied(str(big), str(tmp_path / "copied"))
    assert (tmp_path / "copied").stat().st_ino != big.stat().st_ino
    assert (tmp_path / "copied").read_bytes() == big.read_bytes()


@pytest.mark.parametrize(("final", "last"), [("one", "zero"), ("first", "sigma_min")])
def test_the_scheduler_is_the_one_that_takes_timesteps(
    final: Any, last: str, tmp_path: Path
) -> None:
    original = load("sd15", final_alpha=final)
    folder = export_student(adapted_student(original), original, tmp_path / "export", FACTS, "unet")
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert config["_class_name"] == "DPMSolverMultistepScheduler"
    assert config["solver_order"] == 1
    assert config["algorithm_type"] == "dpmsolver++"
    assert config["final_sigmas_type"] == last
    assert config["beta_schedule"] == "scaled_linear"
    assert config["diffopt_timesteps"] == [999, 819, 399, 19]
    assert not (folder / "model_index.json").exists()
    assert not (folder / "vae").exists()
    assert load_model(folder).model.grid.alphas == adapted_student(original).grid.alphas


def test_adapters_alone_are_read_back_onto_the_original(tmp_path: Path) -> None:
    original = load("sd15")
    student = adapted_student(original)
    folder = export_student(student, original, tmp_path / "export", FACTS, "lora")
    tensors = load_file(folder / LORA_NAME)
    assert all(key.startswith("unet.") for key in tensors)
    assert {key.rsplit(".", 2)[1] for key in tensors} == {"lora_A", "lora_B"}  # no .alpha: refused
    convolution = "unet.down_blocks.0.resnets.0.conv1"
    assert tensors[f"{convolution}.lora_A.weight"].shape == (3, 8, 3, 3)
    assert tensors[f"{convolution}.lora_B.weight"].shape == (8, 3, 1, 1)
    again = load_model(FIXTURES / "sd15", adapters=folder)
    assert again.is_distilled
    assert again.model.grid.alphas == student.grid.alphas
    wanted = prediction(student)
    error = np.abs(prediction(again.model) - wanted).max()
    assert error < 1e-6 * np.abs(wanted).max()
    assert np.abs(wanted - prediction(original.model)).max() > 1e-2
    assert not (folder / "unet").exists()


def test_alpha_in_the_header_of_a_file_of_others_counts(tmp_path: Path) -> None:
    original = load("sd15")
    folder = export_student(adapted_student(original), original, tmp_path / "e", FACTS, "lora")
    tensors = load_file(folder / LORA_NAME)
    other = tmp_path / "other.safetensors"
    header = json.dumps({"unet.lora_alpha": 1.5, "unet.r": 3})
    halved = {k: 2 * v if ".lora_B." in k else v for k, v in tensors.items()}
    save_file(halved, other, metadata={"format": "pt", "lora_adapter_metadata": header})
    one, two = (load_model(FIXTURES / "sd15", adapters=p).model for p in (folder, other))
    np.testing.assert_allclose(prediction(two), prediction(one), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {}, "lacks lora_A or lora_B"),
        (lambda t: {k: v for k, v in t.items() if "conv1.lora_A" not in k}, "lacks lora_A or"),
        (lambda t: {k.removeprefix("unet."): v for k, v in t.items()}, "the layout of peft"),
        (lambda t: {k: v[..., :1] for k, v in t.items()}, "made for another network"),
        (lambda t: {f"unet.no.{k[5:]}": v for k, v in t.items()}, "is no layer of this network"),
        (lambda t: {k: v * np.nan for k, v in t.items()}, "NaN or infinity"),
    ],
)
def test_a_file_of_adapters_that_does_not_fit_is_refused(
    change: Callable[[dict], dict], words: str, tmp_path: Path
) -> None:
    original = load("sd15")
    folder = export_student(adapted_student(original), original, tmp_path / "e", FACTS, "lora")
    tensors = change(load_file(folder / LORA_NAME)) or {"empty": np.zeros(1, np.float32)}
    if "empty" in tensors:
        words = "the layout of peft"
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / LORA_NAME)
    with pytest.raises(CheckpointError, match=words):
        load_model(FIXTURES / "sd15", adapters=folder)


def test_a_missing_or_torn_file_of_adapters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file of adapters"):
        load_model(FIXTURES / "sd15", adapters=tmp_path)
    (tmp_path / LORA_NAME).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_model(FIXTURES / "sd15", adapters=tmp_path)


def test_the_card_says_the_exact_call(tmp_path: Path) -> None:
    original = load("sd15")
    student = adapted_student(original)
    facts = FACTS | {"guidance": {"scale": 7.5, "rescale": 0.0}}
    for what, words in (
        (
            "diffusers",
            [
                "from_pretrained(folder, torch_dtype=torch.float32)",
                "guidance of 7.5 is part of the weights",
            ],
        ),
        ("unet", ["UNet2DConditionModel.from_pretrained", '"somewhere", **parts', "unet=unet"]),
        ("lora", ["load_lora_weights(folder)", '"somewhere", **parts', "scheduler=scheduler"]),
    ):
        folder = export_student(student, original, tmp_path / "export", facts, what)  # pyright: ignore[reportArgumentType]
        card = (folder / "README.md").read_text(encoding="utf-8")
        call = 'timesteps=pipeline.scheduler.config["diffopt_timesteps"]'
        for word in (*words, call, "guidance_scale=1.0"):
            assert word in card
        manifest = json.loads((folder / MANIFEST).read_text())
        assert manifest["what"] == what
        assert manifest["certified"] == "not certified"
        assert manifest["guidance"] == {"scale": 7.5, "rescale": 0.0}


def test_what_stock_diffusers_could_not_be_told_is_refused_before_a_run(
    class_conditional: Path,
) -> None:
    between = load("sd15", solver="euler", spacing="linspace")
    with pytest.raises(ConfigError, match="visits levels between the trained timesteps"):
        check_exportable(between.model, between, "diffusers", is_adapted=False)
    plain = load("sd15")
    check_exportable(plain.model, plain, "diffusers", is_adapted=False)
    with pytest.raises(ConfigError, match="this student has no adapters"):
        check_exportable(plain.model, plain, "lora", is_adapted=False)
    pixels = load_model(class_conditional)
    with pytest.raises(ConfigError, match="networks that read prompts alone"):
        check_exportable(pixels.model, pixels, "lora", is_adapted=True)


def test_a_network_alone_becomes_a_network_alone(tmp_path: Path) -> None:
    original = load_model(FIXTURES / "sd15" / "unet", steps=50, spacing="trailing")
    folder = export_student(adapted_student(original), original, tmp_path / "export", FACTS)
    assert "UNet2DConditionModel.from_pretrained" in (folder / "README.md").read_text()
    assert load_model(folder).is_distilled


def test_a_half_precision_variant_alone_gets_the_ordinary_name(tmp_path: Path) -> None:
    original = load("sdxl", solver="ddim")
    folder = export_student(adapted_student(original), original, tmp_path / "export", FACTS)
    source = FIXTURES / "sdxl" / "text_encoder_2"
    copied = folder / "text_encoder_2"
    assert not list(folder.rglob("*fp16*"))
    assert (copied / "model.safetensors").read_bytes() == (
        source / "model.fp16.safetensors"
    ).read_bytes()
    assert load_model(folder).is_distilled
    adapter = export_student(adapted_student(original), original, tmp_path / "a", FACTS, "lora")
    assert 'variant="fp16"' in (adapter / "README.md").read_text()
