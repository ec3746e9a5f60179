"""Keep a true run as a test fixture: its journal in one small file, its settings, two pictures.

    python scripts/keep_run.py RUN tests/fixtures/runs/NAME

The run must have ended. Names of machines, people and places are replaced by neutral ones; times,
figures and the order of events stay as they were.
"""

import json
import re
import shutil
import sqlite3
import sys
from pathlib import Path

HOST, USER, DEVICE = "studio", "ada", "a Linux machine, 2 cores, 24 GiB; MLX on cpu, compiled"
PICTURES = 2


def main() -> int:
    """Copy the run named by the first argument to the folder named by the second."""
    run, kept = Path(sys.argv[1]), Path(sys.argv[2])
    if kept.exists():
        shutil.rmtree(kept)
    (kept / "samples").mkdir(parents=True)
    source = sqlite3.connect(f"file:{run / 'journal.sqlite'}?mode=ro", uri=True)
    journal = sqlite3.connect(kept / "journal.sqlite", isolation_level=None)
    source.backup(journal)
    source.close()
    neutral = neutral_words(journal, run)
    for table, column in (("event", "body"), ("command", "issued_by"), ("latest", "value")):
        key = {"event": "id", "command": "number", "latest": "key"}[table]
        rows = journal.execute(f"select {key}, {column} from {table}").fetchall()
        for number, text in rows:
            journal.execute(
                f"update {table} set {column} = ? where {key} = ?", (neutral(text), number)
            )
    journal.execute("pragma journal_mode=delete")
    journal.execute("vacuum")
    journal.close()
    for name in ("config.yaml", "metrics.json", "report.md"):
        if (run / name).is_file():
            text = (run / name).read_text(encoding="utf-8")
            (kept / name).write_text(neutral(text), encoding="utf-8")
    pictures = sorted((run / "samples").glob("*.png"))
    for picture in [*pictures[:1], *pictures[-(PICTURES - 1) :]]:
        shutil.copy(picture, kept / "samples" / picture.name)
    return 0


def neutral_words(journal: sqlite3.Connection, run: Path):
    """Return the function that takes this machine's words out of a text."""
    bodies = [
        json.loads(body)
        for (body,) in journal.execute(
            "select body from event where kind in ('RunQueued', 'RunStarted', 'RunResumed')"
        )
    ]
    words = {}
    for body in bodies:
        if "device" in body:
            words[body["device"]] = DEVICE
            words[re.sub(r"; MLX.*", "", body["device"])] = DEVICE
    hosts = {body["host"] for body in bodies if "host" in body}
    users = {body["queued_by"].split("@")[0] for body in bodies if "queued_by" in body}
    people = {f"{user}@{host}": f"{USER}@{HOST}" for user in users for host in hosts}
    places = {str(run.absolute()): f"/runs/{run.name}", str(run.absolute().parent): "/runs"}

    def neutral(text: str) -> str:
        for word in sorted({**words, **places}, key=len, reverse=True):
            text = text.replace(word, {**words, **places}[word])
        for word, other in people.items():
            text = re.sub(rf"{re.escape(word)} \d+", f"{other} 4242", text)
            text = text.replace(word, other)
        for host in hosts:
            text = text.replace(json.dumps(host), json.dumps(HOST))
        return text

    return neutral


if __name__ == "__main__":
    sys.exit(main())
