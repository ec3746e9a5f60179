"""The digits drawn anew in a look, and the words for it. Used by train_tiny_sd.py."""

import random

import numpy as np
from PIL import Image, ImageFilter

SIDE = 16  # pixels
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WEIGHTS, SLANTS = ("thin", "", "bold"), ("", "slanted")
COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "red": (1.0, 0.25, 0.2),
    "green": (0.3, 0.9, 0.35),
    "blue": (0.3, 0.5, 1.0),
    "yellow": (1.0, 0.9, 0.2),
}


def caption(digit: int, weight: str, slant: str, colour: str) -> str:
    """Return the words for a look, for example ``a bold, slanted red three``."""
    look = ", ".join(word for word in (weight, slant) if word)
    return " ".join(word for word in ("a", look, colour, DIGITS[digit]) if word)


LOOKS = [(w, s, c) for w in WEIGHTS for s in SLANTS for c in COLOURS]


def drawn(image: np.ndarray, look: tuple[str, str, str], shift: float) -> np.ndarray:
    """Return an 8x8 digit (values 0 to 16) as (16, 16, 3) in [-1, 1] in its look."""
    weight, slant, colour = look
    picture = Image.fromarray((image.astype(np.float64) * 255 / 16).astype(np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    if slant:
        lean = 0.35
        picture = picture.transform(
            (SIDE, SIDE),
            Image.Transform.AFFINE,
            (1, lean, -lean * SIDE / 2 + shift, 0, 1, 0),
            Image.Resampling.BICUBIC,
        )
    if weight == "bold":
        picture = Image.blend(picture, picture.filter(ImageFilter.MaxFilter(3)), 0.6)
    ink = np.asarray(picture, np.float32)[..., None] / 255
    if weight == "thin":
        ink = np.clip(ink * 1.25 - 0.45, 0, 1) * 1.25
    return np.clip(ink, 0, 1) * np.array(COLOURS[colour], np.float32) * 2 - 1


def prompts_in_order() -> list[tuple[int, tuple[str, str, str]]]:
    """Return every digit in every look: all digits in turn, looks shuffled."""
    shuffled = [random.Random(digit).sample(LOOKS, len(LOOKS)) for digit in range(10)]
    return [(digit, shuffled[digit][k]) for k in range(len(LOOKS)) for digit in range(10)]
