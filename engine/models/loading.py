"""From a diffusers folder to a `DiffusionModel`.

It samples as the folder asks, or as the caller overrides.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlx.utils import tree_flatten

from engine.blas import fit_threads
from engine.diffusion.names import Solver, Spacing
from engine.diffusion.scheduler_config import GRID_KEY, SchedulerSettings, read_scheduler_config
from engine.errors import CheckpointError, UnsupportedError
from engine.models.checkpoint import Checkpoint, Network, load_checkpoint
from engine.models.diffusion import DiffusionModel
from engine.models.folder import SCHEDULER_NAME, read_json_object
from engine.models.lora_files import load_lora
from engine.models.unet import UNet2DModel
from engine.models.unet_condition import UNet2DConditionModel


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to sample, with what its folder said."""

    model: DiffusionModel
    checkpoint: Checkpoint
    settings: SchedulerSettings

    @property
    def is_distilled(self) -> bool:
        """Whether the folder names its own timesteps.

        A student, sampled on its own grid with order 1.
        """
        return self.settings.own_timesteps is not None


def load_model(
    path: str | Path,
    *,
    steps: int = 50,
    spacing: Spacing | None = None,
    solver: Solver | None = None,
    final_alpha: Literal["one", "first"] | None = None,
    clip_sample: bool | None = None,
    adapters: Path | None = None,
) -> LoadedModel:
    """Return the model of a diffusers folder with its weights in float32.

    `adapters` is a folder that a student was exported to as LoRA, or a file of adapters: they are
    put on the network, and the folder's own scheduler takes the place of the model's.

    A distilled student gets its own grid; any other gets `steps` of `solver` at `spacing`, by
    default its scheduler's. `final_alpha` and `clip_sample` override the scheduler's
    set_alpha_to_one and clip_sample. Raises CheckpointError naming the file and the key.
    """
    checkpoint = load_checkpoint(path)
    if adapters is not None:
        checkpoint = _with_adapters(checkpoint, adapters)
    parameters = dict(tree_flatten(checkpoint.network.parameters()))
    fit_threads(sum(value.size for value in parameters.values()))
    settings = read_scheduler_config(checkpoint.scheduler_config, scheduler_source(checkpoint.path))
    if final_alpha is not None:
        settings = replace(settings, schedule=settings.schedule.ending_at(final_alpha))
    if clip_sample is not None:
        settings = replace(
            settings, clip_range=(settings.clip_range or 1.0) if clip_sample else None
        )
    own = settings.own_grid()
    solver = solver or settings.solver
    if own is None and not 1 <= steps <= settings.schedule.count:
        raise CheckpointError(
            f"{checkpoint.path}: {steps} steps were asked of a schedule of "
            f"{settings.schedule.count} timesteps; choose 1 to {settings.schedule.count}."
        )
    model = DiffusionModel(
        checkpoint.network,
        settings.schedule,
        own or settings.grid(steps, spacing, solver),
        prediction_type=settings.prediction_type,
        sample_shape=sample_shape(checkpoint.network, str(checkpoint.path)),
        class_count=checkpoint.network_config.get("num_class_embeds"),
        solver="ddim" if own else solver,
        clip_range=settings.clip_range,
    )
    return LoadedModel(model, checkpoint, settings)


def _with_adapters(checkpoint: Checkpoint, adapters: Path) -> Checkpoint:
    network, config = load_lora(checkpoint.network, adapters), checkpoint.scheduler_config
    scheduler = adapters / "scheduler" / SCHEDULER_NAME
    if scheduler.is_file():
        config = read_json_object(scheduler)
    assert isinstance(network, UNet2DModel | UNet2DConditionModel)
    return replace(checkpoint, network=network, scheduler_config=config)


def sample_shape(network: Network, source: str) -> tuple[int, int, int]:
    """Return (H, W, C) of a state: pixels, or latents where the network works on them.

    Raises UnsupportedError where it has none, or predicts something else than a state.
    """
    config = network.config
    if config.sample_size is None:
        raise UnsupportedError(
            f"{source}: sample_size is None; wanted the height and width of a sample."
        )
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    if config.out_channels != config.in_channels:
        raise UnsupportedError(
            f"{source}: out_channels is {config.out_channels} but in_channels is "
            f"{config.in_channels}; wanted the same. A network that also predicts a variance, or "
            "reads a picture to fill in, is not supported."
        )
    return height, width, config.in_channels


def scheduler_source(folder: Path) -> str:
    """Return where a model's scheduler settings come from, for a message."""
    for place in ("scheduler/scheduler_config.json", "scheduler_config.json"):
        if (folder / place).is_file():
            return str(folder / place)
    return f"{folder} (no scheduler_config.json; {GRID_KEY} and others at their defaults)"
