"""The settings of runs that take seconds, and true workers on them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.memory import Memory
from engine.models.checkpoint import save_network
from engine.models.unet import UNet2DConfig, UNet2DModel
from engine.run import JournalReader
from tests.engine.worker.processes import Start, Worked
from tests.engine.worker.within import Write

CONFIG = """\
model_path: {model_path}
optimization_stages: {stages}
target_steps: 2
quality_threshold: {threshold}
apple_silicon_optimization: false
original: {{steps: 4}}
schedule:
  {{search: {search}, pilot_iterations: 2, pilot_candidates: 2, costs: [z_mse], gammas: [1.0]}}
training:
  stage_steps: {stage_steps}
  iterations: [{iterations}]
  states: rollout
  trajectories: 8
  batch_size: 4
  refresh_steps: 3
  report_every: 1
  sample_every: 0
  retries: 1
quality: {{samples: 64, select_samples: 64, bootstrap: 100}}
export: {{samples: 2, timing_batch_size: 1}}
run: {{checkpoint_seconds: 1}}
"""


@pytest.fixture(scope="module")
def model_path(ddpm_cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of random weights, as small as can be."""
    folder, flat = tmp_path_factory.mktemp("models") / "tiny", ddpm_cifar.with_name("ddpm_flat")
    shutil.copytree(ddpm_cifar / "scheduler", folder / "scheduler")
    shutil.copy(ddpm_cifar / "model_index.json", folder)
    changes = {
        "sample_size": 4,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": [8],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "add_attention": False,
    }
    config = json.loads((flat / "config.json").read_text()) | changes
    mx.random.seed(0)
    network = UNet2DModel(UNet2DConfig.from_dict(config, source="a test"))
    save_network(network, folder / "unet", config)
    return folder


@pytest.fixture(scope="module")
def write_config(model_path: Path) -> Write:
    """Write the config of a run over random weights that takes seconds; of one stage or two."""

    def write(*, threshold: float = 0.01, iterations: int = 6, stages: int = 1) -> str:
        return CONFIG.format(
            model_path=model_path,
            threshold=threshold,
            iterations=iterations,
            stages=stages,
            stage_steps=[3, 2][-stages:],
            search=str(stages > 1).lower(),
        )

    return write


@pytest.fixture(scope="module", autouse=True)
def _own_state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFOPT_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def worker_config(write_config: Write) -> str:
    """One stage that trains for some seconds."""
    return write_config(iterations=40)


@pytest.fixture
def start(tmp_path: Path, worker_config: str) -> Iterator[Start]:
    started: list[Worked] = []

    def begin() -> Worked:
        started.append(Worked(tmp_path / "runs", worker_config))
        return started[-1]

    yield begin
    for worked in started:
        if worked.process.poll() is None:
            worked.process.kill()
            worked.process.wait()


@pytest.fixture(scope="module")
def unharmed(worker_config: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run comes to if nobody does anything to it."""
    worked = Worked(tmp_path_factory.mktemp("unharmed"), worker_config)
    assert worked.end() == 0, worked.run.log_path.read_text()
    records = Memory(worked.run.checkpoints_path).names()
    assert not [name for name in records if name.startswith("trajectories")]
    assert "stage-1-try-1" in records
    with JournalReader(worked.run.journal_path) as reader:
        memory = reader.latest()["memory"]
    assert set(memory) == {"active_bytes", "peak_bytes", "cache_bytes"}
    assert 0 < memory["active_bytes"] <= memory["peak_bytes"]
    return worked.outcome()
