"""Room on the disk: asking for it, keeping a reserve, clearing away what a crash left half-written.

Whole-file writing itself is `engine.files`; `write_atomically` is its short form for content that
is in memory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from engine.errors import DiskFull
from engine.files import replacing, sync_path

BALLAST_BYTES = 4 << 20
LAUNCH_NAME = "launch.json"  # the number of the process that was started last
_CLOCK_SLACK_SECONDS = 2.0  # a process's beginning is told by another clock than a file's
_LEFTOVER = re.compile(r"\.tmp-(?P<pid>\d+)(\D|$)")


def write_atomically(path: Path, content: bytes | str) -> None:
    """Put `content` at `path`, whole or not at all.

    Temporary name, sync, rename, sync of the folder. Text is UTF-8.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def free_bytes(path: Path) -> int:
    """Return the room for `path` that this user may fill; the path itself need not exist yet."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def ensure_room(path: Path, needed_bytes: int, what: str) -> None:
    """Raise DiskFull unless `needed_bytes` are free for `what` ("a checkpoint") at `path`."""
    free = free_bytes(path)
    if free < needed_bytes:
        raise DiskFull(
            f"{what} at {path} needs {needed_bytes / 1e6:.1f} MB and {free / 1e6:.1f} MB are free "
            "there. Delete what you can spare on that disk; nothing of the run is lost."
        )


def allocate_ballast(path: Path, size_bytes: int = BALLAST_BYTES) -> None:
    """Fill `path` with bytes whose only worth is the room that they give back on a full disk."""
    if not path.exists() or path.stat().st_size < size_bytes:
        # noise, for some file systems store zeros in no room at all
        write_atomically(path, os.urandom(size_bytes))


def release_ballast(path: Path) -> bool:
    """Give the reserve back; returns False where it was given back before."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_path(path.parent)
    return True


def clear_leftovers(folder: Path) -> list[Path]:
    """Remove half-written files and folders whose writer is gone, anywhere below `folder`.

    Returns what was removed.
    """
    removed = []
    for path in sorted(folder.rglob("*.tmp-*")):
        match = _LEFTOVER.search(path.name)
        if match is None or not path.exists():  # not of our naming, or inside a folder just removed
            continue
        pid = int(match["pid"])
        if pid != os.getpid() and is_alive(pid, at=path.lstat().st_mtime):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def is_alive(pid: int, *, at: float | None = None) -> bool:
    """Return whether a process of this number exists on this machine.

    `at` is a time since the epoch when it was there: one that began later got its number after it,
    as happens after a reboot.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return at is None or _birth_of(pid) < at + _CLOCK_SLACK_SECONDS


def is_launch_alive(folder: Path) -> bool | None:
    """Return whether the worker that was started last on a run folder exists; None: none was."""
    path = folder / LAUNCH_NAME
    try:
        pid = json.loads(path.read_text(encoding="utf-8"))["pid"]
        return is_alive(pid, at=path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def launched_pid(folder: Path) -> int | None:
    """Return the number of the worker that was started last on a run folder, if it lives."""
    path = folder / LAUNCH_NAME
    try:
        pid = int(json.loads(path.read_text(encoding="utf-8"))["pid"])
        return pid if is_alive(pid, at=path.stat().st_mtime) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _birth_of(pid: int) -> float:
    """Return when a process began, since the epoch; 0 where that is not told."""
    import psutil  # late: few numbers are asked about that somebody has

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0
