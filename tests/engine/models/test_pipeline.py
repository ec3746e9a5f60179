"""Prompts to conditions and latents to pictures, and folders whose components do not belong."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.errors import CheckpointError, DataError
from engine.models.checkpoint import load_checkpoint
from engine.models.pipeline import LatentPipeline, guidance_embedding

Make = Callable[[str], LatentPipeline]


@pytest.fixture(scope="module")
def pipeline_of(checkpoint_of: Callable) -> Make:
    """Open a fixture's pipeline by name."""
    return lambda name: LatentPipeline(checkpoint_of(name))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        LatentPipeline(load_checkpoint(folder))
    return str(caught.value)


def test_a_prompt_becomes_what_the_network_reads(pipeline_of: Make) -> None:
    condition = pipeline_of("sd15").condition(["a cat", "a dog"], size=(64, 64))
    assert {name: value.shape for name, value in condition.items()} == {
        "encoder_hidden_states": (2, 77, 24),
        "uncond_encoder_hidden_states": (2, 77, 24),
    }
    plain = pipeline_of("sd15").condition(["a cat"], size=(64, 64), is_guided=False)
    assert plain.keys() == {"encoder_hidden_states"}
    name = "encoder_hidden_states"
    assert mx.allclose(plain[name], condition[name][:1], rtol=0, atol=1e-5)


def test_sdxl_is_told_the_whole_prompt_and_the_sizes(pipeline_of: Make) -> None:
    condition = pipeline_of("sdxl").condition(["a cat"], "a dog", size=(64, 96))
    assert {name: value.shape for name, value in condition.items() if "uncond" not in name} == {
        "encoder_hidden_states": (1, 77, 40),
        "text_embeds": (1, 20),
        "time_ids": (1, 6),
    }
    assert condition["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]]
    assert mx.array_equal(condition["time_ids"], condition["uncond_time_ids"])


def test_no_negative_prompt_is_zeros_in_sdxl_unless_its_folder_says_no(
    pipeline_of: Make, copy_of: Callable, edit_json: Callable
) -> None:
    """An empty one that is given is encoded like any other."""
    nothing = pipeline_of("sdxl").condition(["a cat"], size=(64, 64))
    empty = pipeline_of("sdxl").condition(["a cat"], "", size=(64, 64))
    for name in ("uncond_encoder_hidden_states", "uncond_text_embeds"):
        assert not nothing[name].any()
        assert empty[name].any()
    folder = copy_of("sdxl")
    edit_json(folder / "model_index.json", force_zeros_for_empty_prompt=False)
    encoded = LatentPipeline(load_checkpoint(folder)).condition(["a cat"], size=(64, 64))
    assert mx.array_equal(encoded["uncond_text_embeds"], empty["uncond_text_embeds"])


def test_no_negative_prompt_is_the_empty_one_elsewhere(pipeline_of: Make) -> None:
    nothing = pipeline_of("sd15").condition(["a cat"], size=(64, 64))
    empty = pipeline_of("sd15").condition(["a cat"], "", size=(64, 64))
    name = "uncond_encoder_hidden_states"
    assert mx.array_equal(nothing[name], empty[name])


def test_equal_prompts_get_equal_rows_in_any_order_and_number(pipeline_of: Make) -> None:
    """They are encoded once each, a few at a time."""
    pipeline = pipeline_of("sd15")
    prompts = [f"a photo of {number} cats" for number in range(20)]
    rows = pipeline.encode([*prompts, prompts[3], prompts[0]], size=(64, 64))
    states = rows["encoder_hidden_states"]
    assert len(states) == 22
    assert mx.array_equal(states[20], states[3])
    one = pipeline.encode([prompts[17]], size=(64, 64))["encoder_hidden_states"]
    assert mx.allclose(states[17:18], one, atol=1e-5)


def test_a_long_prompt_is_cut_and_said(pipeline_of: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        pipeline_of("sd15").encode(["a " * 100], size=(64, 64))
    assert "25 tokens at the end of a prompt are cut" in caplog.text


def test_pictures_and_latents_have_their_shapes(pipeline_of: Make) -> None:
    pipeline = pipeline_of("sd15")
    assert pipeline.reduction == 8
    pictures = pipeline.pictures(mx.zeros((2, 4, 6, 4)))
    assert pictures.shape == (2, 32, 48, 3)
    assert float(pictures.min()) >= 0
    assert float(pictures.max()) <= 1
    assert pipeline.latents(pictures).shape == (2, 4, 6, 4)


def test_components_are_loaded_when_needed_and_again_after_release(
    copy_of: Callable,
) -> None:
    folder = copy_of("sd15")
    pipeline = LatentPipeline(load_checkpoint(folder))
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    wanted = pipeline.encode(["a cat"], size=(64, 64))  # no autoencoder is needed for that
    with pytest.raises(CheckpointError, match=r"vae: there is no diffusion_pytorch_model"):
        pipeline.pictures(mx.zeros((1, 4, 4, 4)))
    weights.write_bytes(content)
    pipeline.pictures(mx.zeros((1, 4, 4, 4)))
    pipeline.release()
    again = pipeline.encode(["a cat"], size=(64, 64))
    assert mx.array_equal(wanted["encoder_hidden_states"], again["encoder_hidden_states"])


@pytest.mark.parametrize("scale", [1.0, 1.5, 8.5])
def test_a_guidance_scale_is_told_as_diffusers_tells_it(scale: float) -> None:
    """Held against StableDiffusionPipeline.get_guidance_scale_embedding, written out in float64."""
    angle = 1000 * (scale - 1) * np.exp(-np.log(10000) / 3 * np.arange(4))
    wanted = np.concatenate([np.sin(angle), np.cos(angle)])
    found = np.array(guidance_embedding(scale, 8, 2))
    assert found.shape == (2, 8)
    assert np.abs(found - wanted).max() < 1e-3  # float32 of angles up to 7500


def test_only_a_network_with_an_embedding_for_it_is_told_a_scale(
    pipeline_of: Make, copy_of: Callable, edit_json: Callable, rewrite: Callable
) -> None:
    told = pipeline_of("sd15").condition(["a"], size=(64, 64), is_guided=False, told_guidance=8.5)
    assert "timestep_cond" not in told
    folder = copy_of("sd15")
    edit_json(folder / "unet" / "config.json", time_cond_proj_dim=6)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    projection = {"time_embedding.cond_proj.weight": np.ones((8, 6), np.float32)}
    rewrite(weights, lambda tensors: tensors.update(projection))
    checkpoint = load_checkpoint(folder)
    pipeline = LatentPipeline(checkpoint)
    z, t = mx.zeros((1, 8, 8, 4)), mx.array([500.0])
    answers = []
    for scale in (1.5, 8.5):
        told = pipeline.condition(["a"], size=(64, 64), is_guided=False, told_guidance=scale)
        assert told["timestep_cond"].shape == (1, 6)
        answers.append(checkpoint.network(z, t, told))
    assert not mx.allclose(*answers, atol=1e-4)


def test_a_number_of_negative_prompts_that_does_not_fit_is_refused(pipeline_of: Make) -> None:
    with pytest.raises(DataError, match="There are 2 negative prompts for 1 prompts"):
        pipeline_of("sd15").condition(["a"], ["b", "c"], size=(64, 64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_encoder": [None, None]}, "names no text_encoder, but prompts need one"),
        ({"vae": [None, None]}, "names no vae, but prompts and pictures need one"),
        ({"tokenizer": None}, "names no tokenizer"),
        (
            {
                "text_encoder_2": ["transformers", "CLIPTextModel"],
                "tokenizer_2": ["transformers", "CLIPTokenizer"],
            },
            "there is no folder text_encoder_2, which model_index.json names",
        ),
    ],
)
def test_a_folder_without_a_component_is_refused(
    changes: dict, message: str, copy_of: Callable, edit_json: Callable
) -> None:
    folder = copy_of("sd15")
    edit_json(folder / "model_index.json", **changes)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("name", "file", "changes", "message"),
    [
        (
            "sd15",
            "text_encoder",
            {"hidden_size": 48, "num_attention_heads": 4},
            "text encoders make 48 numbers for each token, but the unet reads 24",
        ),
        (
            "sdxl",
            "text_encoder_2",
            {"projection_dim": 24},
            "prompt and sizes make 72 numbers, but the unet reads 68",
        ),
        ("sd15", "vae", {"latent_channels": 8}, "the vae makes 8 channels, but the unet reads 4"),
        ("sd15", "vae", {"latents_mean": [0]}, "config.json: latents_mean is [0]"),
        ("sd15", "text_encoder", {"hidden_act": "relu"}, "config.json: hidden_act is 'relu'"),
        ("sdxl", "", {"requires_aesthetics_score": True}, "refiners are not supported"),
    ],
)
def test_components_that_do_not_belong_together_are_refused(
    name: str, file: str, changes: dict, message: str, copy_of: Callable, edit_json: Callable
) -> None:
    folder = copy_of(name)
    path = folder / file / "config.json" if file else folder / "model_index.json"
    edit_json(path, **changes)
    assert message in refusal(folder)


def test_the_tokenizer_of_another_model_is_refused(copy_of: Callable, edit_json: Callable) -> None:
    folder = copy_of("sd15")
    path = folder / "tokenizer" / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"elsewhere": 700}))
    pipeline = LatentPipeline(load_checkpoint(folder))
    with pytest.raises(CheckpointError, match=r"ids up to 700, but text_encoder knows 539 tokens"):
        pipeline.encode(["a cat"], size=(64, 64))
    copy = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "elsewhere"})
    )
    edit_json(copy, model_max_length=80)
    with pytest.raises(CheckpointError, match="model_max_length is 80, but text_encoder has 77"):
        LatentPipeline(load_checkpoint(folder)).encode(["a cat"], size=(64, 64))


@pytest.mark.parametrize("component", ["text_encoder", "vae"])
def test_damaged_weights_of_a_component_are_refused(
    component: str, copy_of: Callable, rewrite: Callable
) -> None:
    folder = copy_of("sd15")
    (path,) = (folder / component).glob("*.safetensors")

    def use(pipeline: LatentPipeline) -> None:
        if component == "vae":
            pipeline.pictures(mx.zeros((1, 2, 2, 4)))
        else:
            pipeline.encode(["a cat"], size=(16, 16))

    def spoil(tensors: dict) -> None:
        floats = [key for key, value in tensors.items() if value.dtype.kind == "f"]
        tensors[floats[0]] = float("nan") * tensors[floats[0]]

    rewrite(path, spoil)
    with pytest.raises(CheckpointError, match="weights hold NaN or infinity"):
        use(LatentPipeline(load_checkpoint(folder)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        use(LatentPipeline(load_checkpoint(folder)))
    path.rename(path.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, a pickle"):
        use(LatentPipeline(load_checkpoint(folder)))
