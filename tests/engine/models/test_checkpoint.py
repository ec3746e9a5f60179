"""Folders in and out: every layout loads, and a round trip changes nothing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from engine.errors import CheckpointError
from engine.models.checkpoint import (
    load_checkpoint,
    network_tensors,
    resolve_model_path,
    save_network,
)
from engine.models.folder import CONFIG_NAME, WEIGHTS_NAME

PIPELINE, FLAT, SHARDED, HALF = "adm_pipeline", "ddpm_flat", "learned_sharded", "middleless_half"
HALF_NAME = WEIGHTS_NAME.replace(".safetensors", ".fp16.safetensors")


def test_a_pipeline_folder_gives_all_its_json_files(checkpoint_of: Callable) -> None:
    checkpoint = checkpoint_of(PIPELINE)
    assert checkpoint.family == "unet2d"
    assert checkpoint.scheduler_config["beta_schedule"] == "squaredcos_cap_v2"
    assert checkpoint.model_index["_class_name"] == "DDIMPipeline"
    assert checkpoint.network_config["num_class_embeds"] == 5


def test_the_flat_layout_gives_all_its_json_files(checkpoint_of: Callable) -> None:
    checkpoint = checkpoint_of(FLAT)
    assert checkpoint.scheduler_config["variance_type"] == "fixed_large"
    assert checkpoint.model_index["_class_name"] == "DDPMPipeline"


@pytest.mark.parametrize("name", [SHARDED, HALF])
def test_a_bare_network_has_no_scheduler(name: str, checkpoint_of: Callable) -> None:
    assert checkpoint_of(name).scheduler_config == {}
    assert checkpoint_of(name).model_index == {}


def test_the_unet_folder_of_a_pipeline_loads_alone(fixtures: Path, checkpoint_of: Callable) -> None:
    alone = load_checkpoint(fixtures / PIPELINE / "unet")
    assert alone.weights_sha256 == checkpoint_of(PIPELINE).weights_sha256
    assert alone.scheduler_config == {}


def test_a_path_may_be_text(fixtures: Path) -> None:
    assert load_checkpoint(str(fixtures / FLAT)).path == fixtures / FLAT


@pytest.mark.parametrize(("name", "file"), [(FLAT, WEIGHTS_NAME), (HALF, HALF_NAME)])
def test_the_hash_is_that_of_the_weight_file(
    name: str, file: str, fixtures: Path, checkpoint_of: Callable
) -> None:
    wanted = hashlib.sha256((fixtures / name / file).read_bytes()).hexdigest()
    assert checkpoint_of(name).weights_sha256 == wanted


def test_the_hash_of_shards_is_that_of_their_concatenation(
    fixtures: Path, checkpoint_of: Callable
) -> None:
    shards = sorted((fixtures / SHARDED).glob("*-of-*.safetensors"))
    assert len(shards) > 1
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in shards)).hexdigest()
    assert checkpoint_of(SHARDED).weights_sha256 == wanted


def test_half_precision_becomes_float32(checkpoint_of: Callable, fixtures: Path) -> None:
    on_disk = load_file(fixtures / HALF / HALF_NAME)
    assert {array.dtype for array in on_disk.values()} == {np.dtype(np.float16)}
    tensors = network_tensors(checkpoint_of(HALF).network)
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    assert all(np.array_equal(tensors[key], on_disk[key]) for key in on_disk)


def test_bfloat16_becomes_float32(copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    exact = mx.load(str(folder / WEIGHTS_NAME))
    assert isinstance(exact, dict)
    rounded = {key: array.astype(mx.bfloat16) for key, array in exact.items()}
    mx.save_safetensors(str(folder / WEIGHTS_NAME), rounded)
    found = network_tensors(load_checkpoint(folder).network)
    assert np.array_equal(
        found["conv_in.weight"], np.array(rounded["conv_in.weight"].astype(mx.float32))
    )


def test_full_precision_is_preferred_to_a_variant(copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    save_file({"other": np.zeros(1, np.float16)}, folder / HALF_NAME)
    load_checkpoint(folder)


def test_unknown_config_keys_are_kept(copy_of: Callable, edit_json: Callable) -> None:
    folder = copy_of(FLAT)
    edit_json(folder / CONFIG_NAME, trained_by="someone")
    assert load_checkpoint(folder).network_config["trained_by"] == "someone"


def test_linear_weights_stored_as_convolutions_load(
    copy_of: Callable, checkpoint_of: Callable, rewrite: Callable
) -> None:
    """Early attention layers were 1x1 convolutions."""
    folder = copy_of(FLAT)

    def reshape(tensors: dict[str, np.ndarray]) -> None:
        for key in [key for key in tensors if key.endswith("query.weight")]:
            tensors[key] = tensors[key][:, :, None, None]

    rewrite(folder / WEIGHTS_NAME, reshape)
    found = network_tensors(load_checkpoint(folder).network)
    wanted = network_tensors(checkpoint_of(FLAT).network)
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)


def test_bundled_names_the_folder_inside_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "assets" / "models" / "digits").mkdir(parents=True)
    monkeypatch.setattr("engine.models.folder.resources.files", lambda package: tmp_path)
    assert resolve_model_path("bundled:digits") == tmp_path / "assets" / "models" / "digits"
    with pytest.raises(CheckpointError, match=r"bundled:nope is not .* There are: bundled:digits"):
        resolve_model_path("bundled:nope")


@pytest.mark.parametrize("name", ["bundled:", "bundled:../models", "bundled:a/b"])
def test_bundled_never_leaves_the_package(name: str) -> None:
    with pytest.raises(CheckpointError, match="is not a bundled model"):
        resolve_model_path(name)


def test_the_home_folder_is_expanded() -> None:
    assert resolve_model_path("~/model") == Path.home() / "model"


@pytest.mark.parametrize("name", [PIPELINE, FLAT, SHARDED, HALF, "ddpm_cifar"])
def test_load_save_load_gives_identical_bytes(
    name: str, checkpoint_of: Callable, tmp_path: Path
) -> None:
    first = checkpoint_of(name)
    save_network(first.network, tmp_path / "a", first.network_config)
    second = load_checkpoint(tmp_path / "a")
    save_network(second.network, tmp_path / "b", second.network_config)
    for file in (WEIGHTS_NAME, CONFIG_NAME):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert second.network_config == first.network_config


def test_a_saved_network_equals_the_file_that_diffusers_wrote(
    checkpoint_of: Callable, fixtures: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(PIPELINE)
    save_network(checkpoint.network, tmp_path, checkpoint.network_config)
    theirs = fixtures / PIPELINE / "unet"
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == (theirs / WEIGHTS_NAME).read_bytes()
    ours = json.loads((tmp_path / CONFIG_NAME).read_text())
    assert ours == json.loads((theirs / CONFIG_NAME).read_text())


def test_saved_weights_say_their_format_and_can_be_read_by_others(
    checkpoint_of: Callable, tmp_path: Path
) -> None:
    save_network(checkpoint_of(FLAT).network, tmp_path, checkpoint_of(FLAT).network_config)
    with safe_open(tmp_path / WEIGHTS_NAME, framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG_NAME, WEIGHTS_NAME}


@pytest.mark.parametrize("name", [PIPELINE, FLAT, "sd15", "sdxl"])
def test_saved_files_are_byte_by_byte_those_of_the_library(
    name: str, checkpoint_of: Callable, tmp_path: Path
) -> None:
    """Which would hold everything twice more while it writes."""
    network = checkpoint_of(name).network
    save_network(network, tmp_path, {})
    save_file(network_tensors(network), tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == (tmp_path / "theirs").read_bytes()


def test_saved_tensors_are_contiguous_float32(checkpoint_of: Callable) -> None:
    for array in network_tensors(checkpoint_of(PIPELINE).network).values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
