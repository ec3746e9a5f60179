"""A draft as a command: `diffopt run SOURCE --set ...`. Pure."""

from __future__ import annotations

import shlex

from engine.config import DiffusionOptimizationConfig
from engine.config_check import check_text
from tui.draft_file import Source
from tui.schema import flat
from tui.typed_values import MISSING
from tui.yaml_spelling import is_same, spell


def command_of(source: Source, config: DiffusionOptimizationConfig) -> str:
    """Return the command that runs `config`, by what differs from its source as it was read."""
    was = check_text(source.text, source.name).config
    base = flat(was.to_dict()) if was is not None else {}
    words = ["diffopt", "run", str(source.path or source.words)]
    for key, value in flat(config.to_dict()).items():
        if not is_same(base.get(key, MISSING), value):
            words += ["--set", f"{key}={spell(value)}"]
    return shlex.join(words)
