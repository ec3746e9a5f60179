"""Makes the tiny latent models of tests/fixtures that are our own, and what real diffusers answers.

    pip install '.[interop]'
    python scripts/make_latent_fixtures.py [FOLDER]

- `tokens.json`: ids of the stock CLIP tokenizer for awkward prompts, by both tokenizers of the
  folders `sd15` and `sd21v`, which must be there (they came with their references and are kept).
- `sdxl`: a pipeline in half precision: two text encoders, text_time, lists of heads and depths.
- `sd_labels`: a network alone, in shards: classes, nested depths, a guidance scale to be told, odd
  sizes, scale_shift.

Weights are random, structure is faithful. `reference.safetensors` is laid out as make_fixtures.py
says, its keys beginning with the component's name; `pipeline.*` come from the stock pipeline.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
from make_fixtures import float64_timestep_embedding
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

PROMPTS = ["a photo of a red cat", "", "The  DOG's on 3 cars, (naïve)!"]
AWKWARD_PROMPTS = [
    "",
    " ",
    "a photo of a red cat",
    "The  DOG's on 3 cars, (naïve)!",
    "\ttabs\nand \r\n lines\u00a0and\u3000wide\u200bspaces ",
    "I'LL don't we've you're it's he'd 'tis",
    "naïve NAÏVE nai\u0308ve ÀÉÎ ß ẞ İ ﬁ",
    "12 \uff13\uff14 ½ ² 1,000.5",
    "日本語 русский ελληνικά العربية",
    "😀 👨‍👩‍👧 🇩🇪",
    "a-b x_y a/b a\\b \"quoted\" 'quoted' ... !? ?! !!",
    "!",
    "dog!cat !dog",
    "<|startoftext|> a <|endoftext|> b <|STARTOFTEXT|>",
    "<|endoftext|>",
    "<cat-toy> {x} [y] (z)",
    "photophotophoto catcatcat",
    "\x00 \x07 \ufeff",
    "a " * 75,
    "a " * 76,
    "photo of the cat and " * 40,
]
SHOWN_GRADIENTS = (  # of a large network those of a few layers are kept
    "conv_in.bias",
    "attn2.to_k.weight",
    "ff.net.0.proj.bias",
    "time_emb_proj.bias",
    "add_embedding.linear_2.bias",
    "class_embedding.weight",
    "time_embedding.cond_proj.weight",
)


def shake(network: torch.nn.Module) -> torch.nn.Module:
    """Return the network with norms and biases moved: left at 1 and 0 they would hide a swap."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def write_tokens(folder: Path) -> None:
    """Write what the stock tokenizers make of awkward prompts, without padding."""
    out: dict[str, list] = {"prompts": AWKWARD_PROMPTS}
    for name in ("sd15", "sd21v"):
        tokenizer = CLIPTokenizer.from_pretrained(folder / name / "tokenizer")
        out[name] = [
            tokenizer(prompt, truncation=True, max_length=77)["input_ids"]
            for prompt in AWKWARD_PROMPTS
        ]
    text = json.dumps(out, ensure_ascii=True, separators=(",", ":"))
    (folder / "tokens.json").write_text(text + "\n")


def unet_reference(
    network: diffusers.UNet2DConditionModel,
    z: torch.Tensor,
    timesteps: tuple[float, ...],
    condition: dict[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Return what the network answers in float64, and its gradients at the first timestep."""
    network = network.double()
    tensors = {"unet.in": z, **{f"unet.{key}": value for key, value in condition.items()}}

    def answer(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        given = {
            key: value.double() if value.is_floating_point() else value
            for key, value in condition.items()
        }
        text = given.pop("encoder_hidden_states")
        labels, scale = given.pop("class_labels", None), given.pop("timestep_cond", None)
        options = {"class_labels": labels, "timestep_cond": scale, "added_cond_kwargs": given}
        return network(z.double(), t, text, **options).sample

    with torch.no_grad():
        for t in timesteps:
            tensors[f"unet.out.t{t:g}"] = answer(z, torch.tensor(t))
        tensors["unet.batch_t.timesteps"] = torch.tensor(timesteps[:2])
        tensors["unet.batch_t.out"] = answer(z, tensors["unet.batch_t.timesteps"])

    x = z.double().clone().requires_grad_(True)
    out = answer(x, torch.tensor(timesteps[0]))
    tensors["unet.grad.cotangent"] = torch.randn_like(out)
    (out * tensors["unet.grad.cotangent"]).mean().backward()
    assert x.grad is not None
    tensors["unet.grad.input"] = x.grad
    for key, parameter in network.named_parameters():
        if key.endswith(SHOWN_GRADIENTS) and parameter.grad is not None:
            tensors[f"unet.grad.param.{key}"] = parameter.grad
    return tensors


def write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write the tensors as float32 or as whole numbers."""
    out = {}
    for key, tensor in tensors.items():
        tensor = tensor.detach().contiguous().clone()
        out[key] = tensor.float() if tensor.is_floating_point() else tensor
    save_file(out, path)


def make_text_encoder(kind: Callable, **config: object) -> torch.nn.Module:
    """Return a small CLIP text encoder for the vocabulary of the fixtures."""
    settings = CLIPTextConfig(
        vocab_size=539,
        num_hidden_layers=2,
        bos_token_id=537,
        eos_token_id=538,
        max_position_embeddings=77,
        **config,
    )
    return shake(kind(settings))


def make_sdxl(folder: Path) -> None:
    """A pipeline as SDXL's: two encoders, the second with a projection, all in half precision."""
    torch.manual_seed(4)
    unet = shake(
        diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16, 24),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2, 3],
            attention_head_dim=[2, 4, 6],
            cross_attention_dim=40,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=20 + 6 * 8,
            norm_num_groups=4,
        )
    ).half()
    vae = shake(
        diffusers.AutoencoderKL(
            block_out_channels=(4, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=0.13025,
            force_upcast=True,
        )
    ).half()
    first = make_text_encoder(
        CLIPTextModel, hidden_size=16, intermediate_size=32, num_attention_heads=2
    ).half()
    second = make_text_encoder(
        CLIPTextModelWithProjection,
        hidden_size=24,
        intermediate_size=48,
        num_attention_heads=3,
        projection_dim=20,
        hidden_act="gelu",
    ).half()
    fixtures = folder.parent
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=CLIPTokenizer.from_pretrained(fixtures / "sd15" / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(fixtures / "sd21v" / "tokenizer"),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder, variant="fp16")
    pipeline = pipeline.to(torch.float32)

    condition = {
        "encoder_hidden_states": torch.randn(2, 77, 40),
        "text_embeds": torch.randn(2, 20),
        "time_ids": torch.tensor([[64, 96, 0, 0, 64, 96], [1024, 768, 8, 16, 1024, 1024]]).float(),
    }
    z = torch.randn(2, 4, 8, 12)
    tensors = unet_reference(unet, z, (759, 999, 1), condition)
    unet.float()

    for name, encoder, tokenizer in (
        ("text_encoder", first, pipeline.tokenizer),
        ("text_encoder_2", second, pipeline.tokenizer_2),
    ):
        ids = tokenizer(PROMPTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            out = encoder(ids, output_hidden_states=True)
        tensors[f"{name}.input_ids"] = ids
        tensors[f"{name}.last_hidden_state"] = out.last_hidden_state
        tensors[f"{name}.hidden_states.-2"] = out.hidden_states[-2]
        pooled = out.text_embeds if name.endswith("2") else out.pooler_output
        tensors[f"{name}.pooled"] = pooled

    with torch.no_grad():
        tensors["vae.image"] = torch.rand(1, 3, 32, 48) * 2 - 1
        latents = vae.double().encode(tensors["vae.image"].double()).latent_dist
        tensors["vae.encode.mean"], tensors["vae.encode.logvar"] = latents.mean, latents.logvar
        tensors["vae.latents"] = torch.randn(1, 4, 8, 12)
        tensors["vae.decode"] = vae.decode(tensors["vae.latents"].double()).sample
    vae.float()

    noise = torch.randn(1, 4, 8, 8)
    tensors["pipeline.noise"] = noise
    for key, negative in (("pipeline", None), ("pipeline.negative", "3 cars")):
        # on one's own noise the pipeline still scales by init_noise_sigma
        options = {
            "prompt": PROMPTS[0],
            "negative_prompt": negative,
            "num_inference_steps": 4,
            "guidance_scale": 5.0,
            "height": 64,
            "width": 64,
        }
        tensors[f"{key}.latents"] = pipeline(
            **options, latents=noise.clone(), output_type="latent"
        ).images
        image = pipeline(**options, latents=noise.clone(), output_type="np").images
        tensors[f"{key}.image"] = torch.from_numpy(image)
    write(tensors, folder / "reference.safetensors")


def make_sd_labels(folder: Path) -> None:
    """A network alone, in shards, with what the published ones have not, but others might."""
    torch.manual_seed(5)
    network = shake(
        diffusers.UNet2DConditionModel(
            sample_size=(9, 14),
            block_out_channels=(8, 12),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=(2, 1),
            transformer_layers_per_block=[[1, 2], [1]],
            reverse_transformer_layers_per_block=[[1, 1], [2, 1, 1]],
            attention_head_dim=3,  # divides no level: heads are narrower than the level
            cross_attention_dim=10,
            norm_num_groups=2,
            num_class_embeds=5,
            resnet_time_scale_shift="scale_shift",
            time_cond_proj_dim=6,
            mid_block_scale_factor=1.5,
            act_fn="mish",
            conv_in_kernel=1,
            conv_out_kernel=5,
            time_embedding_dim=20,
        )
    )
    network.save_pretrained(folder, max_shard_size="60KB")
    condition = {
        "encoder_hidden_states": torch.randn(2, 4, 10),
        "class_labels": torch.tensor([3, 0]),
        "timestep_cond": torch.randn(2, 6),
    }
    tensors = unet_reference(network, torch.randn(2, 4, 9, 14), (759, 21, 999), condition)
    write(tensors, folder / "reference.safetensors")


def main() -> None:
    """Make every fixture in the folder given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = Path(__file__).parent.parent / "tests" / "fixtures"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args().folder

    torch.set_num_threads(1)
    diffusers.models.embeddings.get_timestep_embedding = float64_timestep_embedding
    write_tokens(folder)
    make_sdxl(folder / "sdxl")
    make_sd_labels(folder / "sd_labels")


if __name__ == "__main__":
    main()
