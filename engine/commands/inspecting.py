"""`diffopt inspect`: what a checkpoint is, and what distilling it on this machine would take.

The figures but the time come from config.json files and headers, however large the model; weights
are read once, a tensor at a time, for what is damaged in them.
"""

import argparse
from typing import Any

from engine.commands.inspecting_cost import seconds_per_step, training_cost
from engine.commands.output import say, say_json, table
from engine.config import describe_fields
from engine.diffusion.scheduler_config import read_scheduler_config
from engine.errors import CheckpointError, ConfigError, UnsupportedError
from engine.model_size import (
    component_parameters,
    component_sizes,
    parameter_count,
)
from engine.models.checkpoint import Checkpoint, Network, make_network
from engine.models.folder import ModelFolder, find_model, resolve_model_path
from engine.models.loading import sample_shape, scheduler_source
from engine.models.pipeline import LatentPipeline
from engine.models.unet_condition import UNet2DConditionModel
from engine.models.weights import check_weights, scan_weights
from engine.settings import LoraSettings, TrainingSettings

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


def inspect(options: argparse.Namespace) -> int:
    """Print family, sizes, schedule, whether it is supported, and the cost of a distillation step.

    Returns 0 for a model that is not supported too, with the reasons: it was asked what it is.
    Raises CheckpointError for one that is damaged.
    """
    _check_bounds("--batch-size", options.batch_size, TrainingSettings, "batch_size")
    _check_bounds("--rank", options.rank, LoraSettings, "rank")
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
        facts["training"] = training_cost(folder.network_config, size, batch, options.rank)
        if options.probe:
            facts["training"]["seconds_per_step"] = seconds_per_step(
                folder,
                size,
                batch,
                options.rank,
                available_bytes=facts["machine"]["available_bytes"],
            )
    if options.json:
        say_json(facts)
        return 0
    _tell(facts, batch)
    return 0


def _check_bounds(option: str, value: int | None, section: type, name: str) -> None:
    """Refuse what the setting of that name could not be."""
    for bound in describe_fields(section)[name].metadata:
        greatest = getattr(bound, "le", None)
        if value is not None and greatest is not None and value > greatest:
            raise ConfigError(f"{option} is {value}; wanted 1 to {greatest}.")


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
