"""ui.yaml as a text: what it says, and one choice changed in it so that all else stays as it is.

A person writes it too: comments, spelling and line ends are theirs. Where a choice cannot be
changed without harm the text stays, and why is told. YAML is loaded when there is some.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.files import write_text
from tui.small_file import read_small

HEADER = "# Choices of diffopt-tui. It changes single values; your comments stay.\n"


def parsed(text: str) -> dict[Any, Any]:
    """Return what the text says; ValueError with the reason where it is no mapping."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or 'no YAML'}") from error
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"a value is not what its tag promises: {error}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"a mapping was wanted, a {type(content).__name__} found")
    return {key: word_of(key, value) for key, value in content.items()}


def word_of(key: Any, value: Any) -> Any:
    """Return a value as it was meant: a bare off is false to YAML."""
    return ("bell" if value else "off") if key == "bell" and isinstance(value, bool) else value


def write_choices(path: Path, changes: Mapping[str, Any]) -> list[str]:
    """Write the `changes` into the file, and nothing else of it.

    Returns why some could not be, a line each. Raises OSError where the file cannot be written, and
    ValueError with the reason where it cannot be read: it was not touched then.
    """
    from tui.yaml_edit import EditRefused, set_key

    try:
        text = before = read_small(path)
    except FileNotFoundError:
        text, before = HEADER, None
    content, refused = parsed(text), []
    for key, value in _single(changes, content):
        try:
            text = set_key(text, key, value)
        except EditRefused as error:
            refused.append(str(error))
    if text != before:
        _replace(path, text)
    return refused


def set_aside(path: Path) -> Path | None:
    """Rename a file that cannot be read, over no other one; None where that cannot be done."""
    names = (
        f"{path.stem}.damaged{n}{path.suffix}" for n in ("", *(f"-{n}" for n in range(2, 999)))
    )
    aside = next((one for name in names if not (one := path.with_name(name)).exists()), None)
    try:
        return path.rename(aside) if aside else None
    except OSError:
        return None


def _single(
    changes: Mapping[str, Any], content: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of what differs, each value of a section by itself."""
    for key, value in changes.items():
        was = content.get(key)
        if isinstance(value, dict):
            yield from _single(value, was if isinstance(was, dict) else {}, f"{above}{key}.")
        elif key not in content or was != value:
            yield f"{above}{key}", value


def _replace(path: Path, text: str) -> None:
    path = path.resolve()  # a link stays one
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    if mode is not None and not mode & 0o222:
        raise PermissionError(errno.EACCES, "it is read-only")
    write_text(path, text)
    if mode is not None:
        path.chmod(mode)
