"""One student's optimisation.

A single compiled step over float32 master weights, with their moving average.

Knows batches, weights and a learning rate. Not where batches come from (`states`), nor when to stop
(`distill`).
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_map_with_path, tree_unflatten

from engine.diffusion.noise import x0_and_eps
from engine.models.diffusion import DiffusionModel
from engine.models.guidance import conditional
from engine.models.lora import shared_copy
from engine.models.recompute import recomputed_activations
from engine.settings import TrainingSettings
from engine.training.states import Batch, loss_weights


class Trainer:
    """Trains `student` in place; the average of its weights is what a finished stage keeps.

    Optimizer, average and snapshots cover what is trainable alone: an adapted student's adapters.
    The loss is the weighted squared error of the clean estimate, in float32 whatever the network
    computes in.
    """

    def __init__(
        self,
        student: DiffusionModel,
        settings: TrainingSettings,
        *,
        iterations: int,
        learning_rate: float,
        compute_dtype: mx.Dtype = mx.float32,
        is_compiled: bool = True,
        micro_batch_size: int | None = None,
        is_recomputed: bool = False,
        snapshot: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.student, self.settings, self.iterations = student, settings, iterations
        self._compute_dtype, self._is_recomputed = compute_dtype, is_recomputed
        self._micro_batch_size = micro_batch_size
        network, grid = student.network, student.grid
        self._network = network
        self._average: dict[str, Any] = {"weights": parameters_of(network)}

        warmup = min(settings.warmup_steps, iterations // 10)
        falling = optim.linear_schedule(learning_rate, 0.0, max(1, iterations - warmup))
        rising = optim.linear_schedule(
            learning_rate / max(1, warmup), learning_rate, max(1, warmup)
        )
        rate = optim.join_schedules([rising, falling], [warmup]) if warmup else falling
        self._optimizer = optim.AdamW(
            rate, weight_decay=settings.weight_decay, bias_correction=True
        )
        self._optimizer.init(network.trainable_parameters())
        if snapshot is not None:
            self._restore(snapshot)  # before the step is built, which captures these arrays

        # Levels of each point of the grid, looked up inside the step so that its shapes never
        # change.
        weights = loss_weights(grid, settings.loss_weight, settings.max_loss_weight)
        self._tables = [
            mx.array(np.asarray(values, np.float32))
            for values in (grid.timesteps, grid.alphas[:-1], grid.sigmas[:-1], weights)
        ]
        self.state = [network.state, self._optimizer.state, self._average]
        mx.eval(self.state)
        self._step, self._add, self._apply = self._built_steps(is_compiled)

    def step(self, batch: Batch) -> tuple[mx.array, mx.array]:
        """Take one optimiser step; return (loss, gradient norm before clipping), evaluated.

        With `micro_batch_size` the batch's gradient is summed over parts of that many samples, of
        which one part's activations are held at a time.
        """
        condition, size = conditional(batch.condition), len(batch.z)
        part = self._micro_batch_size or size
        if part >= size:
            loss, norm = self._step(batch.z, batch.target, batch.point, condition, *self._tables)
            mx.eval(self.state, loss, norm)
            return loss, norm

        zeros = tree_map(mx.zeros_like, self._network.trainable_parameters())
        sums = mx.array(0.0), zeros
        for start in range(0, size, part):
            chosen = slice(start, start + part)
            z, target, point = batch.z[chosen], batch.target[chosen], batch.point[chosen]
            some = {key: value[chosen] for key, value in condition.items()}
            share = mx.array(len(z) / size)
            sums = self._add(*sums, share, z, target, point, some, *self._tables)
            mx.eval(self.state, sums)  # or the activations of all parts would live at once
        loss, gradients = sums
        norm = self._apply(gradients)
        mx.eval(self.state, norm)
        return loss, norm

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return everything that the next steps depend on.

        Weights, their average, the optimizer's moments and count.
        """
        trees = {
            "network": self._network.trainable_parameters(),
            "average": self._average["weights"],
            "optimizer": self._optimizer.state,
        }
        return {
            f"{name}.{key}": np.array(value)
            for name, tree in trees.items()
            for key, value in tree_flatten(tree)
        }

    def _restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        trees: dict[str, list[tuple[str, mx.array]]] = {
            "network": [],
            "average": [],
            "optimizer": [],
        }
        for key, value in snapshot.items():
            name, _, rest = key.partition(".")
            if name in trees:
                trees[name].append((rest, mx.array(value)))
        put_parameters(self._network, dict(trees["network"]))
        average = dict(trees["average"])
        self._average["weights"] = tree_map_with_path(
            lambda path, _: average[path], self._average["weights"]
        )
        self._optimizer.state = tree_unflatten(trees["optimizer"])  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def learning_rate(self) -> float:
        """The rate of the last step taken."""
        return float(self._optimizer.learning_rate)

    def keep_average(self) -> None:
        """Put the moving average of the weights into the student; the last step of a stage."""
        if self.settings.ema_decay > 0:
            self._network.update(self._average["weights"])
            mx.eval(self._network.parameters())

    def averaged_student(self) -> DiffusionModel:
        """Return a model over the averaged weights as they stand, for a look during training."""
        model = self.student.with_grid(self.student.grid)
        if self.settings.ema_decay > 0:
            model.network = shared_copy(self._network)
            model.network.update(self._average["weights"])
        return model

    def _built_steps(self, is_compiled: bool) -> tuple[Callable[..., Any], ...]:
        """Return a whole step, the sum of one part's gradient to others, and what is done with it.

        The first is the other two in one function, so that nothing is kept between them.
        """
        network, optimizer, average = self._network, self._optimizer, self._average
        decay, clip, dtype = (
            self.settings.ema_decay,
            self.settings.gradient_clip,
            self._compute_dtype,
        )
        kind = self.student.prediction_type

        def loss_of(
            parameters: dict, z, target, point, condition, t, alpha, sigma, weight
        ) -> mx.array:
            network.update(tree_map(lambda p: p.astype(dtype), parameters))
            alpha, sigma, weight = (
                table[point].reshape(-1, 1, 1, 1) for table in (alpha, sigma, weight)
            )
            with recomputed_activations(network, self._is_recomputed):
                prediction = network(z.astype(dtype), t[point], condition).astype(mx.float32)
            x0, _ = x0_and_eps(prediction, z, alpha, sigma, kind)
            return (weight * (x0 - target) ** 2).mean()

        def gradients_of(*arguments: mx.array) -> tuple[mx.array, Any]:
            master = network.trainable_parameters()
            loss, gradients = mx.value_and_grad(loss_of)(master, *arguments)
            network.update(master)  # the forward left its own, perhaps narrower, weights there
            return loss, gradients

        def apply(gradients: Any) -> mx.array:
            gradients, norm = optim.clip_grad_norm(gradients, clip)
            optimizer.update(network, gradients)
            if decay > 0:
                # A young average forgets faster, or it would carry the start along (as in
                # TensorFlow's EMA).
                steps = optimizer.step.astype(mx.float32)
                share = mx.minimum(decay, (1 + steps) / (10 + steps))
                average["weights"] = tree_map(
                    lambda a, p: share * a + (1 - share) * p,
                    average["weights"],
                    network.trainable_parameters(),
                )
            return norm

        def step(*arguments: mx.array) -> tuple[mx.array, mx.array]:
            loss, gradients = gradients_of(*arguments)
            return loss, apply(gradients)

        def add(
            loss_sum: mx.array, gradient_sum: Any, share: mx.array, *arguments: mx.array
        ) -> tuple[mx.array, Any]:
            loss, gradients = gradients_of(*arguments)
            summed = tree_map(lambda total, part: total + share * part, gradient_sum, gradients)
            return loss_sum + share * loss, summed

        if not is_compiled:
            return step, add, apply
        compiled = partial(mx.compile, inputs=self.state, outputs=self.state)
        return compiled(step), compiled(add), compiled(apply)


def parameters_of(network: nn.Module) -> dict:
    """Return what is trainable of a network as it stands.

    Later training puts other arrays in the network and leaves these alone. They are no copy: until
    then both are the same bytes.
    """
    return copy.deepcopy(network.trainable_parameters())


def put_parameters(network: nn.Module, found: Mapping[str, mx.array]) -> None:
    """Put arrays, by path, in the place of all that is trainable; KeyError if one is not there."""
    tree = network.trainable_parameters()
    network.update(tree_map_with_path(lambda path, _: found[path], tree))
