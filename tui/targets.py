"""What `diffopt-tui WORD` means: a run, a configuration file, a recipe, or nothing named."""

from __future__ import annotations

from pathlib import Path

from engine.errors import RunError
from engine.files import expanded, reason_of
from engine.run import RunFolder, RunState, find_run, list_runs
from engine.run.fact import Fact
from tui.options import Options


class Target(Fact):
    """What to open first; Runs where all is None."""

    run: RunFolder | None = None
    config: str | Path | None = None  # a file, or a recipe's name
    recipe: str | None = None  # to be started at once


def find_target(options: Options) -> Target:
    """Return what the options name.

    Raises RunError for a word that is no run, file or recipe, and ConfigError for a file that is no
    text. What does not parse is left to the Config screen, which shows where.
    """
    word = options.target
    if word is None:
        return Target(run=running_run(options.runs_dir))
    if not word:
        raise RunError("The name is empty; give a run, a file of settings, or nothing at all.")
    if word == "demo":
        return Target(recipe="demo")
    try:
        return _named(options, word)
    except OSError as error:
        raise RunError(f"{word} cannot be looked for: {reason_of(error)}.") from error


def _named(options: Options, word: str) -> Target:
    path = expanded(word)
    if path.suffix in (".yaml", ".yml"):
        if path.is_dir():
            raise RunError(f"{path} is a folder; name a file of settings in it, or a run.")
        if not path.is_file():
            raise RunError(f"There is no file {path}. `diffopt config demo > {path}` makes one.")
        return Target(config=_readable(path))
    try:
        return Target(run=find_run(options.runs_dir, word))
    except RunError as error:
        if path.is_file():
            return Target(config=_readable(path))
        from engine.config import recipe_names

        if word in recipe_names():
            return Target(config=word)
        raise RunError(
            f"{error} Nor is {word} a file or a recipe ({', '.join(recipe_names())})."
        ) from error


def _readable(path: Path) -> Path:
    from tui.draft_file import read_text

    read_text(path)
    return path


def running_run(runs_dir: Path) -> RunFolder | None:
    """Return the run that is at work in `runs_dir`, else one that waits its turn, else None."""
    from engine.run.lock import is_locked

    waiting: RunFolder | None = None
    for run in list_runs(runs_dir):
        if not is_locked(run.lock_path):
            continue
        try:
            state = run.state()
        except RunError:
            continue
        if state not in (RunState.QUEUED, RunState.LOST):
            return run
        waiting = waiting or run
    return waiting
