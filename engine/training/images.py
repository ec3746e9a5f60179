"""Images of a data set as arrays: the bundled digits, or a folder with one subfolder per class.

Decoded by Pillow.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from engine.errors import DataError
from engine.files import expanded
from engine.training.digits import TRAINING_COUNT, load_digits
from engine.training.prompts import IMAGE_SUFFIXES as SUFFIXES

logger = logging.getLogger(__name__)

MOST_SKIPPED = 0.1  # share of undecodable files above which a folder is refused
_UNDECODABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Images(NamedTuple):
    """Images of a data set as a model takes them."""

    pixels: np.ndarray  # (n, H, W, C), float32 in [-1, 1]
    labels: np.ndarray | None  # (n,), if the model has classes
    left_out: tuple[Path, ...] = ()  # files that cannot be decoded


def load_images(source: str, shape: tuple[int, int, int], class_count: int | None) -> Images:
    """Return the images of a source, of the model's `shape`, with labels if it has classes.

    They are cropped to the shape's ratio at their centre and resized. Raises DataError.
    """
    if source == "bundled:digits":
        images, labels = (part[:TRAINING_COUNT] for part in load_digits())
        if images.shape[1:] != shape:
            raise DataError(
                f"data.images is bundled:digits, 8x8 grey; the model wants (H, W, C) = {shape}."
            )
        return Images(images, labels if class_count is not None else None)
    folder = expanded(source)
    if not folder.is_dir():
        raise DataError(f"data.images: {folder} is not a folder; wanted a folder of images.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"data.images: {folder} holds no image ({', '.join(sorted(SUFFIXES))}).")
    classes = sorted({path.parent for path in files}) if class_count is not None else []
    if class_count is not None and len(classes) != class_count:
        raise DataError(
            f"data.images: {folder} has images in {len(classes)} subfolders; "
            f"the model has {class_count} classes, so wanted {class_count} subfolders, "
            "in the order of the labels."
        )
    pixels, kept = decoded_images(files, shape, folder)
    labels = [classes.index(files[i].parent) for i in kept] if classes else None
    left_out = tuple(files[i] for i in sorted(set(range(len(files))) - set(kept)))
    return Images(pixels, None if labels is None else np.array(labels, np.int32), left_out)


def decoded_images(
    files: Sequence[Path], shape: tuple[int, int, int], folder: Path
) -> tuple[np.ndarray, list[int]]:
    """Return images (n, H, W, C) in [-1, 1] of `shape`, and the numbers of the files they are of.

    A file that cannot be decoded is left out, counted and logged; `folder` is refused with a
    DataError where that is more than a tenth of them.
    """
    arrays, kept, skipped = [], [], []
    for number, path in enumerate(files):
        try:
            arrays.append(_decoded(path, shape))
            kept.append(number)
        except _UNDECODABLE as error:
            logger.warning("%s cannot be decoded and is left out (%s)", path, error)
            skipped.append(path)
    _refuse_too_many(skipped, len(files), folder)
    return np.stack(arrays), kept


def refuse_unreadable(
    files: Sequence[Path], folder: Path, *, is_thorough: bool = False
) -> list[Path]:
    """Return the files that are no images; DataError if more than a tenth of them are.

    By their headers alone, or by decoding them, at the lowest resolution that their format offers.
    """
    unreadable = []
    for path in files:
        try:
            with Image.open(path) as image:
                if is_thorough:
                    image.draft("RGB", (1, 1))  # a JPEG is read to its end all the same
                    image.load()
        except _UNDECODABLE:
            unreadable.append(path)
    _refuse_too_many(unreadable, len(files), folder)
    return unreadable


def _refuse_too_many(broken: Sequence[Path], count: int, folder: Path) -> None:
    if len(broken) > MOST_SKIPPED * count:
        raise DataError(
            f"data.images: {len(broken)} of {count} images in {folder} cannot be decoded, "
            f"the first {broken[0].name}; repair or remove them."
        )


def _decoded(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    height, width, channels = shape
    with Image.open(path) as image:
        picture = image.convert("L" if channels == 1 else "RGB")
    scale = max(width / picture.width, height / picture.height)
    large = picture.resize(
        (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    )
    left, top = (large.width - width) // 2, (large.height - height) // 2
    pixels = np.asarray(large.crop((left, top, left + width, top + height)), np.float32)
    return pixels.reshape(height, width, channels) / 127.5 - 1.0
