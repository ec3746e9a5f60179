"""Writing files so that nothing is ever half-written. Used by every room that writes.

Imports nothing of ours.

A file is written to a temporary name beside its place, forced to the disk and renamed over it; a
folder likewise. ``kill -9``, a full disk or a power cut leaves either the old content or the new
one.
"""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

TEMPORARY_MARK = ".tmp-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_no_room(error: OSError) -> bool:
    """Return whether it tells of a full disk, a used-up quota or a limit on the size of files."""
    return error.errno in _NO_ROOM


def reason_of(error: BaseException) -> str:
    """Return why a path could not be used, in the system's words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    return "a link to itself" if text.startswith("Symlink loop") else text


def expanded(text: str | Path) -> Path:
    """Return a path as it was written, ``~`` made the home folder where there is one."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no user of that name: there will be no such file
        return Path(text)


def temporary_name(path: Path) -> Path:
    """Return the name under which `path` is written before it is renamed.

    Unique to this process.
    """
    return path.with_name(f".{path.name}{TEMPORARY_MARK}{os.getpid()}")


def sync_file(descriptor: int) -> None:
    """Force a file's bytes to the medium.

    On macOS fsync stops at the drive's cache, so F_FULLFSYNC is asked for.
    """
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:  # some file systems refuse it; fsync is then the best there is
            pass
    os.fsync(descriptor)


def sync_path(path: Path) -> None:
    """Force a file or a folder entry (after a rename) to the medium."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to.

    On a clean exit it is synced and renamed to `path`, else removed.

    The suffix is kept, so that libraries which look at it (Pillow, matplotlib) write the right
    format.
    """
    temporary = temporary_name(path).with_name(
        f".{path.stem}{TEMPORARY_MARK}{os.getpid()}{path.suffix}"
    )
    try:
        yield temporary
        sync_path(temporary)
        temporary.replace(path)
        sync_path(path.parent)
    except OSError as error:
        # a write tells no name, and the temporary one says little
        if is_no_room(error) or error.filename in (str(temporary), temporary):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # a name that is too long cannot even be looked for
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, check: Callable[[], None] | None = None) -> Iterator[Path]:
    """Give a temporary folder to fill.

    On a clean exit it takes the place of `path`, else it is removed. What stood there is deleted
    whole, so a caller that takes the path from a person looks at what it holds: first, and in
    `check`, which is called right before the place is taken. What it raises leaves all as it is.

    A folder cannot be renamed over a full one, so an old `path` is moved aside first and put back
    if the second rename fails. Raises NotADirectoryError where `path` is a file.
    """
    path = path.resolve()  # a link stays, and what it leads to is replaced
    _refuse_file(path)
    temporary, aside = temporary_name(path), temporary_name(path.with_name(path.name + ".old"))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            sync_path(file)
        if check is not None:
            check()
        _refuse_file(path)  # filling may have taken minutes
        if path.exists():
            path.replace(aside)
        try:
            temporary.replace(path)
        except OSError:
            if aside.exists():
                aside.replace(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)  # and not before: it may be all that is left
        sync_path(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_file(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` with `text`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Replace the content of `path` with `content` as indented JSON.

    NaN is refused, for other readers refuse it.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_safetensors(
    path: Path, tensors: Mapping[str, "np.ndarray"], metadata: Mapping[str, str] | None = None
) -> None:
    """Replace the content of `path`, whole or not at all, with tensors as a safetensors file.

    Raises OSError with its number where the file system refuses, as every other writer does:
    safetensors itself tells it in words alone.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=dict(metadata) if metadata else None)
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        temporary.chmod(0o644)  # safetensors makes it for its owner alone
