"""A model as a run would measure it: its size, guidance and prompts, under a run's own noise.

What `diffopt schedule` and `diffopt evaluate` share. A model of pixels has none of the options, and
they are refused.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.commands.output import ProgressPrinter
from engine.conditioning import as_configured, condition_sets, pipeline_of
from engine.config import config_from_dict
from engine.context import RunContext
from engine.errors import CheckpointError, ConfigError, DataError
from engine.hooks import Hooks
from engine.memory import Memory
from engine.models.loading import LoadedModel
from engine.settings import HardwareSettings

_BATCH = 125
_LATENT_BATCH_VALUES = 4 * 64 * 64  # latents along height and width in one batch
# The setting of a run that each option is, by the name argparse gives it.
_PROMPT_OPTIONS = {
    "prompts": "data.prompts",
    "prompt_column": "data.prompt_column",
    "prompt_count": "data.prompt_count",
    "negative_prompt": "guidance.negative_prompt",
    "guidance": "guidance.scale",
    "guidance_rescale": "guidance.rescale",
    "height": "data.height",
    "width": "data.width",
    "mode": "quality.mode",
}


@contextmanager
def measured_run(
    loaded: LoadedModel, options: argparse.Namespace, **quality: Any
) -> Iterator[RunContext]:
    """Give what a run of this original under these options would measure with.

    Its noise, conditions and evaluators are a run's own, so that scores are those of a run.
    `quality` are settings of that section. What is kept on the disk goes at the end.

    Raises ConfigError, DataError or CheckpointError naming the option.
    """
    try:
        pipeline = pipeline_of(loaded)
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read: {error}.") from error
    given = {
        name: value
        for name in _PROMPT_OPTIONS
        if (value := getattr(options, name, None)) is not None
    }
    if pipeline is None and given:
        raise ConfigError(
            f"{_spelled(next(iter(given)))}: this model reads no prompts; leave it out."
        )
    if pipeline is not None:
        _check(given, pipeline.reduction)
    sections: dict[str, dict[str, Any]] = {
        "quality": quality,
        "original": {"steps": max(2, loaded.model.steps)},
    }
    for name, value in given.items():
        section, key = _PROMPT_OPTIONS[name].split(".")
        sections.setdefault(section, {})[key] = value
    content = {
        "model_path": str(loaded.checkpoint.path),
        "target_steps": 1,
        "optimization_stages": 1,
        **sections,
    }
    with TemporaryDirectory(prefix="diffopt-") as folder, _in_words_of_options():
        config = config_from_dict(content, "the options")
        printer = ProgressPrinter() if sys.stderr.isatty() else None
        hooks = Hooks(memory=Memory(Path(folder)))
        if printer is not None:
            hooks = replace(hooks, emit=printer.show)
        original = as_configured(loaded, pipeline, config)
        batch = _BATCH
        if pipeline is not None:
            height, width, _ = original.model.sample_shape
            batch = max(1, min(_BATCH, _LATENT_BATCH_VALUES // (height * width)))
        hardware = HardwareSettings(evaluation_batch_size=batch)
        run = RunContext(config, "options", hooks, hardware, original, pipeline=pipeline)
        if pipeline is not None:
            run.conditions = condition_sets(run)
        yield run
        if printer is not None:
            printer.clear()


def _spelled(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check(given: dict[str, Any], reduction: int) -> None:
    scale, rescale = given.get("guidance", 1), given.get("guidance_rescale", 0)
    if not 1 <= scale <= 100:
        raise ConfigError(f"--guidance {scale:g}: wanted a scale from 1 (none) to 100.")
    if not 0 <= rescale <= 1:
        raise ConfigError(f"--guidance-rescale {rescale:g}: wanted 0 to 1.")
    for name in ("height", "width"):
        pixels = given.get(name)
        if pixels is not None and (pixels < 1 or pixels % reduction):
            raise ConfigError(f"--{name} {pixels}: wanted a multiple of {reduction}.")


@contextmanager
def _in_words_of_options() -> Iterator[None]:
    """Tell mistakes by the option, where a run tells them by the setting."""
    try:
        yield
    except (ConfigError, DataError) as error:
        text = str(error)
        for name, key in _PROMPT_OPTIONS.items():
            text = text.replace(key, _spelled(name))
        for key in ("quality.select_samples", "quality.samples"):
            text = text.replace(f"the options: {key}", "--samples")
        if text == str(error):
            raise
        raise type(error)(text) from error
