"""What a distillation step takes on this machine, for `diffopt inspect`: memory and time."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from engine.diffusion.scheduler_config import read_scheduler_config
from engine.errors import ConfigError
from engine.model_size import (
    MemoryEstimate,
    adapter_parameter_count,
    forward_flops,
    parameter_count,
    training_memory,
)
from engine.models.checkpoint import Network, make_network
from engine.models.diffusion import Condition, DiffusionModel
from engine.models.folder import ModelFolder
from engine.models.loading import sample_shape, scheduler_source
from engine.probe import ADAPTER_STEP, FULL_STEP, timed_step
from engine.settings import HardwareSettings, LoraSettings, TrainingSettings

_PROBE_SIDE = 32  # of the sample that a step is timed on; the figure is scaled up from it
_SMALL_FLOPS = 5e9


def training_cost(
    config: dict[str, Any], size: list[int], batch_size: int, rank: int | None
) -> dict[str, Any]:
    """Return bytes by part of a step that trains all weights or adapters alone, on any base."""
    from engine import hardware

    lora = LoraSettings()
    rank = rank or lora.rank
    how: dict[str, Any] = {
        "batch_size": batch_size,
        "height": size[0],
        "width": size[1],
        "is_compiled": hardware.can_compile() and HardwareSettings().compile,
    }
    full = training_memory(config, **how)
    how |= {"lora_rank": rank, "lora_targets": lora.targets}
    adapters = training_memory(config, **how)
    narrow = {
        f"adapters_{precision}": _narrow(
            training_memory(config, **how, base_precision=precision), float32=adapters.weights
        )
        for precision in ("bfloat16", "int8")
    }
    return {
        "batch_size": batch_size,
        "rank": rank,
        "adapter_parameters": adapter_parameter_count(config, rank, lora.targets),
        "memory": {"weights": _as_dict(full), "adapters": _as_dict(adapters), **narrow},
    }


def _narrow(estimate: MemoryEstimate, *, float32: int) -> dict[str, int]:
    """Return an estimate over a base that is loaded in float32 first: scores compare with that."""
    return asdict(estimate) | {"loading": float32, "total": max(estimate.total, float32)}


def _as_dict(estimate: MemoryEstimate) -> dict[str, int]:
    return asdict(estimate) | {"total": estimate.total}


def seconds_per_step(
    folder: ModelFolder,
    size: list[int],
    batch_size: int,
    rank: int | None,
    *,
    available_bytes: int,
) -> dict[str, float] | None:
    """Return about how many seconds a step takes, from a forward of a small sample.

    On random weights, for time does not depend on them. None where the weights alone would not fit.
    """
    from time import perf_counter

    import mlx.core as mx

    from engine.blas import fit_threads

    config = folder.network_config
    parameters = parameter_count(config)
    if 4 * parameters > 0.6 * available_bytes:
        return None
    fit_threads(parameters)
    _, network = make_network(config, source=str(folder.config_path))
    side = [min(one, _PROBE_SIDE) for one in size]
    # where one sample is less than the overhead of asking for it, the batch is timed as it is
    is_small = forward_flops(config, *side) * batch_size < _SMALL_FLOPS
    count = batch_size if is_small else 1
    shape = (count, *side, config.get("in_channels") or 3)
    z = mx.array(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    mx.eval(network.parameters())
    condition = {
        key: mx.repeat(value, count, axis=0) for key, value in _some_condition(config).items()
    }
    seconds = []
    for _ in range(3):
        started = perf_counter()
        mx.eval(network(z, mx.array([500]), condition))
        seconds.append(perf_counter() - started)
    scale = forward_flops(config, *size) / forward_flops(config, *side) * batch_size / count
    forward = min(seconds[1:]) * scale
    if is_small and side == size:  # no rule of thumb holds, and a step is quickly tried
        return {"forward": forward} | _tried(folder, network, condition, batch_size, rank)
    return {
        "forward": forward,
        "weights": FULL_STEP * forward,
        "adapters": ADAPTER_STEP * forward,
    }


def _tried(
    folder: ModelFolder, network: Network, condition: Condition, batch_size: int, rank: int | None
) -> dict[str, float]:
    """Return how many seconds a step of each kind takes."""
    from engine import hardware

    settings = read_scheduler_config(folder.scheduler_config, scheduler_source(folder.path))
    model = DiffusionModel(
        network,
        settings.schedule,
        settings.own_grid() or settings.grid(8, None, None),
        prediction_type=settings.prediction_type,
        sample_shape=sample_shape(network, str(folder.config_path)),
        class_count=folder.network_config.get("num_class_embeds"),
    )
    training, machine = TrainingSettings(batch_size=batch_size), HardwareSettings()
    is_compiled = hardware.configure_mlx(cache_limit_bytes=None, compile=machine.compile)
    machine = replace(machine, compile=is_compiled)
    rank = rank or LoraSettings().rank
    lora = LoraSettings(enabled=True, rank=rank, alpha=float(rank))
    students = {"weights": model.student(), "adapters": model.student(lora=lora)}
    return {
        kind: timed_step(student, training, machine, condition)
        for kind, student in students.items()
    }


def _some_condition(config: dict[str, Any]) -> dict[str, Any]:
    import mlx.core as mx

    condition: dict[str, Any] = {}
    if config.get("_class_name") == "UNet2DConditionModel":
        width = config.get("cross_attention_dim") or 1280
        width = width[0] if isinstance(width, list) else width
        condition["encoder_hidden_states"] = mx.zeros((1, 77, width))
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"]
        pooled -= 6 * config["addition_time_embed_dim"]
        condition |= {"text_embeds": mx.zeros((1, pooled)), "time_ids": mx.zeros((1, 6))}
    if config.get("num_class_embeds") and config.get("class_embed_type") is None:
        condition["class_labels"] = mx.zeros((1,), mx.int32)
    elif config.get("class_embed_type") is not None:
        raise ConfigError("inspect: a network told numbers as labels is not timed; add --no-probe.")
    return condition
