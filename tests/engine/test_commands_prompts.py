"""`diffopt sample` of models that read prompts: words or files in, latents or pictures out."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from engine.cli import main

pytestmark = pytest.mark.usefixtures("eager")

FIXTURES = Path(__file__).parents[1] / "fixtures"
SD15 = FIXTURES / "sd15"
PROMPT = ("--prompt", "a red fox")


@pytest.fixture(scope="module")
def known() -> dict[str, np.ndarray]:
    return load_file(SD15 / "reference.safetensors")


@pytest.fixture
def sampled(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., np.ndarray]:
    """Run `diffopt sample` and return the latents, NCHW."""

    def run(*words: object, model: Path = SD15) -> np.ndarray:
        out = tmp_path / "out.safetensors"
        code = main([str(word) for word in ("sample", model, *words, "--out", out)])
        assert code == 0, capsys.readouterr().err
        return load_file(out)["samples"]

    return run


def written(path: Path, **tensors: np.ndarray) -> Path:
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)
    return path


def test_conditions_from_a_file_reproduce_diffusers_guidance(
    known: dict[str, np.ndarray],
    sampled: Callable[..., np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
    tmp_path: Path,
) -> None:
    text = known["unet.encoder_hidden_states"]
    given = written(
        tmp_path / "given.safetensors",
        encoder_hidden_states=text[:1],
        uncond_encoder_hidden_states=text[1:],
    )
    noise = written(tmp_path / "noise.safetensors", noise=known["noise"])
    words = ("--conditioning", given, "--noise", noise, "--steps", 4)
    wanted = known["cfg7.5.ddim.4.x"][-1]
    assert relative_to_largest(sampled(*words, "--guidance", 7.5), wanted) < 5e-5
    np.testing.assert_array_equal(sampled(*words), sampled(*words, "--guidance", 7.5))
    plain = known["ddim.leading.4.x"][-1]
    words = (*words, "--guidance", 1, "--spacing", "leading", "--solver", "ddim")
    assert relative_to_largest(sampled(*words, "--final-alpha", "one"), plain) < 0.5


def test_prompts_are_rows_and_the_negative_one_leads_away(sampled: Callable) -> None:
    two = ("--prompt", "a red fox", "--prompt", "a blue bird", "--steps", 2)
    both = sampled(*two, "--seed", 3)
    assert both.shape == (2, 4, 8, 8)
    four = sampled(*two, "--seed", 3, "--count", 4)
    np.testing.assert_allclose(four[:2], both, atol=1e-4)
    other = sampled(*two, "--seed", 3, "--negative-prompt", "blurry")
    assert np.abs(other - both).max() > 1e-3
    unled = sampled(*two, "--seed", 3, "--guidance", 1)
    assert np.abs(unled - both).max() > 1e-3


def test_height_and_width_are_those_of_the_picture(
    sampled: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sampled(*PROMPT, "--steps", 1, "--height", 96, "--width", 64).shape == (1, 4, 12, 8)
    out = tmp_path / "out.png"
    words = ("sample", SD15, *PROMPT, "--steps", 1, "--height", 96, "--width", 64, "--out", out)
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    with Image.open(out) as picture:
        assert picture.size == (64, 96)
        assert len(np.unique(np.asarray(picture))) > 10


def test_json_says_what_was_sampled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.safetensors"
    assert main(["sample", str(SD15), *PROMPT, "--steps", "1", "--out", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["out"] == str(out)
    assert (facts["samples"], facts["steps"]) == (1, 1)
    assert len(facts["timesteps"]) == 1


@pytest.mark.parametrize("suffix", ["png", "safetensors"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out.{suffix}"
    words = ["sample", "bundled:digits", "--class-labels", "1", "--steps", "1", "--out", str(out)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        code = main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert f"{out} could not be written" in line
    assert list(tmp_path.iterdir()) == []


def test_sdxl_is_told_sizes(sampled: Callable) -> None:
    words = (*PROMPT, "--steps", 1, "--seed", 1, "--guidance", 1)
    assert sampled(*words, model=FIXTURES / "sdxl").shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "this model reads prompts; name --prompt"),
        ((*PROMPT, "--conditioning", "x"), "say the same twice"),
        (("--conditioning", "nowhere"), "no such file"),
        (("--conditioning", "nowhere", "--negative-prompt", "x"), "goes with --prompt"),
        ((*PROMPT, "--guidance", 0.5), "wanted a scale from 1"),
        ((*PROMPT, "--guidance-rescale", 2), "wanted 0 to 1"),
        ((*PROMPT, "--height", 100), "wanted a multiple of 8"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    assert main([str(word) for word in ("sample", SD15, *words, "--out", out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": np.zeros((1, 2), np.float32)}, "holds more; wanted encoder_hidden_states"),
        ({"encoder_hidden_states": None}, "encoder_hidden_states is missing"),
        ({"encoder_hidden_states": np.full((1, 7, 24), np.nan, np.float32)}, "holds NaN"),
        ({"uncond_encoder_hidden_states": np.zeros((3, 7, 24), np.float32)}, "rows differ"),
        ({"encoder_hidden_states": np.zeros((2, 7, 23), np.float32)}, "encoder_hidden_states have"),
        ({"encoder_hidden_states": np.zeros((7, 24), np.float32)}, "wanted (rows, tokens, width)"),
        (
            {"uncond_encoder_hidden_states": np.zeros((1, 6, 24), np.float32)},
            "uncond_encoder_hidden_states has shape [1, 6, 24] but encoder_hidden_states has shape",
        ),
        (
            {"uncond_text_embeds": np.zeros((1, 6), np.float32)},
            "uncond_text_embeds has shape [1, 6] but text_embeds is missing",
        ),
    ],
)
def test_a_file_of_conditions_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tensors = {"encoder_hidden_states": np.zeros((2, 7, 24), np.float32)} | change
    tensors = {name: value for name, value in tensors.items() if value is not None}
    given = written(
        tmp_path / "given.safetensors", **(tensors or {"time_ids": np.zeros((1, 6), "f4")})
    )
    out = tmp_path / "out.safetensors"
    words = ("sample", SD15, "--conditioning", given, "--steps", 1, "--out", out)
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert f"--conditioning {given}: " in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_guidance_wants_something_to_lead_away_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = written(tmp_path / "g.safetensors", encoder_hidden_states=np.zeros((1, 7, 24), "f4"))
    words = ("sample", SD15, "--conditioning", given, "--guidance", 4, "--out", tmp_path / "o.png")
    assert main([str(word) for word in words]) == 2
    assert "holds no uncond_encoder_hidden_states" in capsys.readouterr().err


def test_a_network_alone_takes_conditions_and_gives_latents(
    sampled: Callable, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = written(tmp_path / "g.safetensors", encoder_hidden_states=np.zeros((1, 7, 24), "f4"))
    words = ("--conditioning", given, "--steps", 1)
    assert sampled(*words, "--count", 2, model=SD15 / "unet").shape == (2, 4, 8, 8)
    for more in (PROMPT, (*words, "--out", "x.png")):
        out = () if "--out" in more else ("--out", tmp_path / "o.safetensors")
        assert main([str(word) for word in ("sample", SD15 / "unet", *more, *out)]) == 2
        assert "is a network alone" in capsys.readouterr().err


def test_a_model_of_pixels_reads_no_prompt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("sample", "bundled:digits", *PROMPT, "--out", tmp_path / "o.png")
    assert main([str(word) for word in words]) == 2
    assert "--prompt: this model reads no prompts" in capsys.readouterr().err
