"""`diffopt inspect` and `diffopt export` as a person meets them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file, save_file

from engine.cli import main
from engine.commands import exporting
from engine.config import config_from_dict, config_to_yaml
from engine.memory import Memory, Record
from engine.models.diffusion import DiffusionModel
from engine.models.loading import load_model
from engine.models.lora import adapters, fuse
from engine.models.lora_files import LORA_NAME
from engine.records import Bound, Quality, StageReport
from engine.run import RunFolder
from engine.training.trainer import parameters_of

pytestmark = pytest.mark.usefixtures("eager")

FIXTURES = Path(__file__).parents[1] / "fixtures"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Return (exit code, standard output, standard error) of one command."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def inspected(capsys: pytest.CaptureFixture[str], model: object, *words: object) -> dict[str, Any]:
    code, out, error = run(capsys, "inspect", model, "--json", "--no-probe", *words)
    assert code == 0, error
    return json.loads(out)


def test_inspect_tells_a_pipeline_of_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    facts = inspected(capsys, FIXTURES / "sd21v", "--rank", 4)
    assert facts["network"] == "UNet2DConditionModel"
    assert facts["parameters"] == facts["components"]["unet"]["parameters"] == 361_068
    assert facts["components"].keys() == {"unet", "vae", "text_encoder"}
    assert facts["schedule"]["prediction_type"] == "v_prediction"
    assert facts["schedule"]["own_timesteps"] is None
    assert (facts["supported"], facts["reasons"]) == (True, [])
    assert "export (diffusers, unet, lora)" in facts["commands"]
    memory = facts["training"]["memory"]
    assert facts["training"]["rank"] == 4
    for kind in ("weights", "adapters"):
        parts = memory[kind]
        assert parts["total"] == sum(value for key, value in parts.items() if key != "total")
    assert memory["adapters"]["teacher"] == 0
    assert "seconds_per_step" not in facts["training"]


def test_inspect_for_people_times_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", "bundled:digits", "--batch-size", 2)
    assert code == 0
    for words in ("pixels, by class", "v_prediction", "a training step of 2", "seconds, about"):
        assert words in out


def test_inspect_of_a_network_at_full_size_opens_no_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are empty files' worth of header: nothing is read but what is asked."""
    config = json.loads((FIXTURES / "published" / "sdxl_unet.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    stub = {"conv_in.bias": np.zeros(320, np.float16)}
    save_file(stub, tmp_path / "diffusion_pytorch_model.safetensors")
    facts = inspected(capsys, tmp_path, "--no-weights")
    assert facts["family"] == "Stable Diffusion XL"
    assert facts["parameters"] == 2_567_463_684
    assert facts["training"]["memory"]["weights"]["weights"] == 4 * 2_567_463_684


def test_inspect_says_what_is_not_supported_and_why(
    tmp_path: Path, class_conditional: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(class_conditional, tmp_path / "model"))
    path = model / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"act_fn": "tanh"}))
    facts = inspected(capsys, model)
    assert "act_fn is 'tanh'" in facts["reasons"][0]
    assert (facts["supported"], facts["commands"]) == (False, [])
    code, out, _ = run(capsys, "inspect", model, "--no-probe")
    assert code == 0
    assert "NOT SUPPORTED" in out


@pytest.mark.parametrize(
    ("file", "changes", "named"),
    [
        ("unet/config.json", {"class_embed_type": "projection"}, "class_embed_type"),
        ("unet/config.json", {"in_channels": 9}, "in_channels is 9"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "prediction_type"),
        ("text_encoder/config.json", {"hidden_act": "swish"}, "hidden_act"),
        ("vae/config.json", {"act_fn": "tanh"}, "act_fn"),
        ("model_index.json", {"unet": ["diffusers", "FluxTransformer"]}, "FluxTransformer"),
        ("model_index.json", {"transformer": ["diffusers", "DiT"]}, "transformer (DiT)"),
    ],
)
def test_inspect_names_the_key_that_is_not_supported_wherever_it_stands(
    file: str,
    changes: dict[str, Any],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = Path(shutil.copytree(FIXTURES / "sd15", tmp_path / "model"))
    path = model / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    facts = inspected(capsys, model)
    assert facts["supported"] is False
    assert named in " ".join(facts["reasons"])
    assert file in " ".join(facts["reasons"])
    code, out, _ = run(capsys, "inspect", model, "--no-probe")
    assert (code, out.count("NOT SUPPORTED: ")) == (0, 1)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def with_nan(path: Path) -> None:
    tensors = load_file(path)
    key = sorted(tensors)[3]
    tensors[key].flat[0] = np.nan
    save_file(tensors, path, metadata={"format": "pt"})


def pickled(path: Path) -> None:
    path.rename(path.with_name(path.name.replace(".safetensors", ".bin")))


def missing(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_text("{")


@pytest.mark.parametrize(
    ("file", "damage", "named"),
    [
        *(
            (file, damage, named)
            for file in (
                "unet/diffusion_pytorch_model.safetensors",
                "vae/diffusion_pytorch_model.safetensors",
                "text_encoder/model.safetensors",
            )
            for damage, named in (
                (cut_off, "not a whole safetensors file"),
                (with_nan, "NaN or infinity"),
                (pickled, "pickle"),
                (missing, "there is no"),
            )
        ),
        ("tokenizer/vocab.json", emptied, "is not JSON"),
        ("unet/config.json", emptied, "is not JSON"),
        ("vae/config.json", missing, "config.json"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "run"])
def test_a_damaged_folder_is_one_line(
    command: str,
    file: str,
    damage: Callable[[Path], None],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = Path(shutil.copytree(FIXTURES / "sd15", tmp_path / "model"))
    damage(model / file)
    words: list[object] = ["inspect", model, "--no-probe"]
    if command == "run":
        words = ["run", "tiny-sd", "--set", f"model_path={model}", "--runs-dir", tmp_path / "runs"]
    code, out, error = run(capsys, *words)
    assert (code, out) == (2, ""), error
    assert error.count("\n") == 1
    assert named in error
    assert file.split("/", maxsplit=1)[0] in error
    assert not (tmp_path / "runs").exists()


def test_inspect_of_nothing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = run(capsys, "inspect", "/no/such/folder")
    assert (code, out) == (2, "")
    assert error.count("\n") == 1


def a_run(root: Path, model: object, *, lora: bool) -> tuple[RunFolder, DiffusionModel]:
    """Return a run folder whose third try was accepted, and the student that it holds."""
    settings: dict[str, Any] = {
        "model_path": str(model),
        "target_steps": 2,
        "optimization_stages": 1,
        "original": {"steps": 8, "spacing": "trailing"},
        "lora": {"enabled": lora, "rank": 2, "alpha": 2.0},
    }
    folder = RunFolder.create(root, config_to_yaml(config_from_dict(settings, "test")), name="one")
    config = config_from_dict(settings, "test")
    original = load_model(config.model_path, steps=8, spacing="trailing")
    grid = original.model.grid.subset([0, 5], "chosen")
    student = original.model.student(grid, lora=config.lora if lora else None)
    network: Any = student.network
    for _, layer in adapters(network):
        layer.lora_B.weight = 0.1 + layer.lora_B.weight
    if not lora:
        network.conv_out.bias = network.conv_out.bias + 0.5
    bound = Bound(0.97, 0.96)
    report = StageReport(
        stage_number=1,
        attempt=3,
        remedy="more iterations",
        input_steps=8,
        output_steps=2,
        timesteps=grid.timesteps,
        grid_name=grid.name,
        iterations=5,
        learning_rate=1e-3,
        final_loss=0.1,
        select_quality=None,
        final_quality=Quality(bound, bound, bound, samples=100, components=4),
        is_accepted=True,
        seconds=1.0,
    )
    memory = Memory(folder.checkpoints_path)
    tensors = {k: np.array(v) for k, v in tree_flatten(parameters_of(network))}
    memory.keep("stage-1-try-3", Record(tensors, {"losses": []}))
    memory.keep("stage-1-try-3-verdict", Record(facts={"report": report.to_dict()}))
    return folder, student


@pytest.mark.parametrize("lora", [False, True])
def test_export_writes_the_accepted_student_of_a_run(
    lora: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, student = a_run(tmp_path / "runs", "bundled:digits", lora=lora)
    target = tmp_path / "out"
    words = ("--runs-dir", tmp_path / "runs", "--to", target, "--json")
    code, out, error = run(capsys, "export", "one", *words)
    assert code == 0, error
    facts = json.loads(out)
    assert facts["steps"] == 2
    assert facts["certified"] == "not certified"
    again = load_model(target)
    assert again.model.grid.alphas == student.grid.alphas
    wanted = dict(tree_flatten(fuse(student.network).parameters()))
    for key, value in tree_flatten(again.model.network.parameters()):
        np.testing.assert_array_equal(np.array(value), np.array(wanted[key]))
    manifest = json.loads((target / "diffopt_manifest.json").read_text())
    assert manifest["quality_lower_bound"] == 0.96
    assert manifest["name"] == "one"


def test_export_writes_adapters_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(tmp_path / "runs", FIXTURES / "sd15", lora=True)
    target = tmp_path / "out"
    words = ("--runs-dir", tmp_path / "runs", "--to", target, "--format", "lora")
    code, out, error = run(capsys, "export", "one", *words)
    assert code == 0, error
    assert "the 2-step student as lora" in out
    assert len(load_file(target / LORA_NAME)) > 100
    assert load_model(FIXTURES / "sd15", adapters=target).model.steps == 2


def test_export_refuses_what_it_cannot_do_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = a_run(tmp_path / "runs", "bundled:digits", lora=True)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    cases = {
        ("one", "--to", full): "holds something else than an earlier export",
        ("one", "--to", tmp_path / "no" / "out"): "there is no folder",
        ("one", "--to", tmp_path / "out", "--format", "lora"): "networks that read prompts alone",
        ("two", "--to", tmp_path / "out"): "There is no run two",
    }
    for words, message in cases.items():
        code, _, error = run(capsys, "export", *words, "--runs-dir", tmp_path / "runs")
        assert code == 2
        assert message in error
    assert not (tmp_path / "out").exists()
    assert (full / "mine.txt").read_text() == "mine"
    Memory(folder.checkpoints_path).forget("stage-1-try-3-verdict")
    words = ("--runs-dir", tmp_path / "runs", "--to", tmp_path / "out")
    code, _, error = run(capsys, "export", "one", *words)
    assert code == 2
    assert "no student has passed the gate yet" in error


@pytest.mark.parametrize("is_there_before", [False, True])
def test_what_comes_to_the_place_while_the_student_is_loaded_is_never_replaced(
    is_there_before: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_run(tmp_path / "runs", "bundled:digits", lora=False)
    target = tmp_path / "out"
    words = ("one", "--runs-dir", tmp_path / "runs", "--to", target, "--force")
    if is_there_before:
        assert run(capsys, "export", *words)[0] == 0
        assert run(capsys, "export", *words)[0] == 0, "an export of ours is replaced"
    load = exporting.student_of_run

    def slowly(folder: RunFolder) -> Any:
        found = load(folder)
        target.mkdir(exist_ok=True)
        (target / "thesis.txt").write_text("years of work")
        return found

    monkeypatch.setattr(exporting, "student_of_run", slowly)
    code, _, error = run(capsys, "export", *words)
    assert (code, error.count("\n")) == (2, 1)
    assert ("thesis.txt is not of" if is_there_before else "something else than") in error
    assert (target / "thesis.txt").read_text() == "years of work"
    assert (target / "model_index.json").exists() == is_there_before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


def test_a_run_whose_settings_lost_the_grid_it_was_trained_on_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, student = a_run(tmp_path / "runs", "bundled:digits", lora=False)
    text = folder.config_path.read_text()
    assert "  steps: 8" in text
    folder.config_path.write_text(text.replace("  steps: 8", "  steps: 7"))
    words = ("--runs-dir", tmp_path / "runs", "--to", tmp_path / "out")
    code, _, error = run(capsys, "export", "one", *words)
    assert (code, error.count("\n")) == (2, 1)
    assert f"{folder.config_path}: the student was trained at timestep" in error
    assert f" {student.grid.timesteps[1]}, " in error
    assert "original.steps 7" in error
    assert not (tmp_path / "out").exists()


def test_certify_without_the_extra_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    a_run(tmp_path / "runs", "bundled:digits", lora=False)
    words = ("--runs-dir", tmp_path / "runs", "--to", tmp_path / "out", "--certify")
    code, out, _ = run(capsys, "export", "one", *words)
    assert code == 0
    assert "not certified: torch is not installed" in out
    manifest = json.loads((tmp_path / "out" / "diffopt_manifest.json").read_text())
    assert manifest["certified"] == "not certified"


@pytest.mark.parametrize("is_same", [True, False])
def test_an_export_that_diffusers_samples_otherwise_is_told_by_the_exit_code(
    is_same: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proof = {"is_same": is_same, "diffusers": "0.35", "relative_error": 1e-6 if is_same else 0.2}
    monkeypatch.setattr("engine.commands.exporting.certify", lambda *_: proof)
    a_run(tmp_path / "runs", "bundled:digits", lora=False)
    words = ("--runs-dir", tmp_path / "runs", "--to", tmp_path / "out", "--certify", "--json")
    code, out, _ = run(capsys, "export", "one", *words)
    assert code == (0 if is_same else 1)
    assert json.loads(out)["is_same"] is is_same
