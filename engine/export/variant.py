"""Folders whose weights are there as a variant only, `model.fp16.safetensors`: what to call them.

Stock ``from_pretrained`` finds such files only when it is told ``variant="fp16"``.
"""

import re
from pathlib import Path

_VARIANT = re.compile(r"\.(fp16|bf16)(?=\.safetensors$|\.json$)")


def variant_of(folder: Path) -> str | None:
    """Return the variant that a component's weights are there as, None for ordinary names."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    weights = [name for name in names if name.endswith((".safetensors", ".index.json"))]
    indices = [name for name in names if ".safetensors.index." in name]
    found = {match.group(1) for name in weights + indices if (match := _VARIANT.search(name))}
    has_ordinary = any(
        not _VARIANT.search(name) and "-of-" not in name for name in weights + indices
    )
    return None if has_ordinary or not found else sorted(found)[-1]


def ordinary_name(name: str, variant: str | None) -> str:
    """Return a file's name without its variant, under which stock loading finds it."""
    return name if variant is None else re.sub(rf"\.{variant}(?=\.(?:safetensors|json)$)", "", name)
