"""`diffopt sample`: one checkpoint, some noise, a picture or arrays."""

import argparse
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from engine.commands.output import say, say_json
from engine.commands.prompting import Prompted
from engine.commands.sample_target import SAMPLES, sample_target
from engine.diffusion.grid import grid_at
from engine.errors import ConfigError, DataError
from engine.files import expanded, write_safetensors
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel, load_model
from engine.pictures import save_sheet
from engine.training.conditions import Conditions
from engine.training.evaluate import sample_all

_BATCH, _LATENT_BATCH = 64, 4
_COLUMNS = 10


def sample(options: argparse.Namespace) -> int:
    """Sample a model and write `options.out`.

    .png for people, .safetensors (key `samples`, NCHW float32) for programs.
    """
    out = sample_target(options.out)
    loaded = load_model(
        options.model,
        adapters=None if options.lora is None else expanded(options.lora),
        steps=options.steps or 50,
        spacing=options.spacing,
        solver=options.solver,
        final_alpha=options.final_alpha,
        clip_sample=options.clip_sample,
    )
    model = _on_wanted_grid(loaded, options)
    prompted = Prompted(loaded, options, out)
    model = prompted.sized(model)
    given = prompted.arrays()
    noise, labels = _noise_and_labels(model, options, given)
    if labels is not None:
        given["class_labels"] = labels
    conditions = Conditions.of_arrays(given) if given else Conditions.none(len(noise))
    model = prompted.guided(model, given)
    batch_size = _BATCH if loaded.checkpoint.family == "unet2d" else _LATENT_BATCH
    try:
        samples = sample_all(model, noise, conditions.repeated(len(noise)), batch_size=batch_size)
    except DataError as error:
        if options.conditioning is None:
            raise
        raise DataError(f"--conditioning {options.conditioning}: {error}") from error
    if out.suffix == ".png":
        pictures = prompted.pictures(samples)
        rows = [pictures[i : i + _COLUMNS] for i in range(0, len(pictures), _COLUMNS)]
        save_sheet(out, rows)
    else:
        write_safetensors(out, {SAMPLES: np.ascontiguousarray(samples.transpose(0, 3, 1, 2))})
    if options.json:
        facts = {"out": str(out), "samples": len(samples), "steps": model.steps}
        say_json(facts | {"solver": model.solver, "timesteps": list(model.grid.timesteps)})
        return 0
    timesteps = ", ".join(f"{t:g}" for t in model.grid.timesteps)
    say(f"{len(samples)} samples of {model.steps} steps ({model.solver}; {timesteps}) in {out}")
    return 0


def _on_wanted_grid(loaded: LoadedModel, options: argparse.Namespace) -> DiffusionModel:
    """Return the model on the grid that was asked for.

    A distilled student is asked twice before it leaves its own.
    """
    model = loaded.model
    wishes = [
        name
        for name, value in (
            ("--steps", options.steps),
            ("--timesteps", options.timesteps),
            ("--spacing", options.spacing),
            ("--solver", options.solver),
        )
        if value is not None
    ]
    if loaded.is_distilled and wishes and not options.force:
        own = ", ".join(f"{t:g}" for t in model.grid.timesteps)
        raise ConfigError(
            f"{wishes[0]}: {loaded.checkpoint.path} is a distilled student, defined for its own "
            f"timesteps ({own}) and order 1 alone. Leave the option out, or add --force."
        )
    solver = options.solver or loaded.settings.solver
    if options.timesteps is not None:
        try:
            return model.with_grid(grid_at(model.schedule, options.timesteps, "as given"), solver)
        except ValueError as error:
            raise ConfigError(f"--timesteps: {error}.") from error
    if loaded.is_distilled and wishes:
        spacing = options.spacing or "trailing"
        grid = loaded.settings.grid(options.steps or model.steps, spacing, solver)
        return model.with_grid(grid, solver)
    return model


def _noise_and_labels(
    model: DiffusionModel, options: argparse.Namespace, given: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return noise and class labels for as many samples as are asked for, or conditions given."""
    noise = None
    rows = max((len(value) for value in given.values()), default=1)
    if options.noise is not None:
        noise = _read_noise(expanded(options.noise), model)
        if options.count is not None and options.count != len(noise):
            raise ConfigError(
                f"--count is {options.count} but {options.noise} holds "
                f"{len(noise)}; leave --count out."
            )
    labels = None
    if "class_labels" not in given:
        labels = _wanted_labels(model, options, None if noise is None else len(noise))
    count = (
        len(noise)
        if noise is not None
        else options.count or (len(labels) if labels is not None else max(rows, 1 if given else 4))
    )
    if rows > 1 and count % rows:
        raise ConfigError(f"{rows} conditions do not go evenly into {count} samples.")
    if labels is not None and len(labels) != count:
        labels = np.resize(labels, count)  # in turn
    if noise is None:
        noise = np.random.default_rng(options.seed).standard_normal(
            (count, *model.sample_shape), dtype=np.float32
        )
    return noise, labels


def _wanted_labels(
    model: DiffusionModel, options: argparse.Namespace, count: int | None
) -> np.ndarray | None:
    classes, given = model.class_count, options.class_labels
    if classes is None:
        if given is not None or options.labels is not None:
            raise ConfigError("--class-labels: this model has no classes; leave the option out.")
        return None
    if given is None:
        if options.labels is None:
            raise ConfigError(
                f"this model is class-conditional; name --class-labels (0 to {classes - 1}, "
                "comma-separated) or --labels all."
            )
        return np.arange(classes, dtype=np.int32)
    wrong = [label for label in given if not 0 <= label < classes]
    if wrong:
        raise ConfigError(
            f"--class-labels: {wrong[0]} is no class of this model; choose 0 to {classes - 1}."
        )
    if count is not None and count % len(given):
        raise ConfigError(
            f"--class-labels: {len(given)} labels do not go evenly into {count} samples."
        )
    return np.array(given, np.int32)


def _read_noise(path: Path, model: DiffusionModel) -> np.ndarray:
    """Return (n, H, W, C) float32 from the key `noise` of a safetensors file, NCHW on disk."""
    if not path.is_file():
        raise DataError(f"--noise {path}: no such file.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, TypeError) as error:
        raise DataError(f"--noise {path}: not a whole safetensors file ({error}).") from error
    if "noise" not in tensors:
        raise DataError(
            f"--noise {path}: holds "
            f"{', '.join(sorted(tensors)) or 'nothing'}; wanted the key noise."
        )
    noise = tensors["noise"].astype(np.float32)
    channels = model.sample_channels
    if noise.ndim != 4 or noise.shape[1] != channels or not len(noise):
        raise DataError(
            f"--noise {path}: noise has shape {list(noise.shape)}; "
            f"wanted (N, {channels}, height, width) as in NCHW."
        )
    if not np.isfinite(noise).all():
        raise DataError(f"--noise {path}: noise holds NaN or infinity.")
    return np.ascontiguousarray(noise.transpose(0, 2, 3, 1))
