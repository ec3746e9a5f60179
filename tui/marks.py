"""The runs marked for Compare, each with a place that gives it its sign and colour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class Marks:
    """Folders of marked runs and their places.

    A place stays while the mark does, whatever becomes of other marks, so that a run keeps its sign
    and colour; a new mark takes the lowest that is free. A run whose folder is gone (in the trash,
    say) counts as unmarked, and is marked as before when it comes back.
    """

    def __init__(self) -> None:
        """Begin with nothing marked."""
        self._places: dict[Path, int] = {}

    def toggle(self, path: Path) -> None:
        """Mark a run, or take its mark away."""
        if path in self._places:
            del self._places[path]
            return
        taken = set(self._places.values())
        self._places[path] = next(place for place in range(len(taken) + 1) if place not in taken)

    def places(self) -> dict[Path, int]:
        """Return the marked runs that are there, with their places, the lowest first."""
        inside = sorted(self._places.items(), key=lambda pair: pair[1])
        return {path: place for path, place in inside if _is_there(path)}

    def __iter__(self) -> Iterator[Path]:
        """Go through the marked runs that are there, by place."""
        return iter(self.places())

    def __len__(self) -> int:
        """Count the marked runs that are there."""
        return len(self.places())


def _is_there(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder above it may not be entered
        return False
