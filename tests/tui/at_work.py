"""A true run as it was in the middle of training, held as its worker holds it.

tests/fixtures/at_work has its folder as a kill left it. Its pulse is made to beat now.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.run import RunFolder
from engine.run.queue import TrainingQueue

NAME = "digits-20-to-4"
KEPT = Path(__file__).resolve().parents[1] / "fixtures" / "at_work" / NAME
WORKER = {"pid": 4242, "host": "studio"}
BEATS_ON_SECONDS = 600.0  # however slow the machine is that looks at it


@contextmanager
def at_work(root: Path) -> Iterator[RunFolder]:
    """Yield a copy of the run below `root` that is running while this lasts."""
    run = RunFolder(root / NAME)
    shutil.copytree(KEPT, run.path)
    with run.own(), TrainingQueue().join(str(run.path)) as turn:
        assert turn.try_take(), "another run has the turn"
        note = WORKER | {"what": NAME}
        with run.lock_path.open("r+") as lock:  # not truncated: it is the one that is held
            lock.write(json.dumps(note))
        _beat(run)
        yield run


def _beat(run: RunFolder) -> None:
    soon = time.monotonic() + BEATS_ON_SECONDS
    journal = sqlite3.connect(run.journal_path)
    with journal:
        rows = journal.execute("select key, value from latest").fetchall()
        latest = {key: json.loads(value) for key, value in rows}
        latest["engine"] = WORKER
        for key in ("heartbeat", "progress"):
            latest[key][0] = soon  # the wall clock's time stays as it was recorded
        journal.executemany(
            "update latest set value = ? where key = ?",
            [(json.dumps(value), key) for key, value in latest.items()],
        )
    journal.close()
