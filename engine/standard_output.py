"""Standard output: written to at once, and told of where it cannot be."""

import os
import sys
from contextlib import suppress

from engine.errors import OutputError


def write_out(text: str) -> None:
    """Write `text` to standard output now, characters that its encoding lacks as escapes.

    Raises:
        OutputError: there is no room behind it, or it is broken in another way.
        BrokenPipeError: who was reading has seen enough.
    """
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:  # a name that is no text, or a terminal without our signs
            encoding = sys.stdout.encoding or "ascii"
            sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        raise OutputError(
            f"standard output could not be written ({error.strerror}): what was to be said is lost "
            "there. Make room behind it, or send it elsewhere."
        ) from error


def silence() -> None:
    """Send what is left to be written nowhere, or Python would try again at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
