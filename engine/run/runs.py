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
    """Return the runs below `root`, newest first; [] where there is no such folder."""
    try:
        paths = [
            path
            for path in root.iterdir()
            if not path.name.startswith(".") and (path / "journal.sqlite").is_file()
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [RunFolder(path.absolute()) for path in sorted(paths, key=_age_key, reverse=True)]


def find_run(root: Path, name: str) -> RunFolder:
    """Return the run called `name`.

    A path, a name below `root`, or the beginning of just one such name.
    """
    for path in (root / name, Path(name)):
        if (path / "journal.sqlite").is_file():
            return RunFolder.open(path)
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
