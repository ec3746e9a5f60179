"""The journal's shape on disk, and how it is opened and its failures are told.

Used by writer, reader and commands. One SQLite file a run, in WAL mode. `event`, `metric` and
`latest` have one writer, the worker; `command` is written by any client. ``PRAGMA user_version`` is
the format's version: an older program reads a newer journal but never writes it.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from engine.errors import DiffoptError, DiskFull, RunError

FORMAT_VERSION = 1
ROLLUP_STEPS = (64, 4096)
"""Steps in one bucket of each roll-up level."""

_APPLICATION_ID = 0x64696666  # "diff": tells a journal from any other SQLite file
BUSY_TIMEOUT_MS = 5000
# 40 MB: past that a commit checkpoints, should the worker's thread that does it be dead. Sooner, a
# client's checkpoint would leave the sync of a WAL that starts over to the worker's next commit.
_SAFETY_NET_PAGES = 10_000

_TABLES = """
create table event(id integer primary key, t real not null, kind text not null, stage integer,
    body text not null);
create index event_fact on event(id) where kind not in ('LogLine', 'PhaseProgressed');
create index event_log on event(id) where kind = 'LogLine';
create table name(id integer primary key, name text not null unique);
create table metric(name integer not null, step integer not null, value real,
    primary key (name, step)) without rowid;
create table rollup(name integer not null, level integer not null, bucket integer not null,
    n integer not null, sum real not null, lo real, hi real,
    primary key (name, level, bucket)) without rowid;
create table latest(key text primary key, value text not null) without rowid;
create table command(number integer primary key, id text not null unique, kind text not null,
    stage integer, issued_at real not null, issued_by text not null, outcome text, event integer);
create index command_pending on command(number) where outcome is null;
"""


class JournalBusy(RunError):
    """Another program writes the journal just now, and has for longer than one waits."""


class JournalFull(DiskFull):
    """The journal could not be written for want of room; nothing was lost, and it can be later."""


def create_journal(path: Path) -> None:
    """Make an empty journal at `path`, which must not exist."""
    with explained(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("pragma journal_mode=wal")
            # executescript commits by itself; the version is written last, so a torn creation is
            # not taken for a journal
            connection.executescript(
                f"begin; {_TABLES} pragma application_id={_APPLICATION_ID}; commit"
            )
            connection.execute(f"pragma user_version={FORMAT_VERSION}")
        finally:
            connection.close()


def open_to_write(path: Path) -> sqlite3.Connection:
    """Return a connection that may write; the journal must exist and be of this version."""
    connection = _connect(path, "mode=rw")
    try:
        version = _format_version(connection, path)
        if version > FORMAT_VERSION:
            raise RunError(f"{newer_notice(path, version)} Nothing was changed.")
        with explained(path):
            connection.execute(f"pragma wal_autocheckpoint={_SAFETY_NET_PAGES}")
            # a checkpoint overwrites the main file: on macOS only a full fsync makes that safe
            # against a power cut
            connection.execute("pragma checkpoint_fullfsync=1")
            set_durable(connection, is_durable=False)
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(
    path: Path, *, patience_seconds: float | None = None
) -> tuple[sqlite3.Connection, int]:
    """Return a connection that cannot write, and the journal's version, which may be newer."""
    connection = _connect(path, "mode=ro", patience_seconds)
    try:
        try:
            return connection, _format_version(connection, path)
        except _CannotShareError:
            connection.close()
        # A folder that we may not write to has no room for the shared index of a WAL. Where the run
        # has ended and left no WAL, the main file is all there is and can be read as it stands.
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            raise RunError(
                f"{path} is being written, in a folder that you may not write to. "
                "Watching needs that permission."
            )
        connection = _connect(path, "mode=ro&immutable=1")
        return connection, _format_version(connection, path)
    except BaseException:
        connection.close()
        raise


def newer_notice(path: Path, version: int) -> str:
    """Return the one line that a viewer shows above a newer journal."""
    return (
        f"{path.parent.name} was written by a newer diffopt (journal format {version}; this "
        f"program knows {FORMAT_VERSION}): it can only be watched. Update diffopt to control it."
    )


def set_durable(connection: sqlite3.Connection, *, is_durable: bool) -> None:
    """Choose whether commits are forced to the medium (commands, stage ends) or left to the kernel.

    Either survives kill -9. Only the first survives a power cut; macOS needs F_FULLFSYNC for that.
    """
    connection.execute(f"pragma synchronous={'full' if is_durable else 'normal'}")
    connection.execute(f"pragma fullfsync={int(is_durable)}")


def set_patience(connection: sqlite3.Connection, milliseconds: int) -> None:
    """Choose how long a statement waits for another program that writes."""
    connection.execute(f"pragma busy_timeout={milliseconds}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    No room into `JournalFull`, everything else into `RunError`.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise explanation_of(path, error) from error


class _CannotShareError(RunError):
    """The WAL's shared index cannot be made beside the journal."""


def _connect(path: Path, mode: str, patience_seconds: float | None = None) -> sqlite3.Connection:
    if not path.is_file():
        raise RunError(f"{path} does not exist. Is {path.parent} a run folder?")
    if path.stat().st_size == 0:
        raise RunError(
            f"{path} is empty: it was cut off before a run began. "
            f"Delete {path.parent} and start again."
        )
    uri = f"file:{quote(str(path.absolute()))}?{mode}"
    with explained(path):
        # the worker's heartbeat shares its connection, under a lock of our own
        return sqlite3.connect(
            uri,
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_MS / 1000 if patience_seconds is None else patience_seconds,
            check_same_thread=False,
        )


def _format_version(connection: sqlite3.Connection, path: Path) -> int:
    with explained(path):
        (application_id,) = connection.execute("pragma application_id").fetchone()
        (version,) = connection.execute("pragma user_version").fetchone()
    if application_id != _APPLICATION_ID or version == 0:
        raise RunError(
            f"{path} is a database, but not a diffopt journal. Choose another run folder."
        )
    return version


# What a file that cannot grow looks like: ENOSPC is SQLITE_FULL, a quota or RLIMIT_FSIZE is one of
# the others
_NO_ROOM = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
}


def explanation_of(path: Path, error: sqlite3.Error) -> DiffoptError:
    """Return what to raise for an error of SQLite's, in words that a person can act on."""
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    if code in _NO_ROOM:
        free = shutil.disk_usage(path.parent).free
        return JournalFull(
            f"{path} could not be written ({error}); {free / 1e6:.0f} MB are free there. "
            "Nothing was lost. Make room on that disk, or raise the quota."
        )
    if primary == sqlite3.SQLITE_BUSY:
        return JournalBusy(f"{path} is locked by another program. Close that program.")
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return _CannotShareError(
            f"{path} cannot be opened ({error}). Check the permissions of {path.parent}, and that "
            "its disk has room."
        )
    if isinstance(error, sqlite3.OperationalError) and primary == sqlite3.SQLITE_ERROR:
        return RunError(
            f"{path} is not laid out as this program knows it ({error}). Update diffopt."
        )
    return RunError(
        f"{path} is damaged ({error}). The run's checkpoints are files of their own and may be "
        "whole; start a new run from them, or restore the journal from a backup."
    )
