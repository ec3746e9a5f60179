"""Prompts from a text file, a table, or a folder of captioned images. No MLX.

One prompt for each distinct text, in the order of the source. Reading embeddings of them is
`embeddings`; decoding the images of such a folder is `images`.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from engine.errors import DataError
from engine.files import expanded

_BUNDLED = "bundled:"
BUNDLED_PROMPTS = "bundled:varied"
CAPTION_KEYS = ("prompt", "caption", "text")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
METADATA = "metadata.jsonl"
FEWEST_PROMPTS = 8  # with fewer there is nothing to hold out


@dataclass(frozen=True, slots=True)
class Captioned:
    """One image of a folder with its caption."""

    path: Path
    caption: str


@dataclass(frozen=True, slots=True)
class PromptSplit:
    """Prompts to learn under, and two sets that are only ever measured under."""

    train: tuple[str, ...]
    select: tuple[str, ...]
    final: tuple[str, ...]


def load_prompts(source: str, *, column: str | None = None, count: int | None = None) -> list[str]:
    """Return the distinct prompts of `source`, the first `count` of them if that is given.

    Raises DataError where there is no such file, no such column, or fewer prompts than wanted.
    """
    texts = [text for text in (" ".join(t.split()) for t in _texts(source, column)) if text]
    prompts = list(dict.fromkeys(texts))
    if not prompts:
        raise DataError(f"data.prompts: {source} holds no prompt; wanted one a line.")
    wanted = count or FEWEST_PROMPTS
    if len(prompts) < wanted:
        key = "data.prompt_count" if count else "data.prompts"
        raise DataError(
            f"{key}: {source} holds {len(prompts)} distinct prompts; wanted at least {wanted}, "
            "for some are held out to measure under. Add some."
        )
    return prompts[:count]


def split_prompts(prompts: list[str], held_out_share: float) -> PromptSplit:
    """Return the prompts parted, those held out spread evenly over the list.

    Every other of these goes to the select looks, the rest to the final one; at least one each.
    """
    held_count = max(2, round(held_out_share * len(prompts)))
    # The middles of equal stretches: a list sorted by kind is parted by kind as well.
    held = [int((i + 0.5) * len(prompts) / held_count) for i in range(held_count)]
    train = tuple(text for i, text in enumerate(prompts) if i not in set(held))
    measured = [prompts[i] for i in held]
    return PromptSplit(train, tuple(measured[::2]), tuple(measured[1::2]))


def captioned_images(folder: Path, column: str | None = None) -> list[Captioned]:
    """Return the images of a folder with their captions, sorted by path.

    From metadata.jsonl (``file_name`` and a caption on each line) if it is there, else from a .txt
    beside each image. Raises DataError.
    """
    metadata = folder / METADATA
    if metadata.is_file():
        found = []
        for number, row in _json_rows(metadata):
            name = row.get("file_name")
            if not isinstance(name, str) or not (folder / name).is_file():
                raise DataError(
                    f"{metadata}, line {number}: file_name is {name!r}; wanted an image beside it."
                )
            found.append(Captioned(folder / name, _cell(row, column, f"{metadata}, line {number}")))
    else:
        images = [p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES]
        bare = [path for path in images if not path.with_suffix(".txt").is_file()]
        if bare:
            raise DataError(
                f"{folder}: {len(bare)} of {len(images)} images have no caption, the first "
                f"{min(bare).name}; wanted a .txt of the same name beside each, or {METADATA}."
            )
        found = [Captioned(p, _read(p.with_suffix(".txt")).strip()) for p in images]
    if not found:
        raise DataError(f"{folder} holds no captioned image; wanted image + .txt, or {METADATA}.")
    return sorted(found, key=lambda one: one.path)


def _texts(source: str, column: str | None) -> Iterator[str]:
    if source.startswith(_BUNDLED):
        folder = resources.files("engine") / "assets" / "prompts"
        known = sorted(entry.name.removesuffix(".txt") for entry in folder.iterdir())
        name = source.removeprefix(_BUNDLED)
        if name not in known:
            raise DataError(
                f"data.prompts: {source} is not bundled. There are: "
                f"{', '.join(_BUNDLED + entry for entry in known)}."
            )
        yield from (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        return
    path = expanded(source)
    if path.is_dir():
        yield from (one.caption for one in captioned_images(path, column))
    elif path.suffix.lower() == ".csv":
        yield from _csv_texts(path, column)
    elif path.suffix.lower() == ".jsonl":
        yield from (_cell(row, column, f"{path}, line {n}") for n, row in _json_rows(path))
    else:
        yield from _read(path).splitlines()


def _csv_texts(path: Path, column: str | None) -> Iterator[str]:
    reader = csv.DictReader(_read(path).splitlines(keepends=True))
    names = reader.fieldnames or []
    wanted = [column] if column else list(CAPTION_KEYS)
    chosen = next((name for name in wanted if name in names), None)
    if chosen is None:
        raise DataError(
            f"data.prompt_column: {path} has the columns {', '.join(names) or '(none)'}; wanted "
            f"{' or '.join(wanted)}."
        )
    try:
        yield from (row[chosen] or "" for row in reader)
    except csv.Error as error:
        raise DataError(f"data.prompts: {path}, line {reader.line_num}: {error}.") from error


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: wanted a JSON object, found {row!r:.60}.")
        yield number, row


def _cell(row: dict[str, Any], column: str | None, where: str) -> str:
    wanted = [column] if column else list(CAPTION_KEYS)
    text = next((row[name] for name in wanted if name in row), None)
    if not isinstance(text, str):
        raise DataError(
            f"data.prompt_column: {where} has the keys {', '.join(row) or '(none)'}; wanted text "
            f"under {' or '.join(wanted)}."
        )
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(
            f"data.prompts: {path}: there is no such file or folder; wanted a text file with one "
            f"prompt a line, a .csv, a .jsonl, a folder of captioned images, or {BUNDLED_PROMPTS}."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.prompts: {path} cannot be read as UTF-8 text: {error}.") from error
