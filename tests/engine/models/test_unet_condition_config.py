"""What a prompt-reading UNet's config.json may say, and what is refused by key."""

from typing import Any

import pytest

from engine.errors import CheckpointError
from engine.models.unet_condition_config import UNet2DConditionConfig

SOURCE = "model/unet/config.json"


def read(**config: Any) -> UNet2DConditionConfig:
    return UNet2DConditionConfig.from_dict(config, source=SOURCE)


def test_an_empty_config_is_diffusers_default() -> None:
    config = read()
    assert config == UNet2DConditionConfig()
    assert config.embed_dim == 1280
    assert config.reads_text
    assert not config.has_text_time


def test_one_number_stands_for_every_level() -> None:
    config = read(
        block_out_channels=[32, 64],
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        layers_per_block=1,
        attention_head_dim=4,
    )
    assert config.layers_per_block == (1, 1)
    assert config.attention_head_dim == (4, 4)
    assert config.cross_attention_dim == (1280, 1280)
    assert config.depths_down(0) == (1,)
    assert config.depths_up(0) == (1, 1)


def test_what_sd_and_sdxl_write_beside_the_network_is_left_alone() -> None:
    assert read(_diffusers_version="0.6.0", addition_embed_type_num_heads=64, note="x") == read()


def test_null_is_the_default_where_none_means_nothing() -> None:
    assert read(upcast_attention=None, dual_cross_attention=None, norm_eps=None) == read()


def test_depths_turn_round_on_the_way_up() -> None:
    config = read(transformer_layers_per_block=[1, 2, 3, 10])
    assert config.depths_down(1) == (2, 2)
    assert config.depths_up(0) == (10, 10, 10)
    assert config.depth_middle == 10


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("_class_name", "UNet3DConditionModel", "UNet2DConditionModel is wanted"),
        ("only_cross_attention", True, "but False is wanted. Other values are not supported"),
        ("only_cross_attention", [True, False, False, False], "but False is wanted"),
        ("mid_block_only_cross_attention", True, "False is wanted"),
        ("dual_cross_attention", True, "False is wanted"),
        ("encoder_hid_dim", 768, "None is wanted"),
        ("encoder_hid_dim_type", "image_proj", "None is wanted"),
        ("num_attention_heads", 8, "None is wanted"),
        ("resnet_skip_time_act", True, "False is wanted"),
        ("resnet_out_scale_factor", 1.4, "1.0 is wanted"),
        ("time_embedding_type", "fourier", "'positional' is wanted"),
        ("time_embedding_act_fn", "silu", "None is wanted"),
        ("timestep_post_act", "silu", "None is wanted"),
        ("class_embeddings_concat", True, "False is wanted"),
        ("cross_attention_norm", "layer_norm", "None is wanted"),
        ("attention_type", "gated", "'default' is wanted"),
        ("addition_embed_type", "image", "one of text_time"),
        ("addition_embed_type", "text_time", "addition_time_embed_dim is None, but a whole"),
        ("class_embed_type", "projection", "projection_class_embeddings_input_dim is None"),
        ("down_block_types", ["SimpleCrossAttnDownBlock2D"] * 4, "CrossAttnDownBlock2D, DownBlock"),
        ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn", "one of UNetMidBlock2DCrossAttn"),
        ("up_block_types", ["UpBlock2D"] * 3, "one entry for each of the 4 block_out_channels"),
        ("attention_head_dim", [5, 10, 20], "one entry for each of the 4"),
        ("attention_head_dim", 321, "at most 320 heads"),
        ("layers_per_block", [2, 2], "one entry for each of the 4"),
        ("cross_attention_dim", [768, 768, 1024, 1024], "one width for all levels"),
        ("transformer_layers_per_block", [1, 2], "one entry for each of the 4"),
        ("transformer_layers_per_block", [[1, 1], 1, 1, 1], "the depths on the way up"),
        ("transformer_layers_per_block", 1.5, "a whole number, or for each level"),
        ("reverse_transformer_layers_per_block", [[1, 1], 1, 1, 1], "3 depths in entry 1"),
        ("norm_num_groups", 7, "a divisor of all block_out_channels"),
        ("conv_in_kernel", 2, "an odd whole number"),
        ("freq_shift", 160, "a number below 160"),
        ("sample_size", "64", "a whole number, or a list of height and width"),
    ],
)
def test_what_is_not_supported_is_refused_by_key(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(**{key: value})
    message = str(caught.value)
    assert message.startswith(f"{SOURCE}: ")
    assert key in message or "is None" in message
    assert wanted in message
