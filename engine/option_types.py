"""What the words of a command are read as: numbers within their bounds, names, folders.

Each raises ArgumentTypeError with what was found and wanted; argparse names the option.
"""

import argparse
import math
from pathlib import Path

from engine.files import expanded, reason_of

LARGEST = 2**31 - 1
"""The largest size that an array may have along one side."""


def whole(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def positive(text: str) -> int:
    """Return a whole number from 1 that an array's size can be."""
    value = whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    if value > LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is too large; wanted at most {LARGEST}")
    return value


def seed(text: str) -> int:
    """Return a whole number from 0, as random generators take it."""
    value = whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0; wanted a whole number from 0")
    return value


def samples(text: str) -> int:
    """Return a number of samples that a verdict can be based on."""
    value = whole(text)
    if value < 64:
        raise argparse.ArgumentTypeError(
            f"{text} is below 64, too few for a verdict on a distribution"
        )
    return value


def whole_numbers(text: str) -> list[int]:
    """Return whole numbers, comma-separated."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers") from None


def number(text: str) -> float:
    """Return a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return value


def numbers(text: str) -> list[float]:
    """Return finite numbers, comma-separated."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers") from None
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} holds what is no finite number")
    return values


def named(text: str) -> str:
    """Return a name that is not empty: a variable that is not set must not stand for any run."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; name a run")
    return text


def runs_folder(text: str) -> Path:
    """Return the folder of runs, which need not be there yet."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a folder, or leave the option out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not in UTF-8, as a journal's name must be; name another folder"
        ) from None
    path = expanded(text)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # what needs it says so
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text} cannot be a folder ({reason_of(error)}); name another"
        ) from None
    return path
