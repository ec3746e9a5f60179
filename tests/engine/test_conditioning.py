"""Prompts and pictures of a model of latents are embedded once, kept, and scanned for NaN."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from PIL import Image

from engine.conditioning import (
    as_configured,
    check_data,
    condition_sets,
    data_latents,
    pipeline_of,
)
from engine.config import DiffusionOptimizationConfig, config_from_dict
from engine.context import RunContext
from engine.errors import CheckpointError, ConfigError, DataError
from engine.hooks import Hooks
from engine.memory import Memory
from engine.models.guidance import Guidance
from engine.models.loading import LoadedModel, load_model
from engine.models.pipeline import LatentPipeline
from engine.probe import ADAPTER_STEP, FULL_STEP, planned_time, spoken, step_seconds
from engine.run.events import Event, LogLine, PhaseFinished
from engine.settings import HardwareSettings
from engine.training.states import Batch
from engine.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def sd15() -> LoadedModel:
    return load_model(Path(__file__).parents[1] / "fixtures" / "sd15", steps=4)


@pytest.fixture
def configured() -> Callable[..., DiffusionOptimizationConfig]:
    def make(**sections: Any) -> DiffusionOptimizationConfig:
        content = {
            "model_path": "sd15",
            "target_steps": 2,
            "optimization_stages": 1,
            "original": {"steps": 4},
            "data": {"prompt_count": 8},
            "training": {"iterations": [2], "trajectories": 8, "batch_size": 2},
        }
        return config_from_dict(content | sections, "test")

    return make


class Heard(list[Event]):
    """Everything that was said, in order."""


def run_of(
    sd15: LoadedModel, config: DiffusionOptimizationConfig, folder: Path, heard: Heard | None = None
) -> RunContext:
    pipeline = pipeline_of(sd15)
    hooks = Hooks(emit=(heard if heard is not None else Heard()).append, memory=Memory(folder))
    hardware = HardwareSettings(compile=False, evaluation_batch_size=8)
    original = as_configured(sd15, pipeline, config)
    return RunContext(config, "test", hooks, hardware, original, pipeline=pipeline)


def test_size_and_guidance_are_the_settings_or_the_familys_own(
    sd15: LoadedModel, configured: Callable[..., DiffusionOptimizationConfig]
) -> None:
    pipeline = pipeline_of(sd15)
    plain = as_configured(sd15, pipeline, configured()).model
    assert plain.guidance == Guidance(7.5)
    assert plain.sample_shape == (8, 8, 4)
    assert plain.evaluations == 8
    assert plain.student().evaluations == 4
    wished = configured(data={"height": 32, "width": 96}, guidance={"scale": 3.0, "rescale": 0.7})
    other = as_configured(sd15, pipeline, wished).model
    assert other.guidance == Guidance(3.0, 0.7)
    assert other.sample_shape == (4, 12, 4)
    unguided = as_configured(sd15, pipeline, configured(guidance={"scale": 1.0})).model
    assert unguided.guidance is None
    with pytest.raises(ConfigError, match=r"data.width is 60; wanted a multiple of 8"):
        as_configured(sd15, pipeline, configured(data={"width": 60}))


def test_guidance_of_a_model_without_prompts_is_refused(
    class_conditional: Path, configured: Callable[..., DiffusionOptimizationConfig]
) -> None:
    original = load_model(class_conditional, steps=4)
    assert pipeline_of(original) is None
    assert as_configured(original, None, configured()) is original
    with pytest.raises(ConfigError, match=r"guidance.scale is 4, but sd15 reads no prompts"):
        as_configured(original, None, configured(guidance={"scale": 4.0}))


def test_embeddings_are_made_once_for_their_inputs(
    sd15: LoadedModel,
    configured: Callable[..., DiffusionOptimizationConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets = condition_sets(run_of(sd15, configured(), tmp_path))
    assert [len(part) for part in (sets.train, sets.select, sets.final)] == [6, 1, 1]
    table = sets.train.tables["encoder_hidden_states"]
    assert table.shape[0] == 8
    assert sets.train.tables["uncond_encoder_hidden_states"].shape[0] == 1
    first = sets.train.repeated(9)[6:8].to_condition()
    np.testing.assert_array_equal(first["encoder_hidden_states"][0], sets.train.values(
        "encoder_hidden_states")[0])  # fmt: skip

    other = configured(guidance={"negative_prompt": "a blurred picture"})
    calls = []
    encode = LatentPipeline.encode
    monkeypatch.setattr(
        LatentPipeline, "encode", lambda self, *a, **k: calls.append(a) or encode(self, *a, **k)
    )
    again = condition_sets(run_of(sd15, configured(), tmp_path))
    assert calls == []
    assert again.final.digest() == sets.final.digest()
    led = condition_sets(run_of(sd15, other, tmp_path)).train.tables
    assert calls
    assert not np.array_equal(
        led["uncond_encoder_hidden_states"], sets.train.tables["uncond_encoder_hidden_states"]
    )


def test_an_embedding_with_nan_in_a_row_of_padding_is_refused(
    sd15: LoadedModel,
    configured: Callable[..., DiffusionOptimizationConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = LatentPipeline.encode

    def broken(self: LatentPipeline, prompts: list[str], **size: Any) -> dict[str, mx.array]:
        condition = encode(self, prompts, **size)
        states = np.array(condition["encoder_hidden_states"])
        states[-1, -1, 3] = np.nan
        return condition | {"encoder_hidden_states": mx.array(states)}

    monkeypatch.setattr(LatentPipeline, "encode", broken)
    with pytest.raises(DataError, match=r"the embedding of '.*' is not finite"):
        condition_sets(run_of(sd15, configured(), tmp_path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "tokenizer" / "merges.txt").unlink(), "tokenizer: neither vocab.json"),
        (lambda f: (f / "tokenizer" / "vocab.json").write_text('{"a": 99999}'), "merge 1 is"),
        (lambda f: halve(f / "vae" / "diffusion_pytorch_model.safetensors"), "not a whole"),
        (lambda f: halve(f / "text_encoder" / "model.safetensors"), "not a whole"),
        (lambda f: swap(f / "vae", f / "unet"), "the weights do not fit config.json"),
    ],
)
def test_what_stands_around_the_network_is_looked_at_before_a_run_begins(
    damage: Callable[[Path], object],
    message: str,
    configured: Callable[..., DiffusionOptimizationConfig],
    tmp_path: Path,
) -> None:
    source = Path(__file__).parents[1] / "fixtures" / "sd15"
    folder = Path(shutil.copytree(source, tmp_path / "model"))
    damage(folder)
    loaded = load_model(folder, steps=4)
    with pytest.raises(CheckpointError, match=message):
        check_data(loaded, pipeline_of(loaded), configured())


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap(part: Path, other: Path) -> None:
    name = "diffusion_pytorch_model.safetensors"
    shutil.copy(other / name, part / name)


def test_too_many_files_that_are_no_images_are_refused_by_their_headers(
    sd15: LoadedModel,
    configured: Callable[..., DiffusionOptimizationConfig],
    captioned: Path,
) -> None:
    config = configured(data={"images": str(captioned)}, training={"states": "data"})
    (captioned / "03.png").write_bytes(b"no picture")
    check_data(sd15, pipeline_of(sd15), config)
    (captioned / "04.png").write_bytes(b"no picture either")
    with pytest.raises(DataError, match=r"2 of 12 images in .* cannot be decoded, the first 03"):
        check_data(sd15, pipeline_of(sd15), config)


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(12):
        color = (20 * i, 255 - 20 * i, 128)
        Image.new("RGB", (70, 64), color).save(folder / f"{i:02}.png")
        (folder / f"{i:02}.txt").write_text(f"a wall of colour {i // 2}")
    return folder


def test_latents_of_captioned_images_go_on_where_they_were_left(
    sd15: LoadedModel,
    configured: Callable[..., DiffusionOptimizationConfig],
    captioned: Path,
    tmp_path: Path,
) -> None:
    """One image that does not decode is left out and said so."""
    (captioned / "05.png").write_bytes(b"no picture")
    config = configured(data={"images": str(captioned)}, training={"states": "data"})
    check_data(sd15, pipeline_of(sd15), config)
    heard = Heard()
    latents, conditions = data_latents(run_of(sd15, config, tmp_path / "whole", heard))
    assert latents.shape == (11, 8, 8, 4)
    assert len(conditions) == 11
    assert np.unique(conditions.rows).tolist() == [0, 1, 2, 3, 4, 5]
    assert any(
        isinstance(event, LogLine) and "1 of 12 images cannot be decoded" in event.text
        for event in heard
    )

    class Killed(Exception):
        pass

    def die(_: object) -> None:
        raise Killed

    broken = run_of(sd15, config, tmp_path / "broken")
    object.__setattr__(broken.hooks, "between_steps", die)
    with pytest.raises(Killed):
        data_latents(broken)
    again, _ = data_latents(run_of(sd15, config, tmp_path / "broken"))
    np.testing.assert_array_equal(again, latents)

    (captioned / "07.png").write_bytes(b"no picture either")
    with pytest.raises(DataError, match=r"2 of 12 images in .* cannot be decoded"):
        data_latents(run_of(sd15, config, tmp_path / "whole"))


def test_the_time_to_a_verdict_is_planned_once_and_said(
    sd15: LoadedModel,
    configured: Callable[..., DiffusionOptimizationConfig],
    tmp_path: Path,
) -> None:
    heard = Heard()
    run = run_of(sd15, configured(), tmp_path, heard)
    run.conditions = condition_sets(run)
    planned = planned_time(run)
    told = [e for e in heard if isinstance(e, PhaseFinished) and e.phase == "probe"]
    assert [event.summary for event in told] == [planned.summary]
    assert planned.total == pytest.approx(
        planned.trajectories
        + planned.teacher_samples
        + planned.ranking
        + planned.training
        + planned.looks
    )
    again = planned_time(run_of(sd15, configured(), tmp_path))
    assert again == planned


@pytest.mark.parametrize(("is_adapted", "forwards"), [(False, FULL_STEP), (True, ADAPTER_STEP)])
def test_a_step_that_takes_long_is_not_tried_but_guessed_from_forwards(
    sd15: LoadedModel,
    configured: Callable[..., DiffusionOptimizationConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_adapted: bool,
    forwards: float,
) -> None:
    monkeypatch.setattr("engine.probe._LONGEST_TRIED_SECONDS", 0.0)
    run = run_of(sd15, configured(lora={"enabled": is_adapted}), tmp_path)
    run.conditions = condition_sets(run)
    planned = planned_time(run)
    # a guided sample of 4 steps is 8 times a student's forward; 2 steps of 2 samples
    single = planned.trajectories / (8 * 4 * 2)
    assert planned.training == pytest.approx(2 * 2 * forwards * single)


@pytest.mark.parametrize("is_adapted", [False, True])
def test_a_step_that_is_tried_is_one_of_the_runs_own_and_changes_no_weight(
    sd15: LoadedModel,
    configured: Callable[..., DiffusionOptimizationConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_adapted: bool,
) -> None:
    taken: list[tuple[int, int]] = []
    step = Trainer.step

    def counted(trainer: Trainer, batch: Batch) -> tuple[mx.array, mx.array]:
        found = step(trainer, batch)
        taken.append((len(batch.z), len(trainer.snapshot())))
        return found

    monkeypatch.setattr(Trainer, "step", counted)
    run = run_of(sd15, configured(lora={"enabled": is_adapted, "rank": 2}), tmp_path)
    run.conditions = condition_sets(run)
    network = run.base_model.network
    before = {key: np.array(value) for key, value in tree_flatten(network.parameters())}
    assert step_seconds(run, single=0.0) > 0
    for key, value in tree_flatten(network.parameters()):
        np.testing.assert_array_equal(value, before[key])
    assert len(taken) == 4
    student = run.base_model.student(lora=run.config.lora if is_adapted else None)
    trained = len(tree_flatten(student.network.trainable_parameters()))
    # weights, average, two moments; the optimizer's step and rate
    assert set(taken) == {(2, 4 * trained + 2)}


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_are_spoken_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
