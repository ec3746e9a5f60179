"""What a path that is being typed may go on as: the folders and files there are. No Textual.

As in a shell: what all candidates begin with is typed, and where they part they are listed. The
spelling of what stands there already is kept, `~` and relative paths among it.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from engine.run.fact import Fact

BUNDLED = {
    "model_path": ("bundled:digits",),
    "data.images": ("bundled:digits",),
    "data.prompts": ("bundled:varied",),
}
"""The settings that name a path, each with what diffopt brings along for it."""
_FILES = {"data.prompts": (".txt", ".csv", ".jsonl"), "save": (".yaml", ".yml")}
_MOST_ENTRIES = 5000  # of a folder: the screen waits meanwhile


class Completion(Fact):
    """What a text becomes, and the names that fit where they are several or none."""

    text: str
    names: tuple[str, ...] = ()


def complete(text: str, what: str) -> Completion:
    """Return how `text` goes on; `what` is a setting of `BUNDLED`, or "save" for a YAML file.

    A text that nothing fits, or that is complete, comes back as it is.
    """
    if text == "~":
        return Completion("~/")
    begin = text.rpartition("/")[2]
    head = text[: len(text) - len(begin)]
    names = [] if head or not text else [n for n in BUNDLED.get(what, ()) if n.startswith(text)]
    names += _entries(head, begin, what)
    if not names:
        return Completion(text)
    if len(names) == 1:
        return Completion(head + _ended(head, names[0], what))
    return Completion(head + _shared(names), tuple(names))


def _shared(names: list[str]) -> str:
    """Return what all names begin with: what the first and the last in order do."""
    first, last = min(names), max(names)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:length]


def _entries(head: str, begin: str, what: str) -> list[str]:
    """Return the names in a folder that begin so and may stand there; folders end in a slash."""
    found = []
    try:
        with os.scandir(Path(head or ".").expanduser()) as entries:
            for entry in islice(entries, _MOST_ENTRIES):
                name = entry.name
                if not name.startswith(begin) or (name.startswith(".") and not begin):
                    continue
                if entry.is_dir():
                    found.append(f"{name}/")
                elif name.lower().endswith(_FILES.get(what, ())):
                    found.append(name)
    except (OSError, RuntimeError):  # RuntimeError: ~ of a user that is not there
        return []
    return sorted(found)


def _ended(head: str, name: str, what: str) -> str:
    """Return a name without the slash that leads on, where it is what was looked for."""
    if what == "model_path" and name.endswith("/"):
        folder = Path(head + name).expanduser()
        if (folder / "model_index.json").is_file():
            return name.removesuffix("/")
    return name
