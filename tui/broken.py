"""What reading a run may raise: its journal and folder are others' to write and to damage."""

from pathlib import Path

from engine.errors import DiffoptError

BROKEN = (
    DiffoptError, OSError, ValueError, ArithmeticError, TypeError, LookupError, AttributeError,
)  # fmt: skip


def why(journal: Path, error: Exception) -> str:
    """Return what cannot be read; what Python says of a value says nothing to a person."""
    kind = type(error).__name__
    if isinstance(error, DiffoptError | OSError):
        return str(error) or f"{journal} cannot be read ({kind})."
    return f"{journal} holds a value that means nothing ({kind}: {error})."
