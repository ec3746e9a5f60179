"""What a person chose, kept between sessions: theme, keys, bell, layout, events seen.

Choices stand in ``ui.yaml`` of the user's configuration folder, which a person may edit: a change
touches only its own value (`choices_file`). What was seen of each run is no choice and stands in
``seen.json`` of the state folder. Two dashboards may write at once. A damaged file is set aside
with a notice, and a single wrong value is left out with one: nothing here keeps a dashboard from
opening.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.files import write_text
from engine.run.fact import Fact
from engine.run.lock import state_folder
from tui.choices_file import parsed, set_aside, write_choices
from tui.small_file import read_small
from tui.wording import brief

BELLS = ("off", "bell", "notification")
IMAGE_MODES = ("cells", "quadrants", "ascii")
_SEEN_RUNS = 500  # the oldest are forgotten
_OF_OLD = ("screen",)  # was written by earlier versions and means nothing now


def config_folder() -> Path:
    """Return the user's folder for settings: $XDG_CONFIG_HOME/diffopt, else ~/.config/diffopt."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "diffopt"


class Seen(Fact):
    """The newest event of a run that a person had before them, and when that was (epoch)."""

    event_id: int
    time: float


@dataclass(slots=True)
class Preferences:
    """The choices; read them as attributes, change them with `set`, which also writes them."""

    path: Path
    seen_path: Path
    theme: str | None = None
    bell: str = "bell"
    image_mode: str | None = None
    keys: dict[Any, Any] = field(default_factory=dict)  # a key's id -> "p,f8", not yet checked
    layout: dict[str, Any] = field(default_factory=dict)  # pane sizes and the like, by screen
    notices: list[str] = field(default_factory=list)  # what went wrong and was not told yet
    on_notice: Callable[[], None] | None = None  # is called when there is one more
    _noted: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, folder: Path | None = None, state: Path | None = None) -> Preferences:
        """Return the choices kept in `folder`, the defaults where there are none. Never raises."""
        out = cls((folder or config_folder()) / "ui.yaml", (state or _state_folder()) / "seen.json")
        try:
            text = read_small(out.path)
        except FileNotFoundError:
            return out
        except (OSError, ValueError) as error:
            out._note(f"{out.path} cannot be read ({_reason(error)}); defaults are used.")
            return out
        try:
            content = parsed(text)
        except ValueError as error:
            aside = set_aside(out.path)
            kept = (
                f"it is kept as {aside.name}, defaults are used" if aside else "defaults are used"
            )
            out._note(f"{out.path} cannot be read ({error}); {kept}.")
            return out
        for key, value in content.items():
            if key in _OF_OLD:
                continue
            problem = _problem(key, value)
            if problem is None:
                setattr(out, key, value)
            else:
                out._note(f"{out.path}: {_name(key)}: {problem}; left out.")
        return out

    def set(self, **changes: Any) -> None:
        """Take the `changes` over and write them down, leaving what other dashboards wrote.

        What cannot be written becomes a notice. Keys are a person's to write.
        """
        for key, value in changes.items():
            if (problem := _problem(key, value)) is not None or key == "keys":
                raise ValueError(f"{key}: {problem or 'keys are written by hand'}")
            setattr(self, key, value)
        self._write(changes)

    def remember(self, screen: str, **values: Any) -> None:
        """Keep how a screen looks, as `recall` gives it back; other dashboards' screens stay."""
        mine = {**self.recall(screen), **values}
        if mine == self.recall(screen):
            return
        self.layout = {**self.layout, screen: mine}
        self._write({"layout": {screen: values}})

    def recall(self, screen: str) -> dict[str, Any]:
        """Return what was kept of a screen; values may be anything that a person wrote there."""
        found = self.layout.get(screen)
        return dict(found) if isinstance(found, dict) else {}

    def seen(self, run: Path) -> Seen | None:
        """Return what was last seen of a run; None for one never looked at."""
        row = _read_seen(self.seen_path).get(str(run.absolute()))
        return Seen(row[0], row[1]) if row else None

    def mark_seen(self, run: Path, event_id: int, now: float | None = None) -> None:
        """Remember that a run was looked at, up to `event_id`."""
        moment = time.time() if now is None else now
        try:
            with _alone(self.seen_path):
                rows = _read_seen(self.seen_path)
                rows.pop(str(run.absolute()), None)
                rows[str(run.absolute())] = [event_id, moment]
                newest = sorted(rows.items(), key=lambda row: row[1][1])[-_SEEN_RUNS:]
                write_text(self.seen_path, json.dumps(dict(newest), indent=0) + "\n")
        except OSError as error:
            self._note(f"{self.seen_path} cannot be written ({error.strerror}).")

    def take_notices(self) -> list[str]:
        """Return what is to be told, and forget it."""
        notices, self.notices = self.notices, []
        return notices

    def _write(self, changes: Mapping[str, Any]) -> None:
        try:
            with _alone(self.path):
                refused = write_choices(self.path, changes)
        except OSError as error:
            self._note(f"{self.path} cannot be written ({error.strerror}); choices are lost.")
        except ValueError as error:
            self._note(
                f"{self.path} cannot be read ({error}) and stays as it is. Choices hold until you "
                "leave; they are kept again once it is mended."
            )
        else:
            for reason in refused[:1]:  # the others are parts of the same choice
                self._note(f"{self.path}: {reason} The choice holds until you leave.")

    def _note(self, text: str) -> None:
        """Have something told, once."""
        if text not in self._noted:
            self._noted.add(text)
            self.notices.append(text)
            if self.on_notice is not None:
                self.on_notice()


def _state_folder() -> Path:
    return state_folder()


def _name(key: Any) -> str:
    return key if isinstance(key, str) and key.isprintable() and len(key) < 60 else brief(key)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _problem(key: Any, value: Any) -> str | None:
    """Return what is wrong with a value; None where nothing is."""
    words = {"bell": BELLS, "image_mode": IMAGE_MODES}
    if key in words:
        if value in words[key] or (value is None and key != "bell"):
            return None
        return f"{brief(value)} is none of {', '.join(words[key])}"
    if key == "theme":
        return (
            None
            if value is None or isinstance(value, str)
            else f"{brief(value)} is no theme's name"
        )
    if key == "keys":
        wanted = "a mapping of a key's id to keys was wanted, as run.pause: p"
        return None if isinstance(value, dict) else wanted
    if key == "layout":
        return None if isinstance(value, dict) else "a mapping by screen was wanted"
    return "this version knows no such choice"


def _read_seen(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            run: [int(row[0]), float(row[1])]
            for run, row in content.items()
            if isinstance(row, list) and len(row) == 2
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # nothing is lost but the word "new"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other dashboards from writing meanwhile; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
