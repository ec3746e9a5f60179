"""The layers that a config implies are those that the weights of its model have."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from engine.errors import CheckpointError
from engine.unet_layers import LORA_TARGETS, unet_layers

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = sorted(
    path.parent
    for path in FIXTURES.rglob("config.json")
    if path.parent.name == "unet" or (path.parent.parent == FIXTURES)
)
# The counts are those that diffusers gives for the published configs.
SD15: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
    "sample_size": 64,
}
SD21 = SD15 | {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SDXL = SD21 | {
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
}


@pytest.mark.parametrize(
    ("config", "count"), [(SD15, 859_520_964), (SD21, 865_910_724), (SDXL, 2_567_463_684)]
)
def test_the_published_networks_have_the_published_sizes(
    config: dict[str, Any], count: int
) -> None:
    assert sum(layer.parameters for layer in unet_layers(config)) == count


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(FIXTURES).as_posix())
def test_layers_are_those_of_the_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["_class_name"] not in ("UNet2DModel", "UNet2DConditionModel"):
        pytest.skip("not a UNet")
    sizes: dict[str, int] = {}
    for path in folder.glob("diffusion_pytorch_model*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118
                layer = key.rpartition(".")[0]
                size = math.prod(file.get_slice(key).get_shape())
                sizes[layer] = sizes.get(layer, 0) + size
    old_names = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    for old, new in old_names.items():
        sizes = {
            key.removesuffix(old) + new if key.endswith(f".{old}") else key: size
            for key, size in sizes.items()
        }
    layers = {layer.path: layer.parameters for layer in unet_layers(config) if layer.parameters}
    assert layers == sizes


def test_the_targets_of_a_text_network_are_the_usual_ones() -> None:
    """Those that diffusers' script for LCM-LoRA names."""
    layers = unet_layers(SD15)
    found = {
        name: {layer.path.split(".", 4)[-1] for layer in layers if layer.is_target([name])}
        for name in LORA_TARGETS
    }
    ends = {name: {path.rsplit(".", 1)[-1] for path in paths} for name, paths in found.items()}
    assert ends["attention"] == {"to_q", "to_k", "to_v", "0"}
    assert ends["feed_forward"] == {"proj", "2", "proj_in", "proj_out"}
    assert ends["convolutions"] == {"conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv"}
    adapters = [layer.adapter_parameters(64) for layer in layers if layer.is_target(LORA_TARGETS)]
    assert sum(adapters) == 67_252_224  # what peft counts at rank 64


def test_sizes_follow_the_sample() -> None:
    by_path = {layer.path: layer for layer in unet_layers(SD15, 48, 64)}
    assert by_path["conv_in"].positions == 48 * 64
    down = by_path["down_blocks.0.downsamplers.0.conv"]
    assert (down.positions_in, down.positions) == (48 * 64, 24 * 32)
    attention = by_path["mid_block.attentions.0.transformer_blocks.0.attn2.scores"]
    assert (attention.inputs, attention.positions, attention.outputs) == (8, 6 * 8, 77)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "SD3Transformer2DModel"}, "wanted UNet2DModel or UNet2DConditionModel"),
        (SD15 | {"block_out_channels": [8, 16]}, "contradicts itself"),
        ({"time_embedding_type": "learned"}, "contradicts itself"),
    ],
)
def test_what_is_no_such_network_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        unet_layers(config)
