"""The command line as a person meets it: samples out, mistakes told in one line, exit code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from engine.cli import main
from engine.config import recipe_names


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Return (exit code, standard output, standard error) of one command."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def copy_of(folder: Path, to: Path) -> Path:
    """Return a copy of a checkpoint that a test may damage, without its reference tensors."""
    return Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns("reference.*")))


def weights_of(folder: Path) -> Path:
    """Return the path of a copied checkpoint's weights."""
    return folder / "unet" / "diffusion_pytorch_model.safetensors"


def test_sample_reproduces_diffusers_from_the_same_noise(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    ddpm_cifar: Path,
    reference: dict[str, np.ndarray],
    relative_to_largest: Callable[[np.ndarray, np.ndarray], float],
) -> None:
    """`noise` in, `samples` out, NCHW: DDIM, clipped and not, a given grid, DPM-Solver++, Euler."""
    save_file({"noise": reference["noise"]}, tmp_path / "noise.safetensors")
    cases = {
        ("--steps", 50, "--spacing", "leading", "--no-clip-sample"): "noclip.ddim.leading.50.x",
        ("--steps", 4, "--spacing", "trailing", "--no-clip-sample"): "noclip.ddim.trailing.4.x",
        ("--steps", 4, "--spacing", "leading"): "clip.ddim.leading.4.x",
        ("--timesteps", "999,759,499,259", "--no-clip-sample"): "noclip.student4.alpha1.x",
        (
            *("--timesteps", "999,759,499,259", "--no-clip-sample", "--final-alpha", "first"),
        ): "noclip.student4.alpha0.x",
        (
            "--steps",
            8,
            "--solver",
            "dpmpp_2m",
            "--spacing",
            "linspace",
        ): "noclip.dpmpp2m.linspace.8.x",
        ("--steps", 8, "--solver", "euler", "--spacing", "linspace"): "noclip.euler.8.x",
    }
    out = tmp_path / "out.safetensors"
    for words, key in cases.items():
        noise = ("--noise", tmp_path / "noise.safetensors")
        code, _, error = run(capsys, "sample", ddpm_cifar, *words, *noise, "--out", out)
        assert (code, error) == (0, "")
        found = load_file(out)["samples"]
        assert found.dtype == np.float32
        assert relative_to_largest(found, reference[key][-1]) < 5e-5, key


def test_sample_writes_a_sheet_for_people(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = run(
        capsys,
        "sample",
        "bundled:digits",
        "--labels",
        "all",
        "--steps",
        2,
        "--out",
        tmp_path / "a.png",
    )
    assert code == 0
    assert "10 samples of 2 steps" in out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("sample", "bundled:digits", "--out", "a.png"), "class-conditional"),
        (("sample", "bundled:digits", "--class-labels", "10", "--out", "a.png"), "choose 0 to 9"),
        (("sample", "bundled:digits", "--labels", "all", "--out", "a.gif"), ".png or .safetensors"),
        (
            ("sample", "bundled:digits", "--labels", "all", "--timesteps", "5,9", "--out", "a.png"),
            "fall",
        ),
        (("sample", "nowhere", "--out", "a.png"), "no such folder"),
        (("run", "demo", "--set", "target_steps=50"), "choose 1 to 49"),
        (("run", "demo", "--set", "quality_threshold=0"), "quality_threshold is 0"),
        (("run", "demo", "--set", "quality_threshold=1.01"), "quality_threshold is 1.01"),
        (("run", "demo", "--set", "target_stps=4"), "did you mean target_steps?"),
        (("run", "demo", "--set", "training.batch_size"), "KEY=VALUE"),
        (("run", "no-such-recipe"), "the recipes are demo, smoke"),
        (("run", "demo", "--set", "quality.classifier=other"), "quality.classifier"),
        (("schedule", "bundled:digits", "--steps", "50"), "choose 1 to 49"),
        (("show", "no-such-run"), "There is no run no-such-run"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = run(capsys, *words, "--runs-dir", tmp_path / "runs")
    assert code == 2
    assert out == ""
    assert error.startswith("diffopt: ")
    assert error.count("\n") == 1
    assert told in error
    assert list(tmp_path.iterdir()) == []


def _truncate(folder: Path) -> None:
    weights = weights_of(folder)
    weights.write_bytes(weights.read_bytes()[:-1000])


def _make_nan(folder: Path) -> None:
    tensors = load_file(weights_of(folder))
    tensors["conv_out.bias"] = np.full_like(tensors["conv_out.bias"], np.nan)
    save_file(tensors, weights_of(folder), metadata={"format": "pt"})


def _misshape(folder: Path) -> None:
    tensors = load_file(weights_of(folder))
    tensors["conv_out.bias"] = np.zeros(7, np.float32)
    save_file(tensors, weights_of(folder), metadata={"format": "pt"})


def _pickle_only(folder: Path) -> None:
    weights_of(folder).rename(weights_of(folder).with_suffix(".bin"))


def _unknown_block(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text())
    config["down_block_types"][0] = "MysteryDownBlock2D"
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_truncate, "safetensors"),
        (_make_nan, "conv_out.bias"),
        (_misshape, "conv_out.bias"),
        (_pickle_only, "safetensors"),
        (_unknown_block, "MysteryDownBlock2D"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_damaged_model_is_refused_before_a_run_is_made(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    ddpm_cifar: Path,
    damage: Callable[[Path], None],
    told: str,
) -> None:
    folder = copy_of(ddpm_cifar, tmp_path / "model")
    damage(folder)
    runs = tmp_path / "runs"
    code, _, error = run(capsys, "run", "demo", "--set", f"model_path={folder}", "--runs-dir", runs)
    assert code == 2
    assert error.count("\n") == 1
    assert told in error
    assert not runs.exists()


def test_a_classifier_of_other_pictures_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, ddpm_cifar: Path
) -> None:
    words = ("--set", f"model_path={ddpm_cifar}", "--runs-dir", tmp_path / "runs")
    code, _, error = run(capsys, "run", "demo", *words)
    assert code == 2
    assert "Set it to null" in error
    assert not (tmp_path / "runs").exists()


def test_a_runs_folder_below_a_file_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code, _, error = run(capsys, "run", "smoke", "--runs-dir", tmp_path / "file" / "runs")
    assert code == 2
    assert "--runs-dir" in error


def test_yaml_that_does_not_parse_names_the_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("model_path: a\ntraining: [\n")
    code, _, error = run(capsys, "run", config, "--runs-dir", tmp_path / "runs")
    assert code == 2
    assert "mine.yaml: line 3" in error


@pytest.mark.parametrize("name", recipe_names())
def test_a_printed_config_is_the_config(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    _, text, _ = run(capsys, "config", name)
    (tmp_path / "c.yaml").write_text(text)
    _, again, _ = run(capsys, "config", tmp_path / "c.yaml", "--json")
    _, wanted, _ = run(capsys, "config", name, "--json")
    assert json.loads(again) == json.loads(wanted)


def test_evaluating_a_model_against_itself_gives_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--original-steps", 4, "--steps", 4, "--samples", 64, "--json")
    code, out, _ = run(capsys, "evaluate", "bundled:digits", "--against", "bundled:digits", *words)
    found = json.loads(out)
    assert code == 0
    assert found["score"] == 1.0
    assert found["anchors"]["another seed"]["score"] < 0.2
    assert found["anchors"]["blurred"]["score"] < 0.9


def test_a_missed_threshold_is_exit_code_three(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--original-steps", 8, "--steps", 2, "--samples", 64, "--threshold", 0.99)
    code, out, _ = run(capsys, "evaluate", "bundled:digits", "--against", "bundled:digits", *words)
    assert code == 3
    assert "lower bound" in out


def test_schedule_tells_what_each_step_count_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--steps", "2,3", "--original-steps", 8, "--samples", 64, "--json")
    code, out, _ = run(capsys, "schedule", "bundled:digits", *words)
    found = json.loads(out)["steps"]
    assert code == 0
    assert set(found) == {"2", "3"}
    for steps, ranked in found.items():
        assert all(len(one["timesteps"]) == int(steps) for one in ranked)
        scores = [one["score"] for one in ranked]
        assert scores == sorted(scores, reverse=True)


def test_doctor_tells_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["mlx_version"]
    assert found["blas_gflops"] > 0
    assert {"name", "path", "reason", "is_fast"} <= found["blas"].keys()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("frobnicate", "invalid choice: 'frobnicate'"),
        ("sample bundled:digits", "the following arguments are required: --out"),
        ("sample bundled:digits --out a.png --timesteps a,b", "'a,b' is no list of numbers"),
        ("sample bundled:digits --out a.png --steps x", "'x' is no whole number"),
        ("run demo --no-such-word", "--no-such-word"),
    ],
)
def test_a_slip_in_the_words_is_one_line(
    capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith("diffopt: ")
    assert err.count("\n") == 1
    assert said in err
    assert "--help" in err
