"""Train the bundled tiny Stable Diffusion pipeline: `python scripts/train_tiny_sd.py`.

About half an hour on one core. Needs the interop extra; PyTorch takes a third of MLX's time on a
Linux CPU, and a pipeline that diffusers itself has made is the better test of our loading.

The pictures are the UCI digits drawn anew at 16x16 pixels in one of 30 looks (thin or bold,
slanted, in one of five colours) under captions such as "a bold, slanted red three". Three parts
are trained: an AutoencoderKL of 8x8x4 latents, then a CLIP text model and a UNet2DConditionModel
together, epsilon-prediction under Stable Diffusion's own schedule, one caption in seven dropped
so that guidance has something to lead away from. Everything is drawn from one seed; bytes may
differ between machines.
"""

import argparse
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from tiny_sd_looks import (
    COLOURS,
    DIGITS,
    LOOKS,
    SIDE,
    WEIGHTS,
    caption,
    drawn,
    prompts_in_order,
)
from transformers import CLIPTextConfig, CLIPTextModel

ASSETS = Path(__file__).resolve().parents[1] / "engine" / "assets"
TRAINING_COUNT, LENGTH = 1500, 16
GUIDANCE, DROPPED = 7.5, 1 / 7
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}

CARD = """---
license: cc-by-4.0
library_name: diffusers
tags: [text-to-image, diffusion, digits]
---
# Digits with a look, 16x16 pixels, told by a caption

A Stable Diffusion pipeline in small: a `UNet2DConditionModel` of {unet:,} parameters (epsilon, \
8x8x4 latents), a
`CLIPTextModel` of {text:,} with a vocabulary of {vocabulary}, an `AutoencoderKL` of {vae:,}. \
Trained from scratch on {images}
images of the UCI "Optical Recognition of Handwritten Digits" data (E. Alpaydin and C. Kaynak, \
1998, CC BY 4.0), drawn anew
in 30 looks under captions such as "a bold, slanted red three", by `scripts/train_tiny_sd.py`: \
{iterations:,} steps of AdamW, batch
{batch}, {minutes:.0f} minutes on one core.

| measured on {prompts} prompts, every look of every digit, 50 DDIM steps | guidance 1 | \
guidance {guidance:g} | real pictures |
|---|---|---|---|
| label accuracy, read by the bundled 8x8 classifier | {plain_label:.3f} | {label:.3f} \
| {real_label:.3f} |
| colour told right (nearest of the five) | {plain_colour:.3f} | {colour:.3f} | {real_colour:.3f} |
| mean ink, thin / plain / bold | {plain_ink} | {ink} | {real_ink} |

The autoencoder's root mean squared error on held-out pictures is {error:.3f}, pixels in [-1, 1]. \
The bundled classifier was
trained on plain 8x8 digits, so it misreads some of the looks of real pictures too.

It is here to show guided distillation of a latent model within minutes on any machine. Digits of \
sixteen pixels are an
easy case.
"""


def pictures(
    images: np.ndarray, labels: np.ndarray, count: int, seed: int
) -> tuple[Any, list[str]]:
    """Return `count` pictures (N, 3, 16, 16) of random digits in random looks, and captions."""
    rng = np.random.default_rng(seed)
    chosen, looks = rng.integers(0, len(images), count), rng.integers(0, len(LOOKS), count)
    shifts = rng.uniform(-0.5, 0.5, count)
    out = np.stack(
        [drawn(images[i], LOOKS[k], s) for i, k, s in zip(chosen, looks, shifts, strict=True)]
    )
    words = [caption(int(labels[i]), *LOOKS[k]) for i, k in zip(chosen, looks, strict=True)]
    return torch.from_numpy(out.transpose(0, 3, 1, 2).copy()), words


class Vocabulary:
    """CLIP's byte-level pairs with merges for the words of the captions, and its two marks."""

    def __init__(self) -> None:
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [b for b in range(256) if b not in printable]
        alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
        words = sorted({"a", ",", *["thin", "bold", "slanted"], *COLOURS, *DIGITS})
        self.merges: list[tuple[str, str]] = []
        for word in words:
            parts = [*word[:-1], word[-1] + "</w>"]
            while len(parts) > 1:
                pair = (parts[0], parts[1])
                if pair not in self.merges:
                    self.merges.append(pair)
                parts = [parts[0] + parts[1], *parts[2:]]
        tokens = [*alphabet, *(c + "</w>" for c in alphabet), *("".join(m) for m in self.merges)]
        tokens += ["<|startoftext|>", "<|endoftext|>"]
        self.numbers = {token: i for i, token in enumerate(dict.fromkeys(tokens))}

    def save(self, folder: Path) -> None:
        """Write vocab.json, merges.txt and the tokenizer's settings."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(self.numbers, ensure_ascii=False))
        merges = "".join(f"{a} {b}\n" for a, b in self.merges)
        (folder / "merges.txt").write_text("#version: 0.2\n" + merges)
        end = "<|endoftext|>"
        marks = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end}
        marks |= {"pad_token": end}
        (folder / "special_tokens_map.json").write_text(json.dumps(marks, indent=2))
        settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, **marks}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def token_ids(tokenizer: Any, words: list[str]) -> torch.Tensor:
    """Return (N, 16) numbers of captions, padded as Stable Diffusion pads them."""
    return tokenizer(
        words, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids


def train_autoencoder(images: torch.Tensor, iterations: int) -> AutoencoderKL:
    """Return an autoencoder whose latents have unit variance after its scaling factor."""
    vae = AutoencoderKL(
        sample_size=SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    )
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, 3e-5)
    for i in range(1, iterations + 1):
        batch = images[torch.randint(0, len(images), (64,))]
        posterior = vae.encode(batch).latent_dist
        decoded = vae.decode(posterior.sample()).sample
        loss = F.mse_loss(decoded, batch) + 0.1 * F.l1_loss(decoded, batch)
        loss = loss + 2e-5 * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if i % 250 == 0:
            print(f"autoencoder {i}/{iterations}  loss {loss.item():.4f}", flush=True)
    with torch.no_grad():
        deviation = vae.encode(images[:2000]).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=1 / deviation)
    return vae.eval()


class Told(torch.nn.Module):
    """The network and the text model that are trained together."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        numbers = vocabulary.numbers
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(numbers),
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=LENGTH,
                projection_dim=48,
                bos_token_id=numbers["<|startoftext|>"],
                eos_token_id=numbers["<|endoftext|>"],
                pad_token_id=numbers["<|endoftext|>"],
            )
        )
        self.unet = UNet2DConditionModel(
            sample_size=SIDE // 2,
            in_channels=4,
            out_channels=4,
            block_out_channels=(32, 48),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=48,
            attention_head_dim=2,
            norm_num_groups=8,
        )

    def forward(self, z: torch.Tensor, t: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return the noise predicted in z under captions."""
        return self.unet(z, t, self.text(ids).last_hidden_state).sample


def train_told(
    model: Told, latents: torch.Tensor, ids: torch.Tensor, empty: torch.Tensor, options: Any
) -> None:
    """Train in place; the weights kept are the moving average of training."""
    levels = DDIMScheduler.from_config(SCHEDULER).alphas_cumprod
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    total, warmup = options.iterations, 100
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: (
            min(1, (i + 1) / warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * i / total)) / 2)
        ),
    )
    average = {name: value.detach().clone() for name, value in model.named_parameters()}
    started, running = time.monotonic(), 0.0
    for i in range(1, total + 1):
        chosen = torch.randint(0, len(latents), (options.batch,))
        words = torch.where(torch.rand(options.batch, 1) < DROPPED, empty, ids[chosen])
        # timesteps stratified over the whole range
        t = (
            (torch.randperm(options.batch) + torch.rand(options.batch)) / options.batch * 1000
        ).long()
        level, noise = levels[t].reshape(-1, 1, 1, 1), torch.randn(options.batch, 4, 8, 8)
        z = level.sqrt() * latents[chosen] + (1 - level).sqrt() * noise
        loss = F.mse_loss(model(z, t, words), noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        keep = min(0.998, (1 + i) / (10 + i))
        with torch.no_grad():
            for name, value in model.named_parameters():
                average[name].lerp_(value, 1 - keep)
        running += (loss.item() - running) / min(i, 200)
        if i % 100 == 0:
            passed = time.monotonic() - started
            print(f"step {i}/{total}  loss {running:.4f}  {passed:.0f} s", flush=True)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(average[name])
    model.eval()


@torch.no_grad()
def sampled(
    model: Told, vae: AutoencoderKL, ids: torch.Tensor, empty: torch.Tensor, scale: float
) -> torch.Tensor:
    """Return pictures (N, 3, 16, 16) of 50 guided DDIM steps."""
    scheduler = DDIMScheduler.from_config(SCHEDULER)
    scheduler.set_timesteps(50)
    z = torch.randn(len(ids), 4, 8, 8, generator=torch.Generator().manual_seed(12345))
    u, c = model.text(empty.expand(len(ids), -1)), model.text(ids)
    both = torch.cat([u.last_hidden_state, c.last_hidden_state])
    for t in scheduler.timesteps:
        unguided, told = model.unet(torch.cat([z, z]), t, both).sample.chunk(2)
        z = scheduler.step(unguided + scale * (told - unguided), t, z).prev_sample
    return vae.decode(z / vae.config.scaling_factor).sample.clamp(-1, 1)


def read(images: torch.Tensor, asked: list[tuple[int, tuple[str, str, str]]]) -> dict[str, Any]:
    """Return label accuracy, colour accuracy and mean ink by weight of pictures."""
    weights = load_file(ASSETS / "digits" / "classifier.safetensors")
    ink = ((images + 1) / 2).amax(1, keepdim=True)  # (N, 1, 16, 16)
    x = F.avg_pool2d(ink, 2) * 2 - 1
    for name, stride in (("conv1", 1), ("conv2", 2)):
        kernel = weights[f"{name}.weight"].permute(0, 3, 1, 2)
        x = F.relu(F.conv2d(x, kernel, weights[f"{name}.bias"], stride, 1))
    x = x.permute(0, 2, 3, 1).flatten(1)
    x = F.relu(F.linear(x, weights["hidden.weight"], weights["hidden.bias"]))
    labels = F.linear(x, weights["logits.weight"], weights["logits.bias"]).argmax(1).numpy()
    mean = (((images + 1) / 2) * ink).sum((2, 3)) / ink.square().sum((2, 3)).clamp(min=1e-6)
    table = torch.tensor(list(COLOURS.values()))
    nearest = (mean[:, None] - table).square().sum(2).argmin(1).numpy()
    names = list(COLOURS)
    inks = ink.mean((1, 2, 3)).numpy()
    return {
        "label": float(np.mean([a == digit for a, (digit, _) in zip(labels, asked, strict=True)])),
        "colour": float(
            np.mean([names[n] == look[2] for n, (_, look) in zip(nearest, asked, strict=True)])
        ),
        "ink": " / ".join(
            f"{np.mean([i for i, (_, look) in zip(inks, asked, strict=True) if look[0] == w]):.3f}"
            for w in WEIGHTS
        ),
    }


def save_pipeline(
    folder: Path, model: Told, vae: AutoencoderKL, vocabulary: Vocabulary, card: str
) -> None:
    """Write the folder of a StableDiffusionPipeline and its card."""
    shutil.rmtree(folder, ignore_errors=True)
    model.unet.save_pretrained(folder / "unet")
    model.text.save_pretrained(folder / "text_encoder")
    vae.save_pretrained(folder / "vae")
    DDIMScheduler.from_config(SCHEDULER).save_pretrained(folder / "scheduler")
    vocabulary.save(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "README.md").write_text(card)


def main() -> None:
    """Train all parts, measure, write the pipeline and the prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=2500)
    parser.add_argument("--autoencoder-iterations", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=ASSETS, help="assets folder to write to")
    options = parser.parse_args()
    from transformers import CLIPTokenizer

    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    digits = load_file(ASSETS / "digits" / "digits.safetensors")
    images, labels = digits["images"].numpy(), digits["labels"].numpy()
    order = np.random.default_rng(options.seed).permutation(len(images))
    train, held_out = order[:TRAINING_COUNT], order[TRAINING_COUNT:]
    seen, words = pictures(images[train], labels[train], 20_000, options.seed)

    folder, vocabulary = options.to / "models" / "tiny-sd", Vocabulary()
    vocabulary.save(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    started = time.monotonic()
    vae = train_autoencoder(seen, options.autoencoder_iterations)
    unseen, _ = pictures(images[held_out], labels[held_out], 500, options.seed + 1)
    with torch.no_grad():
        latents = (
            torch.cat([vae.encode(part).latent_dist.sample() for part in seen.split(500)])
            * vae.config.scaling_factor
        )
        error = (vae.decode(vae.encode(unseen).latent_dist.mean).sample - unseen).square().mean()
    print(f"autoencoder: rmse {error.sqrt():.4f} on held-out pictures", flush=True)

    model, empty = Told(vocabulary), token_ids(tokenizer, [""])
    train_told(model, latents, token_ids(tokenizer, words), empty, options)
    minutes = (time.monotonic() - started) / 60

    asked = prompts_in_order()
    ids = token_ids(tokenizer, [caption(digit, *look) for digit, look in asked])
    guided = read(sampled(model, vae, ids, empty, GUIDANCE), asked)
    plain = read(sampled(model, vae, ids, empty, 1.0), asked)
    rng = np.random.default_rng(options.seed)
    real = np.stack(
        [drawn(images[rng.choice(held_out[labels[held_out] == d])], look, 0.0) for d, look in asked]
    )
    real_read = read(torch.from_numpy(real.transpose(0, 3, 1, 2).copy()), asked)
    sizes = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in (("unet", model.unet), ("text", model.text), ("vae", vae))
    }
    card = CARD.format(
        **sizes,
        **guided,
        **{f"plain_{key}": value for key, value in plain.items()},
        **{f"real_{key}": value for key, value in real_read.items()},
        vocabulary=len(vocabulary.numbers),
        images=len(train),
        iterations=options.iterations,
        batch=options.batch,
        minutes=minutes,
        prompts=len(asked),
        guidance=GUIDANCE,
        error=float(error.sqrt()),
    )
    save_pipeline(folder, model, vae, vocabulary, card)
    lines = [caption(digit, *look) for digit, look in asked]
    (options.to / "prompts").mkdir(parents=True, exist_ok=True)
    (options.to / "prompts" / "digits.txt").write_text("\n".join(lines) + "\n")
    print(card, flush=True)


if __name__ == "__main__":
    main()
