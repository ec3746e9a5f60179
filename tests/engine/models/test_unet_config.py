"""What a config.json may say, and what is refused by key."""

from typing import Any

import pytest

from engine.errors import CheckpointError
from engine.models.unet_config import UNet2DConfig

SOURCE = "model/unet/config.json"


def read(**config: Any) -> UNet2DConfig:
    return UNet2DConfig.from_dict(config, source=SOURCE)


def test_an_empty_config_is_diffusers_default() -> None:
    assert read() == UNet2DConfig()
    assert read().embed_dim == 896
    assert not read().is_class_conditional


def test_null_is_the_default_where_none_means_nothing() -> None:
    assert read(norm_eps=None, layers_per_block=None, downsample_type=None) == UNet2DConfig()


def test_null_keeps_its_meaning_where_it_has_one() -> None:
    config = read(attention_head_dim=None, mid_block_type=None)
    assert config.attention_head_dim is None
    assert config.mid_block_type is None


def test_keys_of_others_are_left_alone() -> None:
    assert read(_class_name="UNet2DModel", _diffusers_version="0.0.4", note="x") == UNet2DConfig()


def test_the_prefix_of_early_releases_is_dropped() -> None:
    config = read(
        block_out_channels=[32],
        down_block_types=["UNetResDownBlock2D"],
        up_block_types=["UNetResUpBlock2D"],
    )
    assert config.down_block_types == ("DownBlock2D",)
    assert config.up_block_types == ("UpBlock2D",)


def test_classes_come_by_number_or_by_type() -> None:
    assert read(num_class_embeds=10).is_class_conditional
    assert read(class_embed_type="timestep").is_class_conditional


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("_class_name", "UNet2DConditionModel", "UNet2DModel is wanted. Other networks are not"),
        ("down_block_types", ["CrossAttnDownBlock2D"], "a list of DownBlock2D, AttnDownBlock2D"),
        ("down_block_types", ["SkipDownBlock2D"], "others are not supported"),
        ("down_block_types", "DownBlock2D", "a list of DownBlock2D"),
        ("down_block_types", ["DownBlock2D"], "one entry for each of the 4 block_out_channels"),
        ("up_block_types", ["UpBlock2D"], "one entry for each of the 4 block_out_channels"),
        ("up_block_types", [3], "a list of UpBlock2D, AttnUpBlock2D"),
        ("mid_block_type", "UNetMidBlock2DCrossAttn", "one of UNetMidBlock2D"),
        ("time_embedding_type", "fourier", "one of positional, learned"),
        ("time_embedding_type", "learned", "num_train_timesteps is None, but the number of rows"),
        ("resnet_time_scale_shift", "ada_group", "one of default, scale_shift"),
        ("class_embed_type", "projection", "one of timestep, identity"),
        ("act_fn", "leaky", "one of silu, swish, mish, gelu, relu"),
        ("downsample_type", "fir", "one of conv, resnet"),
        ("downsample_padding", 2, "0 or 1"),
        ("downsample_padding", True, "0 or 1"),
        ("layers_per_block", 0, "a whole number from 1 to 1000000"),
        ("layers_per_block", True, "a whole number from 1"),
        ("in_channels", 3.0, "a whole number from 1"),
        ("in_channels", 2**40, "a whole number from 1"),
        ("block_out_channels", [], "a list of whole numbers from 1"),
        ("block_out_channels", [32, "64"], "a list of whole numbers from 1"),
        ("block_out_channels", [32, 64, 96, 100], "norm_num_groups is 32, but a divisor of all"),
        ("attn_norm_num_groups", 100, "a divisor of the last of block_out_channels, 896,"),
        ("attention_head_dim", 449, "at most the 448 channels of the narrowest level"),
        ("freq_shift", 112, "a number below 112"),
        ("freq_shift", "1", "a number"),
        ("norm_eps", 0, "a number above 0"),
        ("norm_eps", float("nan"), "a number above 0"),
        ("center_input_sample", 0, "true or false"),
        ("dropout", 1, "a number from 0 up to 1"),
        ("sample_size", [8, 8, 8], "a list of height and width"),
    ],
)
def test_what_is_not_supported_is_refused_by_key(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(**{key: value})
    message = str(caught.value)
    assert message.startswith(f"{SOURCE}: ")
    assert key in message or "norm_num_groups" in message or "num_train_timesteps" in message
    assert wanted in message
    assert "\n" not in message
