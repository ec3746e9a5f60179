"""Students that read prompts, in stock diffusers: pipelines, networks alone, adapters alone."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file

from engine.export import FORMATS, certify, export_student
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model
from engine.models.lora import adapters
from engine.models.lora_files import load_lora
from engine.settings import LoraSettings

pytestmark = pytest.mark.interop
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

FIXTURES = Path(__file__).parents[1] / "fixtures"
GRIDS = {"uniform": [0, 12, 25, 37], "uneven": [0, 9, 30, 49]}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Many threads on tiny arrays wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _eager() -> Any:
    mx.disable_compile()
    yield
    mx.enable_compile()


def student_of(original: LoadedModel, indices: list[int], *, lora: bool) -> DiffusionModel:
    """Return a student that is not its teacher."""
    grid = original.model.grid.subset(indices, "chosen")
    settings = LoraSettings(enabled=True, rank=3, alpha=6.0) if lora else None
    student = original.model.student(grid, lora=settings)
    rng = np.random.default_rng(0)
    for _, layer in adapters(student.network):
        shape = layer.lora_B.weight.shape
        layer.lora_B.weight = mx.array(0.1 * rng.standard_normal(shape, dtype=np.float32))
    if not lora:
        network: Any = student.network
        network.conv_out.bias = network.conv_out.bias + 0.01
    return student


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("final", ["one", "first"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sd15", "diffusers"),  # epsilon
        ("sd21v", "diffusers"),  # v
        ("sdxl", "diffusers"),
        ("sd15", "lora"),
        ("sd21v", "lora"),
        ("sdxl", "lora"),
        ("sd15", "unet"),
    ],
)
def test_stock_pipelines_sample_as_we_do(
    name: str, what: Any, final: Any, grid: str, tmp_path: Path
) -> None:
    """By the exact call of the model card: timesteps from the scheduler, guidance_scale 1."""
    assert what in FORMATS
    source = FIXTURES / name
    original = load_model(source, steps=50, spacing="trailing", solver="ddim", final_alpha=final)
    student = student_of(original, GRIDS[grid], lora=what != "unet")
    folder = export_student(student, original, tmp_path / "export", {"name": name}, what)
    proof = certify(folder, source)
    assert proof["is_same"]
    assert proof["relative_error"] <= 1e-4
    written = json.loads((folder / "diffopt_manifest.json").read_text())["certified"]
    assert written == proof


@pytest.mark.filterwarnings("ignore")
def test_an_export_that_was_tampered_with_is_not_certified_as_the_same(tmp_path: Path) -> None:
    source = FIXTURES / "sd15"
    original = load_model(source, steps=50, spacing="trailing", solver="ddim")
    student = student_of(original, GRIDS["uneven"], lora=True)
    folder = export_student(student, original, tmp_path / "export", {}, "unet")
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"solver_order": 2, "lower_order_final": False}))
    # our reader takes an order of 2 for the same grid; diffusers takes other steps
    assert not certify(folder, source)["is_same"]


@pytest.mark.filterwarnings("ignore")
def test_adapters_that_peft_wrote_are_read_as_peft_applies_them(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    network = diffusers.UNet2DConditionModel.from_pretrained(FIXTURES / "sd15", subfolder="unet")
    targets = ["to_q", "to_out.0", "proj_in", "ff.net.0.proj", "conv1", "time_emb_proj"]
    network.add_adapter(
        peft.LoraConfig(r=4, lora_alpha=10, target_modules=targets, init_lora_weights=False)
    )
    diffusers.StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=peft.get_peft_model_state_dict(network),
        unet_lora_adapter_metadata=network.peft_config["default"].to_dict(),
    )  # fmt: skip
    assert any(
        ".lora_B." in key for key in load_file(tmp_path / "pytorch_lora_weights.safetensors")
    )
    ours = load_lora(load_model(FIXTURES / "sd15").model.network, tmp_path)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((1, 4, 8, 8), dtype=np.float32)
    text = rng.standard_normal((1, 7, 24), dtype=np.float32)
    with torch.no_grad():
        there = network(torch.from_numpy(z), 500, torch.from_numpy(text)).sample.numpy()
    here = ours(
        mx.array(z.transpose(0, 2, 3, 1)),
        mx.array([500.0]),
        {"encoder_hidden_states": mx.array(text)},
    )
    error = np.abs(np.array(here).transpose(0, 3, 1, 2) - there).max()
    assert error <= 1e-5 * np.abs(there).max()
