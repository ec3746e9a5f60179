"""What is wrong with a folder is one line that names the file, and never a traceback."""

import io
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.errors import CheckpointError, DiskFull
from engine.models.checkpoint import load_checkpoint, save_network
from engine.models.folder import CONFIG_NAME, WEIGHTS_NAME

FLAT, SHARDED = "ddpm_flat", "learned_sharded"
INDEX_NAME = f"{WEIGHTS_NAME}.index.json"


def refusal(path: Path | str) -> str:
    """Load what cannot be loaded and return the message, which must be one line."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert "nowhere: there is no such folder" in message
    assert "OWNER/NAME" in message


def test_a_single_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "is a file, but a diffusers folder is wanted" in refusal(tmp_path / "model.safetensors")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    assert "no config.json was found here or in unet/" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name", ["diffusion_pytorch_model.bin", "model.ckpt", "model.pt", "model.pth"]
)
def test_pickles_are_refused_unopened(name: str, copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    (folder / WEIGHTS_NAME).rename(folder / name)
    message = refusal(folder)
    assert f"the weights are in {name}, a pickle" in message
    assert "Only safetensors are read" in message
    assert "safe_serialization=True" in message


def test_a_folder_without_weights_is_refused(copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    (folder / WEIGHTS_NAME).unlink()
    assert f"there is no {WEIGHTS_NAME} beside config.json" in refusal(folder)


def test_weights_of_another_name_are_refused(copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    (folder / WEIGHTS_NAME).rename(folder / "ema.safetensors")
    assert f"found ema.safetensors, but {WEIGHTS_NAME}" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 6, 200, -1])
def test_truncated_weights_are_refused(kept: int, copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    content = (folder / WEIGHTS_NAME).read_bytes()
    (folder / WEIGHTS_NAME).write_bytes(content[:kept])
    message = refusal(folder)
    assert f"{WEIGHTS_NAME} is not a whole safetensors file: fetch it again" in message


def test_a_pointer_in_place_of_weights_is_refused(copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    (folder / WEIGHTS_NAME).write_text("version 1\noid sha256:0\nsize 1\n")
    assert "is a Git LFS pointer, not the weights themselves: `git lfs pull`" in refusal(folder)


def test_a_missing_shard_is_refused(copy_of: Callable) -> None:
    folder = copy_of(SHARDED)
    gone = sorted(folder.glob("*-of-*.safetensors"))[1]
    gone.unlink()
    message = refusal(folder)
    assert "shards are missing" in message
    assert gone.name in message


@pytest.mark.parametrize(
    ("weight_map", "wanted"),
    [
        (None, "weight_map is not there"),
        ({}, "weight_map is empty"),
        ({"conv_in.weight": "absent.safetensors"}, "1 of 1 shards are missing: absent.safetensors"),
        ({"conv_in.weight": "../x.safetensors"}, "weight_map names '../x.safetensors'"),
        ({"conv_in.weight": "model.bin"}, "weight_map names 'model.bin'"),
        ({"conv_in.weight": 3}, "weight_map names '3'"),
    ],
)
def test_a_wrong_index_is_refused(
    weight_map: Any, wanted: str, copy_of: Callable, edit_json: Callable
) -> None:
    folder = copy_of(SHARDED)
    edit_json(folder / INDEX_NAME, weight_map=weight_map)
    message = refusal(folder)
    assert INDEX_NAME in message
    assert wanted in message


@pytest.mark.parametrize("file", [CONFIG_NAME, "scheduler_config.json", "model_index.json"])
@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"\xff\xfe{", "is not JSON"),
        (b"[1, 2]", "holds a JSON list, but an object is wanted"),
    ],
)
def test_broken_json_is_refused(file: str, content: bytes, wanted: str, copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    (folder / file).write_bytes(content)
    message = refusal(folder)
    assert f"{file} {wanted}" in message


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            {
                "_class_name": "AnyPipeline",
                "unet": ["diffusers", "UNet3DConditionModel"],
            },
            "AnyPipeline is not supported yet. .* unet: UNet3DConditionModel",
        ),
        (
            {
                "_class_name": "StableDiffusionUpscalePipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "low_res_scheduler": ["diffusers", "DDPMScheduler"],
            },
            r"it needs low_res_scheduler \(DDPMScheduler\)\. Choose another model",
        ),
        (
            {
                "_class_name": "StableDiffusionPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderTiny"],
            },
            r"it needs vae \(AutoencoderTiny\)",
        ),
        ({"unet": None}, "DDPMPipeline is not supported yet. .* components are: scheduler"),
        (
            {"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]},
            r"LDMPipeline is not supported yet: .* it needs vqvae \(VQModel\)\. Choose",
        ),
    ],
)
def test_other_pipelines_are_refused(
    changes: dict[str, Any], wanted: str, copy_of: Callable, edit_json: Callable
) -> None:
    folder = copy_of(FLAT)
    edit_json(folder / "model_index.json", **changes)
    with pytest.raises(CheckpointError, match=wanted):
        load_checkpoint(folder)


def test_absent_optional_components_are_no_obstacle(copy_of: Callable, edit_json: Callable) -> None:
    folder = copy_of(FLAT)
    edit_json(folder / "model_index.json", safety_checker=[None, None], vae=None)
    load_checkpoint(folder)


def test_an_unknown_block_is_refused_by_key(copy_of: Callable, edit_json: Callable) -> None:
    folder = copy_of(FLAT)
    edit_json(folder / CONFIG_NAME, down_block_types=["DownBlock2D", "KDownBlock2D"])
    message = refusal(folder)
    assert f"{CONFIG_NAME}: down_block_types is ['DownBlock2D', 'KDownBlock2D']" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(
    value: float, copy_of: Callable, rewrite: Callable
) -> None:
    folder = copy_of(FLAT)
    rewrite(folder / WEIGHTS_NAME, lambda tensors: tensors["conv_in.weight"].put(3, value))
    assert "1 weights hold NaN or infinity (conv_in.weight)" in refusal(folder)


def test_missing_unexpected_and_misshapen_keys_are_named(
    copy_of: Callable, rewrite: Callable
) -> None:
    folder = copy_of(FLAT)

    def damage(tensors: dict[str, np.ndarray]) -> None:
        del tensors["conv_out.bias"]
        tensors["stray"] = np.zeros(1, np.float32)
        tensors["conv_in.weight"] = np.zeros((8, 3, 1, 1), np.float32)

    rewrite(folder / WEIGHTS_NAME, damage)
    message = refusal(folder)
    assert "the weights do not fit config.json" in message
    assert "1 keys are missing (conv_out.bias)" in message
    assert "1 keys are unexpected (stray)" in message
    assert "1 have another shape (conv_in.weight [8, 3, 1, 1] instead of [8, 3, 3, 3])" in message


def test_at_most_five_keys_are_listed(copy_of: Callable) -> None:
    folder = copy_of(FLAT)
    (folder / WEIGHTS_NAME).unlink()
    save_file({"stray": np.zeros(1, np.float32)}, folder / WEIGHTS_NAME)
    message = refusal(folder)
    assert message.count("conv") <= 7
    assert ", ...)" in message


def test_an_old_and_a_new_name_for_one_weight_are_refused(
    copy_of: Callable, rewrite: Callable
) -> None:
    folder = copy_of(FLAT)
    old, new = "mid_block.attentions.0.query.bias", "mid_block.attentions.0.to_q.bias"
    rewrite(folder / WEIGHTS_NAME, lambda tensors: tensors.update({new: tensors[old]}))
    assert f"{new} is a second {new}, after {old}" in refusal(folder)


@pytest.mark.parametrize("dtype", [np.float64, np.int8])
def test_weights_of_other_types_are_refused(
    dtype: type, copy_of: Callable, rewrite: Callable
) -> None:
    folder = copy_of(FLAT)
    change = {"conv_in.bias": np.zeros(8, dtype)}
    rewrite(folder / WEIGHTS_NAME, lambda tensors: tensors.update(change))
    assert "conv_in.bias is stored as " in refusal(folder)
    assert "but one of F32, F16, BF16 is wanted" in refusal(folder)


@pytest.mark.parametrize("file", [CONFIG_NAME, WEIGHTS_NAME])
def test_unreadable_files_are_refused(
    file: str, copy_of: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(FLAT)
    plain_open = io.open

    def refuse_one(path: str | Path, *arguments: Any, **options: Any) -> Any:
        if Path(path).name == file:
            raise PermissionError(13, "Permission denied", str(path))
        return plain_open(path, *arguments, **options)

    monkeypatch.setattr(io, "open", refuse_one)  # what pathlib opens files with
    assert f"{file} cannot be read: Permission denied" in refusal(folder)


def test_saving_into_a_file_is_refused(checkpoint_of: Callable, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(CheckpointError, match="taken cannot be written"):
        save_network(checkpoint_of(FLAT).network, tmp_path / "taken", {})


def test_saving_without_room_is_no_mistake_of_the_user(
    checkpoint_of: Callable, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(DiskFull, match="Make room"):
            save_network(checkpoint_of(FLAT).network, tmp_path / "unet", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "unet").iterdir()] == ["config.json"]
