"""What looking at others' files may raise: they are damaged, locked, closed or gone."""

from pathlib import Path

from engine.errors import SENSELESS, DiffoptError

BROKEN = (DiffoptError, OSError, *SENSELESS)
PATIENCE_SECONDS = 0.05  # for one who has locked a journal: the screen must not wait with us


def why(journal: Path, error: Exception) -> str:
    """Return what cannot be read; what Python says of a value says nothing to a person."""
    kind = type(error).__name__
    if isinstance(error, DiffoptError | OSError):
        return str(error) or f"{journal} cannot be read ({kind})."
    return f"{journal} holds a value that means nothing ({kind}: {error})."


def is_there(path: Path) -> bool:
    """Return whether a path can be seen; what stands in a closed folder cannot."""
    try:
        return path.exists()
    except OSError:
        return False


def is_gone(path: Path) -> bool:
    """Return whether there is surely nothing; a folder that is closed for now may be opened."""
    try:
        path.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False
