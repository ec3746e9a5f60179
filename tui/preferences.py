"""What a person chose, kept between sessions: theme, keys, bell, layout, last screen, events seen.

Choices stand in ``ui.yaml`` of the user's configuration folder, which a person may edit: a change
touches only its own line, so comments stay. What was seen of each run is no choice and stands in
``seen.json`` of the state folder. Two dashboards may write at once. A damaged file is set aside
with a notice, and a single wrong value is left out with one: nothing here keeps a dashboard from
opening.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.files import write_text
from engine.run.fact import Fact
from engine.run.lock import state_folder

BELLS = ("off", "bell", "notification")
SCREENS = ("runs", "config", "live", "compare")
IMAGE_MODES = ("cells", "quadrants", "ascii")
_SEEN_RUNS = 500  # the oldest are forgotten
_HEADER = "# Choices of diffopt-tui. It writes single lines; your comments stay.\n"


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
    screen: str | None = None
    bell: str = "bell"
    image_mode: str | None = None
    keys: dict[str, str] = field(default_factory=dict)  # a key's id -> "p,f8"
    layout: dict[str, Any] = field(default_factory=dict)  # pane sizes and the like, by screen
    notices: list[str] = field(default_factory=list)  # what could not be read, a line each
    on_notice: Callable[[], None] | None = None  # is called when there is one more

    @classmethod
    def load(cls, folder: Path | None = None, state: Path | None = None) -> Preferences:
        """Return the choices kept in `folder`, the defaults where there are none. Never raises."""
        out = cls((folder or config_folder()) / "ui.yaml", (state or _state_folder()) / "seen.json")
        try:
            content = _parsed(out.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return out
        except OSError as error:
            out.notices.append(f"{out.path} cannot be read ({error.strerror}); defaults are used.")
            return out
        except ValueError as error:
            out.notices.append(_set_aside(out.path, str(error)))
            return out
        for key, value in content.items():
            if key == "bell" and isinstance(value, bool):
                value = "bell" if value else "off"  # a bare off is false to YAML
            problem = _problem(key, value)
            if problem is None:
                setattr(out, key, value)
            else:
                out.notices.append(f"{out.path}: {key}: {problem}; left out.")
        return out

    def set(self, **changes: Any) -> None:
        """Take the `changes` over and write them down, leaving what other dashboards wrote.

        What cannot be written becomes a notice.
        """
        for key, value in changes.items():
            if (problem := _problem(key, value)) is not None:
                raise ValueError(f"{key}: {problem}")
            setattr(self, key, value)
        try:
            with _alone(self.path):
                _write_changes(self.path, changes)
        except OSError as error:
            self._tell_once(f"{self.path} cannot be written ({error.strerror}); choices are lost.")

    def remember(self, screen: str, **values: Any) -> None:
        """Keep how a screen looks, as `recall` gives it back; other dashboards' screens stay."""
        mine = {**self.recall(screen), **values}
        if mine == self.recall(screen):
            return
        self.layout = {**self.layout, screen: mine}
        try:
            with _alone(self.path):
                kept = _layout_in(self.path)
                _write_changes(self.path, {"layout": {**kept, screen: mine}})
        except OSError as error:
            self._tell_once(f"{self.path} cannot be written ({error.strerror}); choices are lost.")

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
            self._tell_once(f"{self.seen_path} cannot be written ({error.strerror}).")

    def take_notices(self) -> list[str]:
        """Return what is to be told, and forget it."""
        notices, self.notices = self.notices, []
        return notices

    def _tell_once(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)


def _state_folder() -> Path:
    return state_folder()


def _parsed(text: str) -> dict[str, Any]:
    """Return the file's mapping; ValueError with the reason where it is none."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or 'no YAML'}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"a mapping was wanted, a {type(content).__name__} found")
    return content


def _problem(key: Any, value: Any) -> str | None:
    """Return what is wrong with a value; None where nothing is."""
    words = {"screen": SCREENS, "bell": BELLS, "image_mode": IMAGE_MODES}
    if key in words:
        if value in words[key] or (value is None and key != "bell"):
            return None
        return f"{value!r} is none of {', '.join(words[key])}"
    if key == "theme":
        return None if value is None or isinstance(value, str) else f"{value!r} is no theme's name"
    if key == "keys":
        is_fine = isinstance(value, dict) and all(
            isinstance(part, str) for pair in value.items() for part in pair
        )
        return None if is_fine else "a mapping of a key's id to keys was wanted, as run.pause: p"
    if key == "layout":
        return None if isinstance(value, dict) else "a mapping by screen was wanted"
    return "this version knows no such choice"


def _set_aside(path: Path, why: str) -> str:
    aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
    try:
        path.replace(aside)
    except OSError:
        return f"{path} cannot be read ({why}); defaults are used."
    return f"{path} cannot be read ({why}); it is kept as {aside.name}, defaults are used."


def _write_changes(path: Path, changes: Mapping[str, Any]) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        content = _parsed(text)
    except FileNotFoundError:
        text, content = _HEADER, {}
    except ValueError as error:
        _set_aside(path, str(error))
        text, content = _HEADER, {}
    for key, value in changes.items():
        if content.get(key) != value or key not in content:
            text, content = _with_line(text, content, key, value)
    write_text(path, text)


def _with_line(
    text: str, content: dict[str, Any], key: str, value: Any
) -> tuple[str, dict[str, Any]]:
    """Return the text with `key` on one line of its own; all else as it was, which is proved."""
    wanted = content | {key: value}
    line = f"{key}: {_flow(value)}"
    pattern = re.compile(rf"^{re.escape(key)}:[^\n]*$", re.MULTILINE)
    if len(pattern.findall(text)) == 1:
        edited = pattern.sub(lambda _: line, text)
    else:
        edited = text.rstrip("\n") + f"\n{line}\n"
    try:
        if _parsed(edited) == wanted:
            return edited, wanted
    except ValueError:
        pass
    # an old value over several lines: the file is written afresh, in the order it had
    return _HEADER + "".join(f"{name}: {_flow(one)}\n" for name, one in wanted.items()), wanted


def _flow(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _layout_in(path: Path) -> dict[str, Any]:
    try:
        found = _parsed(path.read_text(encoding="utf-8")).get("layout")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
