"""Where an export may be written: nothing that somebody else made is ever replaced by one.

A folder takes the place of another whole, so what stands there must be empty or an earlier export.
"""

import json
import os
from pathlib import Path

from engine.errors import ConfigError
from engine.export.student import MANIFEST
from engine.files import expanded, reason_of, temporary_name

_JOURNAL = "journal.sqlite"
_OF_FINDER = ".DS_Store"


def export_target(text: str, run: Path, runs_dir: Path, *, is_forced: bool) -> Path:
    """Return the folder that `text` (--to) names, links resolved, where an export may go.

    Its place is free or an empty folder; with `is_forced` also an earlier export, which is
    replaced. `run` is the folder of the run that is exported, whose own `export` is one of those.

    Raises:
        ConfigError: a file or another folder is there, a run would be touched, or no folder can be
            made there.
    """
    named = expanded(text)
    try:
        target = named.resolve()
        if not target.exists() and not target.parent.is_dir():
            raise ConfigError(f"--to {text}: there is no folder {target.parent}; make it first.")
        refuse_place(text, target, run, runs_dir, is_forced=is_forced)
        probe = temporary_name(target)  # before a model is loaded for nothing
        probe.mkdir(exist_ok=True)
        probe.rmdir()
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
        raise ConfigError(
            f"--to {text}: no folder can be made there ({reason_of(error)}); name another."
        ) from error
    return target


def refuse_place(text: str, target: Path, run: Path, runs_dir: Path, *, is_forced: bool) -> None:
    """Refuse a resolved place where an export would touch what is not of an earlier one.

    Asked before the work and again right before the export takes its place, for somebody may have
    put something there meanwhile.

    Raises ConfigError.
    """
    is_there = target.exists()
    if is_there and not target.is_dir():
        raise ConfigError(f"--to {text}: this is a file; name a new folder.")
    if target in (here := Path.cwd(), *here.parents):
        raise ConfigError(f"--to {text}: the current folder lies in it; name a new folder.")
    if target != (run / "export").resolve():
        _refuse_runs(text, target, run, runs_dir)
    if is_there:
        _refuse_full(text, target, is_forced=is_forced)


def refuse_original(text: str, target: Path, original: Path) -> None:
    """Refuse to replace the model that a run began with, which may be an export too.

    Raises ConfigError.
    """
    source = original.resolve()
    if source == target or target in source.parents:
        raise ConfigError(f"--to {text}: the run's original model is there; name a new folder.")


def _refuse_runs(text: str, target: Path, run: Path, runs_dir: Path) -> None:
    """Refuse a place in, around or instead of a run, or a folder of runs."""
    for folder in (target, *target.parents):
        if (folder / _JOURNAL).exists():
            what = "is a run" if folder == target else f"lies in the run {folder}"
            raise ConfigError(f"--to {text}: this {what}; name a new folder outside of all runs.")
    for root in (run.resolve().parent, runs_dir.resolve()):
        if root == target or target in root.parents:
            what = "is the runs folder" if root == target else f"holds the runs folder {root}"
            raise ConfigError(f"--to {text}: this {what}; name a new folder outside of it.")
        if root in target.parents:
            what = f"lies in the runs folder {root}"
            raise ConfigError(f"--to {text}: this {what}; name a new folder outside of it.")
    if held := next(target.rglob(_JOURNAL), None):
        raise ConfigError(f"--to {text}: this holds the run {held.parent}; name a new folder.")


def _refuse_full(text: str, target: Path, *, is_forced: bool) -> None:
    if all(one.name == _OF_FINDER for one in target.iterdir()):
        return
    known = _files_of_export(target / MANIFEST)
    if known is None:
        raise ConfigError(
            f"--to {text}: this folder holds something else than an earlier export (there is no "
            f"{MANIFEST} in it that lists its files), which is never replaced; name a new folder."
        )
    if foreign := _first_foreign(target, known):
        raise ConfigError(
            f"--to {text}: {foreign} is not of the earlier export there, and nothing else is ever "
            "replaced; move it away, or name a new folder."
        )
    if not is_forced:
        raise ConfigError(
            f"--to {text}: an earlier export is there; name a new folder, or add --force."
        )


def _files_of_export(manifest: Path) -> set[str] | None:
    """Return the files that an export's manifest lists, and itself; None if it is no manifest."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    listed = content.get("sha256") if isinstance(content, dict) else None
    return {*listed, MANIFEST} if isinstance(listed, dict) else None


def _first_foreign(target: Path, known: set[str]) -> str | None:
    """Return the first entry in `target` that is not among `known`, from there on; None without.

    Folders with no file in them are nothing, and so is what the Mac's Finder leaves wherever
    somebody looks; a link to a folder is an entry like a file.
    """

    def give_up(error: OSError) -> None:
        raise error  # what cannot be looked into is not known to be ours

    for folder, folders, files in os.walk(target, onerror=give_up):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders.sort()
        for name in sorted([*files, *links]):
            path = str(Path(folder, name).relative_to(target))
            if path not in known and name != _OF_FINDER:
                return path
    return None
