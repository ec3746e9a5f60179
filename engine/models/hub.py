"""Models named by their id on the Hugging Face hub, "OWNER/NAME".

What is in the hub's own cache is used as it is; only what is missing is fetched, by the library
`huggingface_hub` (the extra `hub`), and never while a run works. A folder of that name always wins.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError

_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
# What a pipeline is made of. Pickles, single-file checkpoints and other runtimes' files stay there.
_WANTED = ("*.json", "*/*.json", "*/*.safetensors", "*/*.txt", "*.safetensors", "*.md")
_UNWANTED = ("*.onnx*", "openvino*", "*non_ema*", "v1-5*", "v2-1*", "sd_xl*", "safety_checker/*")


def is_hub_id(text: str | Path) -> bool:
    """Return whether `text` can only be the id of a model on the hub: no such folder, "A/B"."""
    name = str(text)
    is_relative = not name.startswith((".", "~", "/"))
    return is_relative and _ID.fullmatch(name) is not None and not Path(name).exists()


def hub_folder(name: str, *, may_fetch: bool = True) -> Path:
    """Return the folder of the model `name` in the hub's cache, fetched if it is not there.

    Raises:
        CheckpointError: the extra is missing, or the model is neither there nor to be had.
    """
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError as error:
        raise CheckpointError(
            f"{name}: there is no such folder, and to fetch a model of that id diffopt needs "
            "huggingface_hub: pip install 'diffopt-tui[hub]'."
        ) from error
    try:
        folder = Path(hub.snapshot_download(name, local_files_only=True))
        if _is_whole(folder):
            return folder
    except (OSError, ValueError):
        pass  # not in the cache, or not all of it
    if not may_fetch:
        raise CheckpointError(f"{name}: there is no such folder, nor a copy in the hub's cache.")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{name}: there is no such folder, and the hub gives no model of that id "
            f"({type(error).__name__}: {_without_address(reason[0])}). Check the name and the "
            "network, or give a folder."
        ) from error


def _is_whole(folder: Path) -> bool:
    """Return whether a network's config lies in the snapshot; weights are looked for later."""
    return any((folder / place).is_file() for place in ("unet/config.json", "config.json"))


def _without_address(text: str) -> str:
    return re.sub(r"https?://\S+", "the hub", text)
