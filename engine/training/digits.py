"""The bundled digits.

1797 grey images of 8x8 pixels, ten classes (UCI, Alpaydin & Kaynak 1998, CC BY 4.0).
"""

from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

TRAINING_COUNT = 1500  # the rest is held out of everything that learns


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all images and labels, in the file's order.

    Images are (1797, 8, 8, 1) float32 in [-1, 1], labels (1797,) int32.
    """
    file = resources.files("engine") / "assets" / "digits" / "digits.safetensors"
    tensors = load_file(Path(str(file)))
    images = tensors["images"].astype(np.float32)[..., None] / 8.0 - 1.0
    return images, tensors["labels"].astype(np.int32)
