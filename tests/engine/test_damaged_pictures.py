"""Pictures whose header is good and whose body is cut off: few are counted, many are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.cli import main
from engine.config import config_from_dict
from engine.hooks import Hooks
from engine.memory import Memory
from engine.optimizer import AdaptiveDiffusionOptimizer
from engine.run.events import Event, LogLine

FIXTURES = Path(__file__).parents[1] / "fixtures"


def pictures(folder: Path, *, whole: int, damaged: int, size: int, suffix: str = ".png") -> Path:
    """Write captioned pictures, some of them cut off after their header."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(whole + damaged):
        path = folder / f"{number:02}{suffix}"
        Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(path)
        path.with_suffix(".txt").write_text(f"a wall of noise, number {number}")
        if number < damaged:
            content = path.read_bytes()
            path.write_bytes(content[: 2 * len(content) // 3])
            with Image.open(path) as image:
                assert image.size == (size, size), "its header is good"
    return folder


def settings_of(model: Path | str, images: Path) -> dict[str, Any]:
    return {
        "model_path": str(model),
        "target_steps": 2,
        "optimization_stages": 1,
        "quality_threshold": 1e-9,
        "original": {"steps": 4},
        "data": {"images": str(images)},
        "schedule": {"search": False},
        "training": {
            "states": "data",
            "iterations": [3],
            "trajectories": 8,
            "batch_size": 4,
            "sample_every": 0,
            "retries": 0,
        },
        "quality": {"samples": 64, "select_samples": 64, "bootstrap": 100},
        "hardware": {"compile": False},
        "export": {"timing_batch_size": 1, "samples": 2},
    }


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_more_than_a_tenth_of_damaged_pictures_is_one_line_before_a_run_is_made(
    kind: str,
    suffix: str,
    folder_of: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = FIXTURES / "sd15" if kind == "latents" else folder_of("v_prediction")
    images = pictures(tmp_path / "pictures", whole=16, damaged=2, size=64, suffix=suffix)
    config = tmp_path / "mine.yaml"
    config.write_text(json.dumps(settings_of(model, images)))
    assert main(["run", str(config), "--runs-dir", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 of 18 images" in line
    assert f"cannot be decoded, the first 00{suffix}" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("eager", "few_candidates")
def test_a_few_damaged_pictures_are_counted_in_journal_and_report(
    folder_of: Callable[..., Path], tmp_path: Path
) -> None:
    images = pictures(tmp_path / "pictures", whole=19, damaged=1, size=8)
    folder, told = tmp_path / "run", list[Event]()
    for name in ("samples", "export"):
        (folder / name).mkdir(parents=True)
    hooks = Hooks(emit=told.append, folder=folder, memory=Memory(folder / "checkpoints"))
    config = config_from_dict(settings_of(folder_of("v_prediction"), images), "test")
    result = AdaptiveDiffusionOptimizer(config, hooks=hooks).optimize_diffusion_model()
    assert result["images"] == {"count": 20, "left_out": ["00.png"]}
    line = "data.images: 1 of 20 images cannot be decoded and are left out (00.png)"
    assert LogLine(level="WARNING", text=line) in told
    report = (folder / "report.md").read_text()
    assert "made from 19 images; 1 of 20 cannot be decoded (00.png)." in report
    assert json.loads((folder / "metrics.json").read_text())["images"] == result["images"]
