"""The engine's training step against a bare compiled MLX loop on the same network.

`python benchmarks/overhead.py [ROUNDS]` interleaves them in one process and prints the ratio of
medians with a 95 % bootstrap interval. Both do the same arithmetic (weighted squared error of x0,
clipping, AdamW, moving average); the engine adds batches from its pool of states, the hooks that a
worker has, and its records.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import engine  # noqa: F401  (first of all: MLX takes the first BLAS that it finds)

# isort: split
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map

from engine.control import Control
from engine.diffusion.grid import Grid
from engine.diffusion.noise import x0_and_eps
from engine.models.diffusion import DiffusionModel
from engine.models.loading import load_model
from engine.run import JournalWriter, RunFolder
from engine.settings import TrainingSettings
from engine.training.conditions import classes
from engine.training.distill import uniform_subset
from engine.training.noise_sets import Purpose, generator, unit_noise
from engine.training.states import trajectory_source
from engine.training.trainer import Trainer
from engine.training.trajectories import record_trajectories

BATCH, PER_ROUND = 64, 10


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    teacher = load_model("bundled:digits", steps=10).model
    grid = uniform_subset(teacher, 5)
    noise = unit_noise(Purpose.TRAIN, 128, teacher.sample_shape)
    paths = record_trajectories(teacher, noise, classes(10).repeated(128), batch_size=128)
    pool = trajectory_source(paths, grid, states=640, seed=(0,)).renew(0, lambda: None)
    settings = TrainingSettings(batch_size=BATCH, iterations=[100_000])

    trainer = Trainer(teacher.student(grid), settings, iterations=100_000, learning_rate=1e-4)
    bare = bare_step(teacher, grid)
    fixed = pool.batch(BATCH, generator(Purpose.ORDER, 0))
    arguments = (fixed.z, fixed.target, fixed.point, fixed.condition)

    with tempfile.TemporaryDirectory() as root:
        run = RunFolder.create(Path(root), "{}", name="overhead")
        with JournalWriter(run.journal_path) as journal:
            control = Control(run, journal, checkpoint_seconds=1e9)
            step = 0

            def engine_step() -> None:
                nonlocal step
                step += 1
                batch = pool.batch(BATCH, generator(Purpose.ORDER, 0, 1, step))
                loss, norm = trainer.step(batch)
                if step % settings.report_every == 0:
                    control.record(step, {"loss": float(loss), "gradient_norm": float(norm)})
                control.between_steps(lambda: None)

            for _ in range(PER_ROUND):
                engine_step()
                bare(*arguments)
            times = [(timed(engine_step), timed(partial(bare, *arguments))) for _ in range(rounds)]
    ours, theirs = np.array(times).T
    rng = np.random.default_rng(0)
    draws = rng.integers(0, rounds, (2000, rounds))
    ratios = np.median(ours[draws], 1) / np.median(theirs[draws], 1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    print(
        f"engine step / bare step: {np.median(ours) / np.median(theirs):.3f} (95 % interval "
        f"{low:.3f} to {high:.3f}, {rounds} rounds of {PER_ROUND} steps, batch {BATCH}; bare step "
        f"{1000 * np.median(theirs) / PER_ROUND:.1f} ms)"
    )


def timed(step: Callable[[], object]) -> float:
    """Return the seconds that PER_ROUND steps take."""
    started = perf_counter()
    for _ in range(PER_ROUND):
        step()
    return perf_counter() - started


def bare_step(teacher: DiffusionModel, grid: Grid) -> Callable[..., None]:
    """Return a training step as one would write it by hand: compiled, and nothing around it."""
    model = teacher.student(grid)
    network = model.network
    average = teacher.student(grid).network
    rate = optim.linear_schedule(1e-4, 0.0, 100_000)
    optimizer = optim.AdamW(rate, weight_decay=0.0, bias_correction=True)
    optimizer.init(network.trainable_parameters())
    state = [network.state, optimizer.state, average.state]
    tables = [
        mx.array(np.asarray(values, np.float32))
        for values in (grid.timesteps, grid.alphas[:-1], grid.sigmas[:-1])
    ]

    def loss_of(
        parameters: dict[str, Any],
        z: mx.array,
        target: mx.array,
        point: mx.array,
        condition: dict[str, mx.array],
        t: mx.array,
        alpha: mx.array,
        sigma: mx.array,
    ) -> mx.array:
        network.update(parameters)
        alpha, sigma = alpha[point].reshape(-1, 1, 1, 1), sigma[point].reshape(-1, 1, 1, 1)
        x0, _ = x0_and_eps(network(z, t[point], condition), z, alpha, sigma, model.prediction_type)
        weight = mx.minimum((alpha / sigma) ** 2 + 1, 100)
        return (weight * (x0 - target) ** 2).mean()

    @partial(mx.compile, inputs=state, outputs=state)
    def compiled(*arguments: Any) -> tuple[mx.array, mx.array]:
        loss, gradients = mx.value_and_grad(loss_of)(network.trainable_parameters(), *arguments)
        gradients, norm = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(network, gradients)
        average.update(
            tree_map(lambda a, p: 0.99 * a + 0.01 * p, average.parameters(), network.parameters())
        )
        return loss, norm

    def step(*arguments: Any) -> None:
        loss, norm = compiled(*arguments, *tables)
        mx.eval(state, loss, norm)

    return step


if __name__ == "__main__":
    main()
