"""Reading a file that a person wrote by hand: never a large one, and never one that blocks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LARGEST = 64 * 1024  # bytes; themes and choices take one or two thousand


def read_small(path: Path) -> str:
    """Return a file's text as it stands, line ends included.

    Raises OSError where it cannot be opened, and ValueError with the reason for a folder, a pipe or
    a device, for more than `LARGEST` bytes and for what is not UTF-8.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        content = bytearray()
        while len(content) <= LARGEST and (block := os.read(descriptor, LARGEST + 1)):
            content += block
    finally:
        os.close(descriptor)
    if len(content) > LARGEST:
        raise ValueError(f"it has {found.st_size} bytes, and {LARGEST} are the most")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text, by its byte {error.start + 1}") from error
