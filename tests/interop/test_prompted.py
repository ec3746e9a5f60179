"""Prompted students in stock diffusers where it is odd: zero terminal SNR, and the card's words."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.export import certify, export_student
from engine.models.diffusion import DiffusionModel
from engine.models.guidance import Guidance
from engine.models.loading import LoadedModel, load_model
from engine.models.lora import adapters
from engine.models.pipeline import LatentPipeline
from engine.settings import LoraSettings

pytestmark = [
    pytest.mark.interop,
    # these libraries warn about themselves and each other; our own warnings stay errors elsewhere
    pytest.mark.filterwarnings("ignore"),
]
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

FIXTURES = Path(__file__).parents[1] / "fixtures"
UNEVEN = [0, 9, 30, 49]
PROMPT = "a photograph of a lighthouse at dusk"  # the card's


@pytest.fixture(autouse=True)
def _one_thread_and_eager() -> Any:
    torch.set_num_threads(1)
    mx.disable_compile()
    yield
    mx.enable_compile()


def student_of(original: LoadedModel, *, lora: bool) -> DiffusionModel:
    """Return a student that is not its teacher."""
    grid = original.model.grid.subset(UNEVEN, "chosen")
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


@pytest.fixture
def zero_snr(tmp_path: Path) -> Path:
    """The v-prediction fixture with zero terminal SNR, as Lin et al. 2024 train and sample."""
    ignore = shutil.ignore_patterns("reference.*")
    source = Path(shutil.copytree(FIXTURES / "sd21v", tmp_path / "model", ignore=ignore))
    path = source / "scheduler" / "scheduler_config.json"
    changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return source


@pytest.mark.parametrize("what", ["diffusers", "unet", "lora"])
def test_a_student_of_a_zero_snr_teacher_under_rescaled_guidance_is_certified(
    what: Any, zero_snr: Path, tmp_path: Path
) -> None:
    """The guidance and its rescaling are the teacher's: the student's call has none of them."""
    original = load_model(zero_snr, steps=50)
    assert original.model.grid.alphas[0] == 0
    guided = original.model.guided(Guidance(7.5, 0.7))
    original = LoadedModel(guided, original.checkpoint, original.settings)
    student = student_of(original, lora=what == "lora")
    assert student.guidance is None
    folder = export_student(student, original, tmp_path / "export", {"name": "zero"}, what)
    proof = certify(folder, zero_snr)
    assert proof["is_same"], proof
    assert proof["relative_error"] <= 1e-4
    again = load_model(zero_snr, adapters=folder) if what == "lora" else load_model(folder)
    np.testing.assert_allclose(again.model.grid.alphas, student.grid.alphas, atol=1e-6)


@pytest.mark.parametrize("name", ["sd15", "sd21v", "sdxl"])
@pytest.mark.parametrize("what", ["diffusers", "unet", "lora"])
def test_the_cards_own_snippet_makes_our_latents_of_its_prompt(
    name: str, what: Any, tmp_path: Path
) -> None:
    source = FIXTURES / name
    original = load_model(source, steps=50, spacing="trailing", solver="ddim")
    student = student_of(original, lora=what == "lora")
    facts = {"name": name, "base_model": str(source)}
    folder = export_student(student, original, tmp_path / "export", facts, what)
    noise = np.random.default_rng(0).standard_normal((1, 4, 8, 8), dtype=np.float32)

    card = (folder / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    snippet = snippet.replace('folder = "."', "folder = given_folder")
    # the same noise, and latents instead of a picture; all else is the very text
    more = 'guidance_scale=1.0, latents=given_noise, height=64, width=64, output_type="latent",'
    assert "guidance_scale=1.0," in snippet
    snippet = snippet.replace("guidance_scale=1.0,", more)
    given = {"given_folder": str(folder), "given_noise": torch.from_numpy(noise)}
    exec(snippet, given)
    theirs = np.asarray(given["image"])

    condition = LatentPipeline(original.checkpoint).condition(
        [PROMPT], size=(64, 64), is_guided=False
    )
    ours = student.sample(mx.array(noise.transpose(0, 2, 3, 1)), condition)
    ours = np.array(ours).transpose(0, 3, 1, 2)[0]
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
