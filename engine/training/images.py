"""Images of a data set as arrays: the bundled digits, or a folder with one subfolder per class.

Decoded by Pillow.
"""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from engine.errors import DataError
from engine.training.digits import TRAINING_COUNT, load_digits

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
MOST_SKIPPED = 0.1  # share of undecodable files above which a folder is refused


def load_images(
    source: str, shape: tuple[int, int, int], class_count: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return images (n, H, W, C) of the model's `shape`, and labels (n,) if it has classes.

    Images are float32 in [-1, 1], cropped to the shape's ratio at their centre and resized. Raises
    DataError.
    """
    if source == "bundled:digits":
        images, labels = (part[:TRAINING_COUNT] for part in load_digits())
        if images.shape[1:] != shape:
            raise DataError(
                f"data.images is bundled:digits, 8x8 grey; the model wants (H, W, C) = {shape}."
            )
        return images, labels if class_count is not None else None
    folder = Path(source).expanduser()
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
    arrays, labels, skipped = [], [], []
    for path in files:
        try:
            arrays.append(_decoded(path, shape))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            skipped.append(path)
            continue
        labels.append(classes.index(path.parent) if classes else 0)
    if len(skipped) > MOST_SKIPPED * len(files):
        raise DataError(
            f"data.images: {len(skipped)} of {len(files)} images in {folder} cannot be decoded, "
            f"the first {skipped[0].name}; repair or remove them."
        )
    return np.stack(arrays), np.array(labels, np.int32) if classes else None


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
