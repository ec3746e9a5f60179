"""`diffopt schedule` and `evaluate` of a model of prompts: under a run's own noise and prompts."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from engine.conditioning import as_configured, condition_sets, pipeline_of
from engine.config import config_from_dict
from engine.context import RunContext
from engine.export import export_student
from engine.hooks import Hooks
from engine.models.loading import load_model
from engine.settings import HardwareSettings

pytestmark = pytest.mark.usefixtures("eager")

TINY = "bundled:tiny-sd"
SIZE = ("--height", 8, "--width", 8)
SHORT = ("--original-steps", 4, "--samples", 64, "--prompt-count", 8, *SIZE)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Return (exit code, standard output, standard error) of one command."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def found(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code, out, error = run(capsys, *words, "--json")
    assert code == 0, error
    return json.loads(out)


def test_schedule_ranks_under_the_prompts_and_guidance_of_a_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    prompts = tmp_path / "mine.txt"
    prompts.write_text("".join(f"a thin blue {n}\n" for n in range(8)))
    words = ("--steps", 2, "--prompts", prompts, "--guidance", 3, "--negative-prompt", "a bold one")
    told = found(capsys, "schedule", TINY, *SHORT, *words)
    assert told["prompts"] == str(prompts)
    assert told["guidance"] == {"scale": 3.0, "rescale": 0.0, "negative_prompt": "a bold one"}
    assert told["modes"]["select"] == "latents"
    (uniform,) = [
        one for one in told["steps"]["2"] if (one["solver"], one["grid"]) == ("ddim", "trailing")
    ]

    # a run with these settings looks at the same samples of the same noise
    settings = {
        "model_path": TINY,
        "target_steps": 2,
        "optimization_stages": 1,
        "original": {"steps": 4},
        "guidance": {"scale": 3.0, "negative_prompt": "a bold one"},
        "data": {"prompts": str(prompts), "height": 8, "width": 8},
        "quality": {"select_samples": 64},
    }
    config = config_from_dict(settings, "test")
    original = load_model(TINY, steps=4)
    pipeline = pipeline_of(original)
    original = as_configured(original, pipeline, config)
    context = RunContext(config, "test", Hooks(), HardwareSettings(), original, pipeline=pipeline)
    context.conditions = condition_sets(context)
    grid = original.settings.grid(2, "trailing", "ddim")
    quality = context.select.quality_of(context.base_model, grid, "ddim")
    assert uniform["score"] == pytest.approx(quality.score, abs=1e-4)
    assert uniform["fidelity"]["value"] == pytest.approx(quality.fidelity.value, abs=1e-4)


def test_evaluate_scores_decoded_pixels_by_default_and_latents_on_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("evaluate", TINY, "--against", TINY, *SHORT, "--steps", 4)  # steps last
    same = found(capsys, *words)
    assert (same["score"], same["mode"]) == (1.0, "pixels")
    assert same["guidance"]["scale"] == 7.5
    assert same["evaluations"] == {"original": 8, "model": 8}
    assert same["prompts"] == "bundled:varied"
    fewer = found(capsys, *words[:-1], 2, "--mode", "latents", "--guidance", 1)
    assert fewer["mode"] == "latents"
    assert fewer["score"] < 1
    code, out, _ = run(capsys, *words, "--guidance", 1, "--threshold", 0.5)
    assert code == 0
    assert "64 samples of 8x8, bundled:varied, no guidance" in out


def test_a_distilled_student_is_scored_without_guidance_against_its_guided_original(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    original = load_model(TINY, steps=4)
    student = original.model.student(original.model.grid.subset([0, 2]))
    folder = export_student(student, original, tmp_path / "student", {})
    told = found(capsys, "evaluate", folder, "--against", TINY, *SHORT)
    assert (told["steps"], told["original_steps"]) == (2, 4)
    assert told["evaluations"] == {"original": 8, "model": 2}
    assert told["score"] < 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--guidance", 0.5), "--guidance 0.5: wanted a scale from 1"),
        (("--guidance-rescale", 2), "--guidance-rescale 2: wanted 0 to 1"),
        (("--height", 21), "--height 21: wanted a multiple of 2"),
        (("--prompts", "nowhere.txt"), "--prompts: nowhere.txt: there is no such file"),
        (("--prompts", "bundled:none"), "--prompts: bundled:none is not bundled"),
        (("--prompt-count", 4), "--prompt-count"),
        (("--prompt-count", 200), "holds 128 distinct prompts; wanted at least 200"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_option(
    words: tuple, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("evaluate", TINY, "--against") if "--guidance" in words else ("schedule",)
    code, out, error = run(capsys, *command, TINY, *words)
    assert (code, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_a_model_of_pixels_has_no_such_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--prompts", "x.txt"), ("--guidance", 4), ("--height", 16), ("--mode", "auto")):
        code, _, error = run(capsys, "schedule", "bundled:digits", *words)
        assert code == 2
        assert f"{words[0]}: this model reads no prompts" in error
    code, _, error = run(capsys, "evaluate", "bundled:digits", "--against", TINY)
    assert code == 2
    assert "are of different kinds" in error
