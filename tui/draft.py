"""Draft: the one model behind form and YAML. Pure but for its file; no Textual.

The text is the truth. A form edit changes one setting in it (`yaml_edit`), the YAML pane replaces
it, and both are steps of one undo stack; values, faults and differences follow from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from engine.config_check import Checked, Fault, check_text
from engine.errors import ConfigError, DiffoptError
from engine.files import expanded
from engine.run.fact import Fact, changed
from tui import draft_file
from tui.broken import is_there
from tui.draft_file import FoundDraft, Source
from tui.draft_merge import merge, unified
from tui.schema import defaults, flat, key_order, settings_by_key
from tui.typed_values import MISSING, read_typed, shown
from tui.yaml_edit import EditRefused, remove_key, set_key
from tui.yaml_spelling import is_same

COALESCE_SECONDS = 1.0
_MOST_STEPS = 500
DiskState = Literal["same", "changed", "gone"]


class _Step(Fact):
    text: str  # as it was before
    what: str  # what was typed into: a key, or "yaml"
    time: float


class Difference(Fact):
    """A setting with two values; MISSING stands for none."""

    key: str
    old: Any
    new: Any


class Draft:
    """Settings being edited."""

    def __init__(self, source: Source, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with what was read."""
        self.source = source
        self._clock = clock
        self._text = source.text
        self._undo: list[_Step] = []
        self._redo: list[_Step] = []
        self._trimmed = 0  # steps that the stack was too short for
        self._kept: str | None = None
        self._kept_at: Path | None = None
        self._changed: list[Difference] | None = None
        self._checked = check_text(source.text, source.name)
        self._values = flat(self._checked.data) if self._checked.data is not None else {}

    # What it is now

    @property
    def text(self) -> str:
        """The YAML."""
        return self._text

    @property
    def checked(self) -> Checked:
        """What the text amounts to."""
        return self._checked

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All that is wrong, in the order of the lines."""
        return self._checked.faults

    @property
    def is_parsed(self) -> bool:
        """Whether the text holds settings at all; where not, `values` are the last that it held."""
        return self._checked.data is not None

    @property
    def values(self) -> Mapping[str, Any]:
        """What stands in the text, by dotted key."""
        return self._values

    @property
    def is_modified(self) -> bool:
        """Whether something would be lost by leaving."""
        return self._text != self.source.text

    def value(self, key: str) -> Any:
        """Return a setting's value, its default where the text is silent, MISSING without one."""
        return self._values.get(key, defaults().get(key, MISSING))

    def words(self, key: str) -> str:
        """Return a setting's value as it is written in the text, or as it could be typed."""
        return self._checked.numbers.get(key) or shown(self.value(key))

    def fault_of(self, key: str) -> Fault | None:
        """Return what is wrong with one setting."""
        return next((fault for fault in self.faults if fault.key == key), None)

    def changed(self) -> list[Difference]:
        """Return the settings that differ from their defaults, in the order of the file."""
        if self._changed is not None:
            return self._changed
        usual, known = defaults(), key_order()
        keys = (*known, *(key for key in self._values if key not in known))
        self._changed = [
            Difference(key, usual.get(key, MISSING), self._values[key])
            for key in keys
            if key in self._values and not is_same(usual.get(key, MISSING), self._values[key])
        ]
        return self._changed

    def diff_to_file(self) -> list[str]:
        """Return the changes since the text was read, as lines of a unified diff."""
        return unified(self.source.text, self._text, "on disk", "here")

    def as_command(self) -> str | None:
        """Return `diffopt run SOURCE --set ...` that does the same; None while it is wrong."""
        from tui.draft_command import command_of

        config = self.checked.config
        return command_of(self.source, config) if config is not None else None

    # Changing

    def set_text(self, text: str, what: str = "yaml") -> None:
        """Replace the text; what is typed without a pause is one step of undo."""
        if text == self._text:
            return
        now = self._clock()
        last = self._undo[-1] if self._undo else None
        goes_on = (
            last is not None
            and not self._redo
            and last.what == what
            and now - last.time < COALESCE_SECONDS
            and text.count("\n") == self._text.count("\n")
        )
        if goes_on and last is not None:
            self._undo[-1] = _Step(last.text, what, now)
        else:
            self._undo.append(_Step(self._text, what, now))
            self._trimmed += max(0, len(self._undo) - _MOST_STEPS)
            del self._undo[:-_MOST_STEPS]
        self._redo.clear()
        self._take(text)

    def set_typed(self, key: str, typed: str) -> None:
        """Set a setting to what a person typed into the form; "" resets it.

        What is no value of its kind goes into the text as it is, where it is a fault. Raises
        EditRefused where the text cannot be changed there.
        """
        setting = settings_by_key()[key]
        if not typed.strip() and not (setting.kind == "text" and setting.is_required):
            self.reset(key)
            return
        value, spelling = read_typed(setting, typed)
        self.set_value(key, value, spelling=spelling)

    def set_value(self, key: str, value: Any, *, spelling: str | None = None) -> None:
        """Set a setting; raises EditRefused."""
        self._refuse_unparsed(key)
        if key in self._values and is_same(self._values[key], value):
            return
        text = set_key(self._text, key, value, spelling=spelling, order=key_order())
        self.set_text(text, key)

    def set_values(self, values: Mapping[str, Any], what: str) -> None:
        """Set several settings as one step; raises EditRefused, with nothing changed."""
        text = self._text
        for key, value in values.items():
            self._refuse_unparsed(key)
            if is_same(value, defaults().get(key, MISSING)):
                text = remove_key(text, key)
            else:
                text = set_key(text, key, value, order=key_order())
        self.end_step()
        self.set_text(text, what)
        self.end_step()

    def reset(self, key: str) -> None:
        """Take a setting back to its default, by taking it out of the text; raises EditRefused."""
        self._refuse_unparsed(key)
        self.set_text(remove_key(self._text, key), key)

    def end_step(self) -> None:
        """Make what comes next a step of its own: the cursor went elsewhere."""
        if self._undo:
            last = self._undo[-1]
            self._undo[-1] = _Step(last.text, last.what, float("-inf"))

    def mark(self) -> int:
        """Return a place in the stack to `rewind` to."""
        self.end_step()
        return self._trimmed + len(self._undo)

    def rewind(self, mark: int) -> None:
        """Take back all since `mark`, as if it had never been, as far as the stack reaches."""
        place = max(0, mark - self._trimmed)
        if len(self._undo) > place:
            text = self._undo[place].text
            del self._undo[place:]
            self._take(text)

    def undo(self) -> str | None:
        """Take the last step back; returns what it was about, None where there is none."""
        return self._turn(self._undo, self._redo)

    def redo(self) -> str | None:
        """Make it again."""
        return self._turn(self._redo, self._undo)

    def _turn(self, out: list[_Step], into: list[_Step]) -> str | None:
        if not out:
            return None
        step = out.pop()
        into.append(_Step(self._text, step.what, float("-inf")))
        self._take(step.text)
        return step.what

    def _take(self, text: str) -> None:
        self._text, self._changed = text, None
        self._checked = check_text(text, self.source.name)
        if self._checked.data is not None:
            self._values = flat(self._checked.data)

    def _refuse_unparsed(self, key: str) -> None:
        if not self.is_parsed:
            fault = self.faults[0]
            where = f"line {fault.line}: " if fault.line else ""
            raise EditRefused(f"{key}: the YAML does not parse ({where}{fault.message}).")

    # Its file

    def save(self, path: Path | None = None) -> Path:
        """Write the text to its file, or to `path` from now on; raises ConfigError."""
        target = expanded(path).absolute() if path is not None else self.source.path
        if target is None:
            raise ConfigError(f"{self.source.name} has no file yet; name one.")
        draft_file.write_file(target, self._text)
        draft_file.drop_draft(self.source)
        opened = draft_file.open_source(target)
        self.source = changed(opened, text=self._text)
        self._kept = None
        return target

    def brought_together(self) -> tuple[str, str]:
        """Return what stands in a run's settings by now, and that with what was changed here.

        Raises ConfigError where both changed one setting, EditRefused where that text cannot be.
        """
        there = self._on_disk()
        text, clashes = merge(self.source.text, self._text, there)
        if clashes:
            more = f" ({len(clashes) - 1} more)" if len(clashes) > 1 else ""
            raise ConfigError(f"{clashes[0]}{more}; F5 takes what is there, K keeps yours.")
        return there, text

    def taken_over(self, text: str) -> None:
        """Take note that `text`, which holds these changes, stands now where it came from."""
        draft_file.drop_draft(self.source)
        if text == self._text:
            self._rebase(text)
        else:
            self._begin_anew(text, text)
        self._kept = None

    def catch_up(self) -> bool:
        """Take what another wrote into a run's settings, where nothing was changed here.

        Returns whether there was something.
        """
        if self.source.run is None or self.is_modified or self.disk_state() != "changed":
            return False
        try:
            text = self._on_disk()
        except ConfigError:
            return False
        self._begin_anew(text, text)
        return True

    def disk_state(self) -> DiskState:
        """Return whether the file is still the one that was read."""
        if self.source.file is None:
            return "same"
        try:
            if not self.source.file.exists():
                return "gone"
            return "same" if self._on_disk() == self.source.text else "changed"
        except (ConfigError, OSError):  # its folder cannot be looked into
            return "changed"

    def diff_to_disk(self) -> list[str]:
        """Return what differs between the file as it is now and the text here."""
        try:
            return unified(self._on_disk(), self._text, "on disk", "here")
        except ConfigError as error:
            return [str(error)]

    def reload(self) -> None:
        """Take the file as it is now; what was here is a step of undo. Raises ConfigError."""
        text = self._on_disk()
        if self.source.run is not None:
            with suppress(DiffoptError):  # what cannot be brought together is a step as it is
                self.keep_mine()
        self._rebase(text)
        self.end_step()
        self.set_text(text, "reload")
        self.end_step()

    def keep_mine(self) -> None:
        """Go on with the text here, to be saved over what is on disk now.

        Of a run's settings the changes made here are kept, and all else is as on disk: what others
        wrote there is in force already. Raises ConfigError or EditRefused where that cannot be.
        """
        if self.disk_state() != "changed":
            return
        text = self._on_disk()
        if self.source.run is None:
            self._rebase(text)
        else:
            mine, _ = merge(self.source.text, self._text, text)
            self._begin_anew(mine, text)

    def _begin_anew(self, text: str, on_disk: str) -> None:
        """Go on with a text that others had a part in: no undo may take back what they wrote."""
        self._undo.clear()
        self._redo.clear()
        self._rebase(on_disk)
        self._take(text)

    def _rebase(self, text: str) -> None:
        self.source = changed(self.source, text=text)

    def _on_disk(self) -> str:
        assert self.source.file is not None
        return draft_file.read_text(self.source.file)

    # What survives

    def found_draft(self) -> FoundDraft | None:
        """Return what an earlier session left unsaved."""
        return draft_file.find_draft(self.source)

    def take_draft(self, found: FoundDraft) -> None:
        """Go on with it, as a step that can be undone."""
        self.end_step()
        self.set_text(found.text, "draft")
        self.end_step()
        self._kept, self._kept_at = found.text, found.path

    def set_draft_aside(self, found: FoundDraft) -> Path | None:
        """Move it out of the way of new ones; returns where to."""
        return draft_file.set_draft_aside(found)

    def started(self) -> None:
        """Take note that a run has these settings: without a file of their own nothing waits."""
        if self.source.path is None:
            draft_file.drop_draft(self.source)
            self._kept, self._kept_at = self._text, None

    def drop_draft(self) -> None:
        """Throw it away."""
        draft_file.drop_draft(self.source)
        self._kept = None

    @property
    def is_kept(self) -> bool:
        """Whether the text as it is now is written down as a draft."""
        if self._kept != self._text:
            return False
        # another dashboard that saves the same file clears this one's changes away
        return self._kept_at is None or is_there(self._kept_at)

    def keep_draft(self) -> Path | None:
        """Write unsaved changes down, where there are new ones; returns where they are."""
        if not self.is_modified:
            if self._kept is not None:
                self.drop_draft()
            return None
        if self.is_kept:
            return None
        path = draft_file.keep_draft(self.source, self._text)
        if path is not None:
            self._kept, self._kept_at = self._text, path
        return path
