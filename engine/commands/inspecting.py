"""`diffopt inspect`: what a checkpoint is, and what distilling it on this machine would take.

The figures but the time come from config.json files and headers, however large the model; weights
are read once, a tensor at a time, for what is damaged in them.
"""

import argparse
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from engine.commands.output import say, say_json, table
from engine.diffusion.scheduler_config import read_scheduler_config
from engine.errors import CheckpointError, ConfigError, UnsupportedError
from engine.model_size import (
    MemoryEstimate,
    adapter_parameter_count,
    component_parameters,
    component_sizes,
    forward_flops,
    parameter_count,
    training_memory,
)
from engine.models.checkpoint import Checkpoint, Network, make_network
from engine.models.diffusion import Condition, DiffusionModel
from engine.models.folder import ModelFolder, find_model, resolve_model_path
from engine.models.loading import sample_shape, scheduler_source
from engine.models.pipeline import LatentPipeline
from engine.models.unet_condition import UNet2DConditionModel
from engine.models.weights import check_weights, scan_weights
from engine.probe import ADAPTER_STEP, FULL_STEP, timed_step
from engine.settings import HardwareSettings, LoraSettings, TrainingSettings

_TEXT_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x"}
_KINDS = {  # and how each is headed
    "weights": "all weights",
    "adapters": "LoRA rank {rank}",
    "adapters_bfloat16": "base bfloat16",
    "adapters_int8": "base int8",
}
_PARTS = {
    "weights": "weights",
    "teacher": "teacher",
    "adapters": "adapters",
    "average": "moving average",
    "optimizer": "optimizer",
    "activations": "activations, gradients",
    "loading": "before, in float32",
    "total": "at the peak",
}
_PROBE_SIDE = 32  # of the sample that a step is timed on; the figure is scaled up from it
_SMALL_FLOPS = 5e9


def inspect(options: argparse.Namespace) -> int:
    """Print family, sizes, schedule, whether it is supported, and the cost of a distillation step.

    Returns 0 for a model that is not supported too, with the reasons: it was asked what it is.
    Raises CheckpointError for one that is damaged.
    """
    path = resolve_model_path(options.model, may_fetch=True)
    try:
        folder = find_model(path)
    except UnsupportedError as error:  # a pipeline of another kind: there is little to say of it
        facts = {"path": str(path), "supported": False, "reasons": [str(error)], "commands": []}
        folder = None
    except OSError as error:
        raise CheckpointError(f"{error.filename or path} cannot be read: {error}.") from error
    else:
        facts = _facts(folder)
        _read_weights(folder, is_thorough=options.weights, is_supported=facts["supported"])
    facts["model"] = str(options.model)
    facts["machine"] = _machine()
    batch = 1
    if folder is not None and facts["supported"]:
        prompted = facts["reads_prompts"]
        batch = options.batch_size or (1 if prompted else TrainingSettings().batch_size)
        size = facts["sample_size"] or [32, 32]
        facts["training"] = _training(folder.network_config, size, batch, options.rank)
        if options.probe:
            facts["training"]["seconds_per_step"] = _probe(folder, size, batch, options.rank)
    if options.json:
        say_json(facts)
        return 0
    _tell(facts, batch)
    return 0


def _facts(folder: ModelFolder) -> dict[str, Any]:
    config, reasons = folder.network_config, list[str]()
    network = schedule = None
    try:
        network = _network(folder)
    except UnsupportedError as error:
        reasons.append(str(error))
    try:
        schedule = _schedule(folder)
    except UnsupportedError as error:
        reasons.append(str(error))
    try:
        _surroundings(folder, network)
    except UnsupportedError as error:
        reasons.append(str(error))
    size = config.get("sample_size")
    name = config.get("_class_name") or "UNet2DModel"
    return {
        "path": str(folder.path),
        "pipeline": folder.model_index.get("_class_name"),
        "network": name,
        "family": _family(config, name),
        "reads_prompts": name == "UNet2DConditionModel",
        "classes": config.get("num_class_embeds"),
        "parameters": parameter_count(config) if network is not None else None,
        "sample_size": [size, size] if isinstance(size, int) else size,
        "channels": config.get("in_channels") or (4 if name == "UNet2DConditionModel" else 3),
        "schedule": schedule,
        "components": {
            part: {"bytes": size_bytes, "parameters": component_parameters(folder.path)[part]}
            for part, size_bytes in component_sizes(folder.path).items()
        },
        "supported": not reasons,
        "reasons": reasons,
        "commands": [] if reasons else _commands(folder, name, schedule),
    }


def _network(folder: ModelFolder) -> Network:
    """Return the network, its weights neither made nor read."""
    _, network = make_network(folder.network_config, source=str(folder.config_path))
    sample_shape(network, str(folder.config_path))
    return network


def _schedule(folder: ModelFolder) -> dict[str, Any]:
    settings = read_scheduler_config(folder.scheduler_config, scheduler_source(folder.path))
    return {
        "prediction_type": settings.prediction_type,
        "solver": settings.solver,
        "spacing": settings.spacing,
        "timesteps": settings.schedule.count,
        "beta_schedule": folder.scheduler_config.get("beta_schedule") or "linear",
        "last_alpha_cumprod": float(settings.schedule.alphas_cumprod[-1]),
        "ends_clean": settings.schedule.final_alpha_cumprod == 1.0,
        "clips": settings.clip_range is not None,
        "own_timesteps": list(settings.own_timesteps) if settings.own_timesteps else None,
    }


def _surroundings(folder: ModelFolder, network: Network | None) -> LatentPipeline | None:
    """Return what stands around a network of prompts; None where it stands alone."""
    if not isinstance(network, UNet2DConditionModel) or not folder.model_index:
        return None
    return LatentPipeline(
        Checkpoint(
            path=folder.path,
            family="unet2d_condition",
            network=network,
            network_config=folder.network_config,
            scheduler_config=folder.scheduler_config,
            model_index=folder.model_index,
            weights_sha256="",
        )
    )


def _read_weights(folder: ModelFolder, *, is_thorough: bool, is_supported: bool) -> None:
    """Raise CheckpointError for files that are damaged, as far as it was asked to look."""
    if not is_thorough:
        return
    try:
        if is_supported:
            network = _network(folder)
            check_weights(network, folder.weight_paths, folder.config_path)
            if (pipeline := _surroundings(folder, network)) is not None:
                pipeline.check(is_thorough=True)
        scan_weights(folder.weight_paths)
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read: {error}.") from error


def _family(config: dict[str, Any], name: str) -> str:
    if name != "UNet2DConditionModel":
        return "pixels, by class" if config.get("num_class_embeds") else "pixels"
    if config.get("addition_embed_type") == "text_time":
        return "Stable Diffusion XL"
    width = config.get("cross_attention_dim") or 1280
    width = width[0] if isinstance(width, list) else width
    return _TEXT_WIDTHS.get(width, f"latents, prompts of width {width}")


def _commands(folder: ModelFolder, name: str, schedule: dict[str, Any] | None) -> list[str]:
    """Return what can be done with the model."""
    if folder.network_config.get("class_embed_type") is not None:
        return ["sample (--conditioning)"]  # told numbers, of which a run knows no table
    if name == "UNet2DConditionModel" and not folder.model_index:
        return ["sample (--conditioning: the network stands alone)"]
    if schedule and schedule["own_timesteps"]:
        return ["sample (a distilled student, at its own timesteps)", "evaluate"]
    forms = "diffusers, unet, lora" if name == "UNet2DConditionModel" else "diffusers, unet"
    return ["sample", "schedule", "evaluate", "run (all weights, or lora.enabled)",
            f"export ({forms})"]  # fmt: skip


def _training(
    config: dict[str, Any], size: list[int], batch_size: int, rank: int | None
) -> dict[str, Any]:
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


def _probe(
    folder: ModelFolder, size: list[int], batch_size: int, rank: int | None
) -> dict[str, float] | None:
    """Return about how many seconds a step takes, from a forward of a small sample.

    On random weights, for time does not depend on them. None where the weights alone would not fit.
    """
    from time import perf_counter

    import mlx.core as mx

    from engine.blas import fit_threads

    config = folder.network_config
    parameters = parameter_count(config)
    if 4 * parameters > 0.6 * _machine()["available_bytes"]:
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


def _machine() -> dict[str, Any]:
    from engine import hardware

    machine = hardware.describe_machine()
    return {
        "summary": machine.summary,
        "available_bytes": machine.available_memory_bytes,
        "memory_bytes": machine.memory_bytes,
    }


def _tell(facts: dict[str, Any], batch_size: int) -> None:
    if "family" not in facts:
        say(f"{facts['model']}: not supported")
        say(f"NOT SUPPORTED: {facts['reasons'][0]}")
        return
    named = f" ({facts['pipeline']})" if facts["pipeline"] else ""
    say(f"{facts['model']}: {facts['family']}{named}")
    if facts["parameters"]:
        size = "x".join(map(str, facts["sample_size"] or ["?"]))
        what = "latents" if facts["reads_prompts"] else "samples"
        count = f"{_count(facts['parameters'])} parameters"
        say(f"network    {facts['network']}, {count}, {what} of {size}x{facts['channels']}")
    for part, sizes in facts["components"].items():
        count = _count(sizes["parameters"])
        say(f"           {part}: {count}, {_size(sizes['bytes'])} on disk")
    if schedule := facts["schedule"]:
        end = "clean" if schedule["ends_clean"] else "at the first level"
        spacing = f"{schedule['timesteps']} timesteps, {schedule['spacing']} spacing, ends {end}"
        say(f"predicts   {schedule['prediction_type']}")
        say(f"schedule   {schedule['beta_schedule']} betas, {spacing}")
    if not facts["supported"]:
        for reason in facts["reasons"]:
            say(f"NOT SUPPORTED: {reason}")
        return
    say(f"supported  {', '.join(facts['commands'])}")
    training, machine = facts["training"], facts["machine"]
    memory = training["memory"]
    say()
    say(f"a training step of {batch_size}, estimated")
    rows = [
        (label, *(_size(memory[kind][key]) if memory[kind].get(key) else "-" for kind in _KINDS))
        for key, label in _PARTS.items()
    ]
    if seconds := training.get("seconds_per_step"):
        told = (f"{seconds[kind]:.2g}" if kind in seconds else "-" for kind in _KINDS)
        rows.append(("seconds, about", *told))
    say(table(("", *(head.format(rank=training["rank"]) for head in _KINDS.values())), rows))
    fits = [kind for kind in _KINDS if memory[kind]["total"] <= machine["available_bytes"]]
    words = "none fits: take a smaller --batch-size or --rank"
    if len(fits) == len(_KINDS):
        words = "all of them fit"
    elif fits:
        heads = [_KINDS[kind].format(rank=training["rank"]) for kind in fits]
        words = f"what fits: {', '.join(heads)} (hardware.base_precision, with LoRA)"
    free, whole = _size(machine["available_bytes"]), _size(machine["memory_bytes"])
    say(f"{free} of {whole} are free here: {words}")


def _size(count: float) -> str:
    if count < 1e5:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} million" if number >= 1e6 else f"{number / 1e3:,.1f} thousand"
