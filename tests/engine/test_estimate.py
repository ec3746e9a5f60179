"""What a run costs: sizes from headers, time from past runs, and honesty about how sure that is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlx.utils import tree_flatten

from engine.config import DiffusionOptimizationConfig, config_to_yaml, load_config
from engine.errors import CheckpointError
from engine.estimate import (
    PastRun,
    done_work,
    estimate,
    own_seconds,
    past_runs,
    planned_work,
)
from engine.model_cost import model_cost
from engine.models.loading import load_model
from engine.run import JournalReader, JournalWriter, RunFolder
from engine.run.events import PhaseFinished, PhaseStarted, RunFinished, RunStarted

RECORDED = Path(__file__).parents[1] / "fixtures" / "runs"
SMOKE = load_config("smoke")
DIGITS = model_cost("bundled:digits")


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Path]:
    """A folder of runs: recorded ones, said to be of a machine called `studio`."""

    def make(*names: str) -> Path:
        import shutil

        for name in names:
            shutil.copytree(RECORDED / name, tmp_path / "runs" / name)
        return tmp_path / "runs"

    return make


def past(seconds_a_unit: float = 0.01, **changes: float) -> PastRun:
    work = planned_work(SMOKE, DIGITS)
    return PastRun(
        cost=DIGITS,
        seconds={phase: seconds_a_unit * amount for phase, amount in work.items()} | changes,
        work=work,
        peak_bytes=None,
        memory_work=1.0,
    )


def test_parameters_are_counted_from_headers_alone() -> None:
    network = load_model("bundled:digits", steps=10).model.network
    weights = dict(tree_flatten(network.parameters()))
    assert DIGITS.parameters == sum(value.size for value in weights.values())
    assert DIGITS.sample_values == 64
    assert DIGITS.image_values == 64
    assert not DIGITS.has_prompts


@pytest.mark.parametrize("name", ["sd15", "sdxl", "ddpm_cifar", "adm_pipeline", "learned_sharded"])
def test_every_kind_of_folder_is_told(name: str) -> None:
    cost = model_cost(str(RECORDED.parent / name))
    assert cost.parameters > 1000
    assert cost.flops > cost.parameters
    assert cost.has_prompts == name.startswith("sd")
    assert (cost.companion_bytes > 0) == name.startswith("sd")


def test_a_folder_that_is_none_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    config = replace(SMOKE, model_path=str(tmp_path / "nothing"))
    told = estimate(config, tmp_path / "runs")
    assert "there is no such folder" in told.problem
    assert told.seconds is None
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"\x00" * 20)
    assert str(folder) in estimate(replace(SMOKE, model_path=str(folder)), tmp_path).problem
    with pytest.raises(CheckpointError, match="etch it again"):
        model_cost(str(folder))


def test_without_a_run_here_time_is_unknown_and_sizes_are_told(tmp_path: Path) -> None:
    told = estimate(SMOKE, tmp_path / "runs")
    assert told.seconds is None
    assert told.basis == "no run on this machine yet"
    assert told.memory_bytes is not None
    assert told.disk_bytes is not None
    assert told.fits
    assert told.has_room


def test_the_same_settings_cost_what_they_cost(tmp_path: Path) -> None:
    told = estimate(SMOKE, tmp_path, past=[past()])
    assert told.seconds == pytest.approx(0.01 * sum(planned_work(SMOKE, DIGITS).values()))
    assert told.basis == "from 1 run here"
    assert told.spread == pytest.approx(1.3)


def test_more_work_takes_longer_and_is_less_sure(tmp_path: Path) -> None:
    longer = replace(SMOKE, training=replace(SMOKE.training, iterations=[300, 3000]))
    told, more = (estimate(one, tmp_path, past=[past()]) for one in (SMOKE, longer))
    assert told.seconds is not None
    assert more.seconds is not None
    assert more.seconds > 5 * told.seconds
    assert more.spread > 1.5 * told.spread


def test_what_is_fixed_is_told_apart_from_two_sizes(tmp_path: Path) -> None:
    """Two past runs on one line, 5 s + 1 ms a unit: a third lies on it too."""
    small = past()
    large = replace(small, work={name: 10 * one for name, one in small.work.items()})
    small, large = (
        replace(run, seconds={name: 5 + 0.001 * one for name, one in run.work.items()})
        for run in (small, large)
    )
    longer = replace(SMOKE, training=replace(SMOKE.training, iterations=[120, 120]))
    told = dict(estimate(longer, tmp_path, past=[small, large]).phases)
    assert told["train"] == pytest.approx(5 + 0.001 * planned_work(longer, DIGITS)["train"])


def test_runs_of_another_model_are_scaled_and_said_to_be_rough(tmp_path: Path) -> None:
    twice = replace(past(), cost=replace(DIGITS, parameters=1, flops=2 * DIGITS.flops))
    told = estimate(SMOKE, tmp_path, past=[twice])
    own = estimate(SMOKE, tmp_path, past=[past()])
    assert told.seconds is not None
    assert own.seconds is not None
    assert told.seconds == pytest.approx(own.seconds / 2, rel=0.01)
    assert "other models: rough" in told.basis
    assert told.spread > own.spread


def test_phases_within_phases_are_counted_once() -> None:
    events = [
        PhaseStarted(phase="gate"),
        PhaseStarted(phase="evaluate"),
        PhaseFinished(phase="evaluate", seconds=8.0),
        PhaseFinished(phase="gate", seconds=11.0),
        PhaseStarted(phase="evaluate"),
        PhaseFinished(phase="evaluate", seconds=2.0),
        PhaseFinished(phase="export", seconds=1.0),  # begun before a kill: nobody saw it start
    ]
    assert own_seconds(events) == {"evaluate": 10.0, "gate": 3.0}


def test_retries_are_work_that_was_done() -> None:
    with JournalReader(RECORDED / "ladder" / "journal.sqlite") as reader:
        events = [stored.event for stored in reader.facts()]
    config = load_config(RECORDED / "ladder" / "config.yaml")
    done, planned = done_work(config, DIGITS, events), planned_work(config, DIGITS)
    assert done["train"] > 5 * planned["train"]
    assert done["evaluate"] == planned["evaluate"]


def test_finished_runs_of_this_machine_are_what_it_learns_from(
    recorded: Callable[..., Path],
) -> None:
    runs = recorded("smoke", "ladder")
    assert past_runs(runs, host="elsewhere") == []
    found = past_runs(runs, host="studio")
    assert len(found) == 2
    for run in found:
        assert run.cost == DIGITS
        assert set(run.seconds) == {"cache", "plan", "train", "gate", "evaluate", "export"}
        assert run.peak_bytes is not None
    told = estimate(SMOKE, runs, past=found)
    assert told.seconds is not None
    took = sum(next(run for run in found if run.work["train"] < 1e4).seconds.values())
    assert took / told.spread < told.seconds < took * told.spread


def test_runs_that_teach_nothing_are_passed_over(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    text = config_to_yaml(SMOKE)
    RunFolder.create(runs, text, name="queued", mounts=[])
    gone = text.replace("bundled:digits", "/gone")
    for name, config in (("gone", gone), ("broken", "model_path: [")):
        run = RunFolder.create(runs, config, name=name, mounts=[])
        with JournalWriter(run.journal_path) as journal:
            journal.emit(RunStarted(pid=1, host="here", device="d"))
            journal.emit(RunFinished(result="", exit_code=0, optimized_steps=4, score=1,
                                     lower_bound=1, seconds=1))  # fmt: skip
    assert past_runs(runs, host="here") == []


def test_memory_is_held_against_what_past_runs_took(tmp_path: Path) -> None:
    seen = replace(past(), peak_bytes=3 << 30, memory_work=1 << 20)
    told = estimate(SMOKE, tmp_path, past=[seen])
    assert told.memory_bytes is not None
    assert told.memory_bytes > 3 << 30
    assert not replace(told, machine_bytes=1 << 30).fits


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"training": {"trajectories": 4096}}, "disk_bytes"),
        ({"training": {"trajectories": 4096}}, "memory_bytes"),
        ({"training": {"batch_size": 1024}}, "memory_bytes"),
        ({"hardware": {"evaluation_batch_size": 4096}}, "memory_bytes"),
        ({"quality": {"samples": 100_000}}, "disk_bytes"),
    ],
)
def test_what_takes_more_is_told_to_take_more(
    tmp_path: Path, change: dict[str, dict[str, int]], name: str
) -> None:
    ((section, values),) = change.items()
    more: DiffusionOptimizationConfig = replace(
        SMOKE, **{section: replace(getattr(SMOKE, section), **values)}
    )
    assert getattr(estimate(more, tmp_path), name) > getattr(estimate(SMOKE, tmp_path), name)


def test_narrower_weights_and_adapters_take_less() -> None:
    from engine.estimate import _device_bytes

    cost = model_cost(str(RECORDED.parent / "sd15"), 32, 32)
    plain = replace(SMOKE, hardware=replace(SMOKE.hardware, evaluation_batch_size=1))
    narrow = replace(plain, hardware=replace(plain.hardware, compute_dtype="bfloat16"))
    one = replace(plain, training=replace(plain.training, batch_size=1))
    adapters = replace(one, lora=replace(one.lora, enabled=True, rank=4))
    assert _device_bytes(narrow, cost) < _device_bytes(plain, cost)
    assert _device_bytes(adapters, cost) < _device_bytes(one, cost)


def test_larger_pictures_cost_more() -> None:
    folder = str(RECORDED.parent / "sd15")
    small, large = model_cost(folder, 128, 128), model_cost(folder, 256, 128)
    assert large.sample_values == 2 * small.sample_values == 2 * 16 * 16 * 4
    assert large.image_values == 3 * 256 * 128
    assert 1.9 * small.flops < large.flops < 2.1 * small.flops  # but for what has no place


def test_a_batch_that_does_not_fit_is_taken_in_parts() -> None:
    """As the run will, where hardware.micro_batch_size is left to it."""
    huge = replace(SMOKE, training=replace(SMOKE.training, batch_size=65_536))
    fixed = replace(huge, hardware=replace(huge.hardware, micro_batch_size=65_536))
    from engine.estimate import _device_bytes

    assert _device_bytes(huge, DIGITS) < _device_bytes(fixed, DIGITS)
