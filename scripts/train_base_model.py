"""Train the bundled base model and its classifier on the UCI digits: `make base-model`.

About ten minutes on two cores.

Writes engine/assets/models/digits (a diffusers folder with its model card) and
engine/assets/digits/classifier.safetensors. Everything is drawn from one seed, so that anybody can
make it again; bytes may differ between machines.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map

import engine  # noqa: F401  (loads a fast BLAS before MLX, see engine/blas.py)
from engine.diffusion.scheduler_config import read_scheduler_config
from engine.files import replacing, write_json, write_text
from engine.models.checkpoint import save_network
from engine.models.diffusion import DiffusionModel
from engine.models.unet import UNet2DConfig, UNet2DModel
from engine.training.classifier import DigitClassifier, label_accuracy
from engine.training.digits import TRAINING_COUNT, load_digits

ASSETS = Path(__file__).resolve().parents[1] / "engine" / "assets"

NETWORK = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
    "attention_head_dim": 16,
    "num_class_embeds": 10,
    "act_fn": "silu",
}
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
}
MODEL_INDEX = {
    "_class_name": "DDIMPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}

CARD = """---
license: cc-by-4.0
library_name: diffusers
tags: [unconditional-image-generation, class-conditional, diffusion, digits]
---
# Handwritten digits, 8x8 pixels, class-conditional

A `UNet2DModel` of {parameters:,} parameters with v-prediction, trained from scratch on {images} \
images of the UCI
"Optical Recognition of Handwritten Digits" data (E. Alpaydin and C. Kaynak, 1998, CC BY 4.0) by
`scripts/train_base_model.py`: {iterations:,} steps of AdamW, batch {batch}, {minutes:.0f} minutes \
on {cores} cores.

| measured | value |
|---|---|
| label accuracy of 1000 samples (50 DDIM steps), read by the bundled classifier | {accuracy:.3f} |
| the same classifier on {held_out} real images that nothing was trained on \
| {classifier_accuracy:.3f} |
| mean squared v-error on those real images | {held_out_loss:.4f} |
| on as many training images | {train_loss:.4f} |

It is here to show a whole distillation within minutes on any machine. Eight-pixel digits \
are an easy case.
"""


def train_classifier(images: np.ndarray, labels: np.ndarray, seed: int) -> DigitClassifier:
    """Return a classifier trained on small shifts of the images."""
    mx.random.seed(seed)
    model, rng = DigitClassifier(), np.random.default_rng(seed)
    steps = 1500
    optimizer = optim.AdamW(optim.cosine_decay(2e-3, steps), weight_decay=0.05)
    loss_and_grad = nn.value_and_grad(
        model, lambda x, y: nn.losses.cross_entropy(model(x), y, reduction="mean")
    )
    for _ in range(steps):
        chosen = rng.integers(0, len(images), 128)
        shift = rng.integers(-1, 2, 2)
        batch = (
            np.roll(images[chosen], tuple(shift), (1, 2)) if rng.random() < 0.3 else images[chosen]
        )
        _, gradients = loss_and_grad(mx.array(batch), mx.array(labels[chosen]))
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
    return model


def train_diffusion(
    images: np.ndarray, labels: np.ndarray, *, iterations: int, batch: int, seed: int
) -> DiffusionModel:
    """Return a v-prediction model of the images, its weights the moving average of training."""
    settings = read_scheduler_config(SCHEDULER, "SCHEDULER")
    mx.random.seed(seed)
    network = UNet2DModel(UNet2DConfig.from_dict(NETWORK, source="NETWORK"))
    model = DiffusionModel(
        network,
        settings.schedule,
        settings.grid(50),
        prediction_type="v_prediction",
        sample_shape=(8, 8, 1),
        class_count=10,
    )
    rate = optim.join_schedules(
        [optim.linear_schedule(0.0, 2e-3, 100), optim.cosine_decay(2e-3, iterations - 100, 2e-5)],
        [100],
    )
    optimizer = optim.AdamW(rate, weight_decay=0.01)
    optimizer.init(network.trainable_parameters())
    average = tree_map(lambda p: mx.array(p), network.parameters())
    state = [network.state, optimizer.state]
    loss_and_grad = nn.value_and_grad(network, partial(v_loss, model))

    @partial(mx.compile, inputs=state, outputs=state)
    def step(
        x: mx.array, y: mx.array, eps: mx.array, t: mx.array, alpha: mx.array, sigma: mx.array
    ) -> mx.array:
        loss, gradients = loss_and_grad(x, y, eps, t, alpha, sigma)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(network, gradients)
        return loss

    average_step = mx.compile(lambda old, new: tree_map(lambda a, p: a + (p - a) * 0.002, old, new))
    rng, started, running = np.random.default_rng(seed), time.monotonic(), 0.0
    for i in range(1, iterations + 1):
        chosen = rng.integers(0, len(images), batch)
        loss = step(*noised(settings.schedule, images[chosen], labels[chosen], rng))
        average = average_step(average, network.parameters())
        mx.eval(state, average, loss)
        running += (loss.item() - running) / min(i, 200)
        if i % 500 == 0:
            print(
                f"step {i}/{iterations}  loss {running:.4f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )
    network.update(average)
    return model


def noised(
    schedule, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> list[mx.array]:
    """Return (x, y, eps, t, alpha, sigma) of a batch, timesteps stratified over the whole range."""
    n = len(images)
    t = np.floor((rng.permutation(n) + rng.random(n)) / n * schedule.count)
    alpha, sigma = (level.astype(np.float32).reshape(-1, 1, 1, 1) for level in schedule.levels(t))
    eps = rng.standard_normal(images.shape, dtype=np.float32)
    return [mx.array(a) for a in (images, labels, eps, t.astype(np.float32), alpha, sigma)]


def v_loss(
    model: DiffusionModel,
    x: mx.array,
    y: mx.array,
    eps: mx.array,
    t: mx.array,
    alpha: mx.array,
    sigma: mx.array,
) -> mx.array:
    """Return the mean squared error of v = alpha eps - sigma x."""
    prediction = model(alpha * x + sigma * eps, t, {"class_labels": y})
    return ((prediction - (alpha * eps - sigma * x)) ** 2).mean()


def main() -> None:
    """Train both, measure both, write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=ASSETS, help="assets folder to write to")
    options = parser.parse_args()

    images, labels = load_digits()
    order = np.random.default_rng(options.seed).permutation(len(images))
    train, held_out = order[:TRAINING_COUNT], order[TRAINING_COUNT:]

    classifier = train_classifier(images[train], labels[train], options.seed)
    classifier_accuracy = label_accuracy(classifier, images[held_out], labels[held_out])
    print(f"classifier: {classifier_accuracy:.3f} on {len(held_out)} held-out images", flush=True)

    started = time.monotonic()
    model = train_diffusion(
        images[train],
        labels[train],
        iterations=options.iterations,
        batch=options.batch,
        seed=options.seed,
    )
    minutes = (time.monotonic() - started) / 60

    wanted = np.arange(1000) % 10
    rng = np.random.default_rng(12345)
    samples = np.concatenate(
        [
            np.array(
                model.sample(
                    mx.array(rng.standard_normal((250, 8, 8, 1), dtype=np.float32)),
                    {"class_labels": mx.array(wanted[first : first + 250])},
                )
            )
            for first in range(0, 1000, 250)
        ]
    )
    losses = [
        np.mean(
            [
                v_loss(
                    model,
                    *noised(model.schedule, images[part], labels[part], np.random.default_rng(k)),
                ).item()
                for k in range(20)
            ]
        )
        for part in (held_out, train[: len(held_out)])
    ]
    folder = options.to / "models" / "digits"
    save_network(model.network, folder / "unet", NETWORK)
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(folder / "model_index.json", MODEL_INDEX)
    write_text(
        folder / "README.md",
        CARD.format(
            parameters=sum(v.size for v in dict(tree_flatten(model.network.parameters())).values()),
            images=len(train),
            iterations=options.iterations,
            batch=options.batch,
            minutes=minutes,
            cores=2,
            accuracy=label_accuracy(classifier, samples, wanted),
            held_out=len(held_out),
            classifier_accuracy=classifier_accuracy,
            held_out_loss=losses[0],
            train_loss=losses[1],
        ),
    )
    (options.to / "digits").mkdir(parents=True, exist_ok=True)
    with replacing(options.to / "digits" / "classifier.safetensors") as temporary:
        classifier.save_weights(str(temporary))
    print((folder / "README.md").read_text(), flush=True)


if __name__ == "__main__":
    main()
