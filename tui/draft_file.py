"""Where settings come from and where unsaved changes wait: sources, draft files, the file on disk.

A draft is the text itself under one comment line, beside its file as ``.NAME.draft`` or, where that
cannot be written, in the state folder. It outlives the dashboard, the terminal and the machine.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from engine.errors import ConfigError
from engine.files import expanded, replacing
from engine.run import RunFolder
from engine.run.fact import Fact
from engine.run.lock import state_folder
from tui.broken import is_there

_HEADER = "# draft of diffopt-tui, not saved yet; based on "


class Source(Fact):
    """What a draft was opened from."""

    name: str  # for the header: "configs/mine.yaml", "recipe demo", "run digits", "clone of digits"
    label: str  # for the name of a run: "mine", "demo"
    path: Path | None  # where `save` writes; None: a name must be given first
    text: str  # as it was read
    run: RunFolder | None = None  # the run whose settings these are, not a clone
    words: str = ""  # how `diffopt run` is told of it, where it has no file of its own

    @property
    def file(self) -> Path | None:
        """The file that this was read from and that others may change: its own, or a run's."""
        return self.run.config_path if self.run is not None else self.path

    @property
    def digest(self) -> str:
        """A hash of the text as it was read."""
        return digest_of(self.text)


class FoundDraft(Fact):
    """Changes of an earlier session that were never saved."""

    path: Path
    text: str
    age_seconds: float
    is_based_on_this: bool  # the file is still the one that the changes were made to


def digest_of(text: str) -> str:
    """Return a short hash of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_text(path: Path) -> str:
    """Return a file's text with its own line ends; raises ConfigError."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. ctrl+s on an open text makes one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}.") from error


def open_source(source: str | Path | RunFolder, *, is_clone: bool = False) -> Source:
    """Return a file, a bundled recipe or a run's settings; raises ConfigError.

    A clone holds only what differs from the defaults, and has no file yet.
    """
    from engine.config import read_source, recipe_names

    if isinstance(source, RunFolder):
        text = read_text(source.config_path)
        if is_clone:
            name, text = f"clone of {source.name}", only_differences(text)
            return Source(name, source.name, None, text, words=str(source.config_path))
        name, words = f"run {source.name}", str(source.config_path)
        return Source(name, source.name, None, text, run=source, words=words)
    path = expanded(source)
    if isinstance(source, str) and source in recipe_names() and not path.is_file():
        text, name = read_source(source)
        return Source(name, source, None, text, words=source)
    path = path.absolute()
    return Source(_short(path), path.stem, path, read_text(path))


def only_differences(text: str) -> str:
    """Return a text that says the same with nothing in it that is a default."""
    from engine.config_check import check_text
    from tui.schema import defaults, flat, key_order
    from tui.yaml_edit import set_key
    from tui.yaml_spelling import is_same

    checked = check_text(text)
    if checked.config is None:
        return text
    usual, out = defaults(), ""
    for key, value in flat(checked.config.to_dict()).items():
        if key not in usual or not is_same(usual[key], value):
            out = set_key(out, key, value, order=key_order())
    return out


def write_file(path: Path, text: str) -> None:
    """Replace a file's content, whole or not at all; raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a link keeps pointing at what it points at
        with replacing(path.resolve()) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o7777)
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be written: {reason}. Choose another name.") from error


def keep_draft(source: Source, text: str) -> Path | None:
    """Write unsaved changes down; returns where, None where nothing can be written."""
    content = f"{_HEADER}{source.digest}\n{text}"
    for path in _places(source):
        with suppress(ConfigError):
            write_file(path, content)
            with suppress(OSError):
                path.chmod(0o600)
            return path
    return None


def find_draft(source: Source) -> FoundDraft | None:
    """Return what an earlier session left unsaved, the newest of it."""
    found: list[FoundDraft] = []
    for path in _places(source):
        with suppress(OSError, UnicodeDecodeError):
            header, _, text = path.read_bytes().decode("utf-8").partition("\n")
            if header.startswith(_HEADER) and text != source.text:
                age = max(0.0, time.time() - path.stat().st_mtime)
                is_same = header.removeprefix(_HEADER).strip() == source.digest
                found.append(FoundDraft(path, text, age, is_same))
    return min(found, key=lambda draft: draft.age_seconds, default=None)


def set_draft_aside(found: FoundDraft) -> Path | None:
    """Give a draft a name that no later one takes; returns it, None where that failed."""
    for number in range(1, 100):
        aside = found.path.with_name(f"{found.path.name}-{number}")
        if not is_there(aside):
            with suppress(OSError):
                found.path.rename(aside)
                return aside
    return None


def drop_draft(source: Source) -> None:
    """Remove the draft: it was saved, started or thrown away."""
    for path in _places(source):
        with suppress(OSError):
            path.unlink()


def _places(source: Source) -> list[Path]:
    drafts = state_folder() / "drafts"
    if source.run is not None:  # runs of one name may lie in several folders
        place = hashlib.sha256(str(source.run.path.absolute()).encode()).hexdigest()[:8]
        return [drafts / f"run-{source.run.name}-{place}.draft"]
    if source.path is None:
        return [drafts / f"{source.name.replace(' ', '-').replace(os.sep, '_')}.draft"]
    place = hashlib.sha256(str(source.path).encode()).hexdigest()[:8]
    return [
        source.path.with_name(f".{source.path.name}.draft"),
        drafts / f"{source.path.name}-{place}.draft",
    ]


def _short(path: Path) -> str:
    for base, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        with suppress(ValueError):
            return f"{sign}{path.relative_to(base)}"
    return str(path)
