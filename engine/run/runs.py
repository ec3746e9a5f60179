"""The runs of a runs folder: list them, find one by its name, start one's worker.

Used by command line and dashboard.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from engine.errors import RunError
from engine.run.disk import LAUNCH_NAME, write_atomically
from engine.run.folder import RunFolder
from engine.run.reader import JournalReader


def start_worker(run: RunFolder) -> subprocess.Popen[bytes]:
    """Start the run's worker in a session of its own, so that no terminal takes it along.

    Returns its process. It prints into worker.log. `-P`, for a folder that holds its own `engine`
    must not shadow ours; `-B`, for Python itself leaves cut-off bytecode behind on a full disk,
    which no later start can read.
    """
    environment = dict(os.environ)
    house = str(Path(__file__).resolve().parents[2])
    if house not in (*site.getsitepackages(), site.getusersitepackages()):
        # started from a source tree: the worker must be of the same one
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (house, environment.get("PYTHONPATH")))
        )
    with run.log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-B", "-m", "engine.worker", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
        )
    # somebody must take note of its end, or it stays in the process table and looks alive
    threading.Thread(target=process.wait, name=f"worker {process.pid}", daemon=True).start()
    with suppress(OSError):  # it only tells a worker that died at once from one about to begin
        write_atomically(run.path / LAUNCH_NAME, json.dumps({"pid": process.pid}))
    return process


def list_runs(root: Path) -> list[RunFolder]:
    """Return the runs below `root`, newest first; [] where there is no such folder.

    Raises RunError where it cannot be read.
    """
    try:
        paths = [path for path in root.iterdir() if not path.name.startswith(".") and is_run(path)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(
            f"The runs folder {root} cannot be read ({error.strerror}). "
            "Choose another with --runs-dir."
        ) from error
    return [RunFolder(path.absolute()) for path in sorted(paths, key=_age_key, reverse=True)]


def is_run(path: Path) -> bool:
    """Return whether `path` is a run's folder, as far as it can be looked at."""
    try:
        return (path / "journal.sqlite").is_file()
    except (OSError, ValueError):  # a name that no file can have, or a folder closed to us
        return False


def find_run(root: Path, name: str) -> RunFolder:
    """Return the run called `name`.

    A path, a name below `root`, or the beginning of just one such name. Raises RunError where there
    is none, or more than one.
    """
    if not name.strip():
        raise RunError("The name of the run is empty. `diffopt runs` lists what there is.")
    for path in (root / name, Path(name)):
        if is_run(path):
            # or it would be called ".."
            return RunFolder.open(path.resolve() if ".." in path.parts else path)
    runs = list_runs(root)
    matching = [run for run in runs if run.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise RunError(
            f"{name} may be any of {', '.join(run.name for run in matching[:5])}. Write more of it."
        )
    newest = f"The newest there is {runs[0].name}." if runs else "There are none yet."
    raise RunError(f"There is no run {name} in {root}. {newest}")


def _age_key(path: Path) -> tuple[float, str]:
    # by the first event, for a folder's own times change with its files
    try:
        with JournalReader(path / "journal.sqlite") as reader:
            return reader.facts(limit=1)[0].time, path.name
    except (RunError, IndexError):
        return 0.0, path.name
