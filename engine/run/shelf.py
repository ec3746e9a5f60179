"""Putting runs away: archive, trash, back again. Used by command line and dashboard; no MLX.

An archived run stays where it is, with a marker that keeps it out of lists. The trash is a folder
``.trash`` beside the runs: going there and back is one rename each, under the run's own lock, so
that no worker takes a run up on its way. Nothing is deleted but by `empty_trash`, which renames a
run to ``.deleting-`` first: from then on it is no run any more, and what a kill leaves of it the
next `empty_trash` deletes. Two programs that do the same at once get one result and one clear
refusal.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection
from pathlib import Path

from engine.errors import SENSELESS, RunError
from engine.files import reason_of, sync_path
from engine.run.commands import who_am_i
from engine.run.disk import is_alive, is_launch_alive, write_atomically
from engine.run.fact import Fact
from engine.run.folder import RunFolder
from engine.run.lock import FileLock, holder_of, is_locked
from engine.run.runs import is_run
from engine.run.state import RunState

TRASH = ".trash"
_ARCHIVED = "archived.json"
_TRASHED = "trashed.json"
_DELETING = ".deleting-"


class TrashedRun(Fact):
    """A run in the trash; `name` is the one it had, and gets back."""

    path: Path
    name: str
    time: float  # when it was put there, seconds since the epoch


def is_archived(run: RunFolder) -> bool:
    """Return whether lists leave the run out."""
    return (run.path / _ARCHIVED).is_file()


def archive(run: RunFolder, *, client: str) -> None:
    """Keep the run out of lists; nothing is moved.

    Raises RunError for a run with a worker, which should stay in sight.
    """
    _refuse_if_worked_on(run, "archived")
    note = {"time": time.time(), "by": who_am_i(client)}
    try:
        write_atomically(run.path / _ARCHIVED, json.dumps(note) + "\n")
    except OSError as error:
        raise _cannot(run.path, "archived", error) from error


def unarchive(run: RunFolder) -> bool:
    """Let lists show the run again; returns False where they did already."""
    try:
        (run.path / _ARCHIVED).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _cannot(run.path, "taken out of the archive", error) from error
    return True


def trash(run: RunFolder, *, client: str) -> TrashedRun:
    """Move the run to the trash beside it and return where it is.

    Raises RunError for a run with a worker, one that is there, and where it cannot be moved.
    """
    if run.path.parent.name == TRASH:
        raise RunError(f"{run.path} is in the trash already. `diffopt empty-trash` deletes it.")
    _refuse_if_worked_on(run, "thrown away")
    bin_, lock = run.path.parent / TRASH, FileLock(run.lock_path)
    now = time.time()
    try:
        bin_.mkdir(exist_ok=True)
        if not lock.take_soon("trash"):
            raise RunError(
                f"{run.name} has just been taken up by a worker. Stop it first with "
                f"`diffopt stop {run.name}`."
            )
        with lock:
            note = {"name": run.name, "time": now, "by": who_am_i(client)}
            write_atomically(run.path / _TRASHED, json.dumps(note) + "\n")
            path = _moved(run.path, bin_)
    except OSError as error:
        raise _cannot(run.path, "moved to the trash", error) from error
    return TrashedRun(path, run.name, now)


def list_trash(root: Path) -> list[TrashedRun]:
    """Return the runs in the trash of the runs folder `root`, the newest first.

    Raises RunError where it cannot be read.
    """
    try:
        paths = [
            path
            for path in (root / TRASH).iterdir()
            if not path.name.startswith(_DELETING) and is_run(path)
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(
            f"The trash {root / TRASH} cannot be read ({reason_of(error)}). "
            "Choose another runs folder with --runs-dir."
        ) from error
    return sorted(map(_trashed, paths), key=lambda one: (one.time, one.path.name), reverse=True)


def find_in_trash(root: Path, name: str) -> TrashedRun:
    """Return the run in the trash called `name`, of several the one thrown away last.

    The folder's name in the trash names one for certain. Raises RunError where there is none.
    """
    there = list_trash(root)
    for one in there:
        if name == one.path.name:
            return one
    for one in there:
        if name == one.name:
            return one
    names = ", ".join(one.path.name for one in there[:5]) or "nothing"
    raise RunError(f"There is no run {name} in {root / TRASH}. In it: {names}.")


def restore(trashed: TrashedRun) -> RunFolder:
    """Put a run back where it was and return it.

    Raises RunError where its name is taken by now, or it is not in the trash any more.
    """
    root = trashed.path.parent.parent
    path = root / trashed.name
    try:
        if path.exists() and not _is_empty(path):
            raise RunError(
                f"{path} exists by now. Rename that run first; the thrown one is {trashed.path}."
            )
        trashed.path.rename(path)  # onto anything but an empty folder it fails by itself
        (path / _TRASHED).unlink(missing_ok=True)
        _settle(trashed.path.parent, root)
    except FileNotFoundError as error:
        raise RunError(f"{trashed.path} is not in the trash any more.") from error
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise RunError(f"{path} exists by now. The thrown run is {trashed.path}.") from error
        raise _cannot(trashed.path, "put back", error) from error
    return RunFolder.open(path)


def empty_trash(root: Path, *, only: Collection[TrashedRun] | None = None) -> tuple[int, int]:
    """Delete what is in the trash for good; returns (runs deleted, bytes freed).

    `only`: what the person was asked about, as `list_trash` told it; what came later stays. A run
    that some process works on there is left. What an emptying that was killed has left goes too,
    and counts in bytes alone. Of a linked run the link goes, and what it leads to stays.

    Raises RunError for the first that cannot be deleted, once all others are.
    """
    count, freed, troubles = 0, 0, list[RunError]()
    for path in _left_behind(root):
        try:
            freed += _delete(path)
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError as error:
            troubles.append(_cannot(path, "deleted", error))
    for one in list_trash(root):
        if only is not None and one not in only:
            continue
        try:
            size = _delete(one.path)
        except (BlockingIOError, FileNotFoundError):  # gone: put back, or another deletes it
            continue
        except OSError as error:
            troubles.append(_cannot(one.path, "deleted", error))
        else:
            count, freed = count + 1, freed + size
    if troubles:
        raise troubles[0]
    return count, freed


def folder_bytes(path: Path) -> int:
    """Return the size of all files below `path`; what vanishes meanwhile counts nothing."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.stat().st_size if not file.is_dir() else 0
        except OSError:
            continue
    return total


def _refuse_if_worked_on(run: RunFolder, done: str) -> None:
    try:
        status = run.status()
        is_held, pid = status.pid is not None, status.pid
        is_queued = status.state is RunState.QUEUED
    except (RunError, *SENSELESS):
        # a damaged journal tells nothing, and the lock all that is needed
        is_held, pid = is_locked(run.lock_path), holder_of(run.lock_path).pid
        is_queued = True
    if is_held:
        raise RunError(
            f"{run.name} cannot be {done}: process {pid or '(unknown)'} works on it. Stop it first "
            f"with `diffopt stop {run.name}`."
        )
    if is_queued and is_launch_alive(run.path):
        raise RunError(
            f"{run.name} cannot be {done}: its worker is about to begin. "
            f"Cancel it first with `diffopt cancel {run.name}`."
        )


def _moved(path: Path, bin_: Path) -> Path:
    for number in range(1, 1000):
        place = bin_ / (path.name if number == 1 else f"{path.name}-{number}")
        try:
            path.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            _settle(bin_, path.parent)
            return place
    raise RunError(f"{bin_} holds a thousand runs called {path.name}. Empty the trash first.")


def _left_behind(root: Path) -> list[Path]:
    """Return what was being deleted by processes that are gone, or by this one in vain."""
    left: list[Path] = []
    try:
        for path in (root / TRASH).glob(f"{_DELETING}*"):
            match = re.search(r"-(\d+)$", path.name)
            pid = int(match[1]) if match else os.getpid()
            # it got its name by a rename, which is the last change of the folder's own entry
            if pid == os.getpid() or not is_alive(pid, at=path.lstat().st_ctime):
                left.append(path)
    except OSError:  # another deletes it at this moment, or the folder is closed: told by the list
        pass
    return left


def _delete(path: Path) -> int:
    """Delete a run or what is left of one; returns the bytes freed.

    Raises BlockingIOError for one that is worked on, FileNotFoundError for one that is gone.
    """
    if path.is_symlink():
        path.unlink()
        return 0
    if is_locked(path / "lock"):
        raise BlockingIOError(errno.EWOULDBLOCK, "it is worked on", str(path))
    # one rename, so that of two that delete, or one that puts back, just one has it
    stem = path.name.removeprefix(_DELETING)[:40]
    mine = path.with_name(f"{_DELETING}{stem}-{uuid.uuid4().hex[:8]}-{os.getpid()}")
    path.rename(mine)
    if is_locked(mine / "lock"):  # taken up at the last moment
        mine.rename(path)
        raise BlockingIOError(errno.EWOULDBLOCK, "it is worked on", str(path))
    size = folder_bytes(mine)
    try:
        shutil.rmtree(mine)
    except FileNotFoundError:  # some of it went by itself, as an onlooker's files do
        shutil.rmtree(mine)
    return size


def _trashed(path: Path) -> TrashedRun:
    try:
        note = json.loads((path / _TRASHED).read_text(encoding="utf-8"))
        name, when = str(note["name"]), float(note["time"])
    except (OSError, ValueError, KeyError, TypeError):  # moved there by hand
        name, when = path.name, 0.0
    is_plain = name == Path(name).name and not name.startswith(".")
    return TrashedRun(path, name if is_plain else path.name, when)


def _settle(*folders: Path) -> None:
    for folder in folders:
        sync_path(folder)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _cannot(path: Path, done: str, error: OSError) -> RunError:
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path} is gone: it was moved or deleted meanwhile.")
    return RunError(
        f"{path} cannot be {done} ({reason_of(error)}). Ask for write permission on {path.parent}."
    )
