"""The Config screen: form and YAML side by side over one draft.

The draft (`tui/draft.py`) is the model; this file opens one, carries what is typed to it and moves
through its mistakes and its past. How the panes show it is in `config_panes.py`; what it takes in
from elsewhere (an editor, a paste, presets) in `config_taking.py`; what is done with a finished one
(save, start) in `config_doing.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.timer import Timer
from textual.widgets import TextArea

from engine.errors import DiffoptError
from engine.run import RunFolder, RunState
from tui.config_words import beside_key, live_words
from tui.draft_file import open_source, read_text
from tui.keys import bindings_for
from tui.schema import settings_by_key
from tui.screens.config_panes import ConfigPanes
from tui.widgets.form import Form

if TYPE_CHECKING:
    from engine.config_check import Fault
    from tui.draft import Draft

TYPED_SECONDS, YAML_SECONDS, LOOK_SECONDS = 0.15, 0.3, 2.0


class ConfigScreen(ConfigPanes):
    """Settings, to be read, changed and started."""

    NAME = "config"
    AUTO_FOCUS = "#form"  # pyright: ignore[reportIncompatibleVariableOverride]
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("config")]

    def __init__(self) -> None:
        """Make the screen, empty."""
        super().__init__()
        self._locked: dict[str, bool] | None = None
        self._pending: tuple[str, str] | None = None
        self._typed_timer: Timer | None = None
        self._yaml_timer: Timer | None = None
        self._is_lock_told = False  # to one who types into a locked text
        self._last_fault: Fault | None = None  # where ^n went
        self._before: int | None = None  # where the undo stack was before a box was typed into

    def on_mount(self) -> None:
        """Open what was asked for: its text first, what it amounts to after that is painted."""
        self.every(LOOK_SECONDS, self._look_around)
        self.hold_paint()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.yaml.read_only = True  # until there is a draft to type into
        self._recall_tab()
        self.form.show_names()
        source = self._first_source
        with suppress(DiffoptError):  # it is told when it is opened
            if isinstance(source, RunFolder):
                self.yaml.show_text(read_text(source.config_path))
            elif Path(source).is_file():
                self.yaml.show_text(read_text(Path(source)))
        self.set_header(source.name if isinstance(source, RunFolder) else str(source))
        self.release_paint()

    def painted(self) -> None:
        """Open it; pydantic and PyYAML come with that, a quarter of a start."""
        if self.draft is None and self.is_attached:
            self.load_source(self._first_source, is_clone=self.diffopt.is_clone)

    @property
    def _first_source(self) -> str | Path | RunFolder:
        return self.diffopt.config_source or self.diffopt.current_run or "demo"

    # Opening

    def load_source(self, source: str | Path | RunFolder, *, is_clone: bool = False) -> None:
        """Open a file, a recipe or a run's settings; unsaved changes stay as a draft."""
        from tui.draft import Draft

        self.flush()
        if not self._keep_draft_aloud():
            return
        try:
            opened = open_source(source, is_clone=is_clone)
        except DiffoptError as error:
            if self.draft is None:
                self.show_draft(Draft(open_source("demo")))
            self.diffopt.tell(str(error), "error")
            return
        self.show_draft(Draft(opened))
        self.call_after_refresh(self.offer_draft)

    def show_draft(self, draft: Draft) -> None:
        """Show another draft."""
        self.draft, self.estimate, self._disk_told = draft, None, ""
        self._find_lock()
        self._is_diff_to_disk = False
        self.form.show(draft, self._locked, self.when_taken)
        self.yaml.read_only = bool(self.lock)
        self.yaml.show_text(draft.text)
        self.yaml.move_cursor((0, 0))
        if self.has_live and self._tab == "yaml":  # only the form can change them
            self._show_tab("form")
        self.refresh_all()
        self.call_after_refresh(self.form.draw)  # once more, beside the scroll bar that it got

    def _find_lock(self) -> None:
        """Find out which settings may be changed: of a run's own, those alone that it takes up."""
        self.lock, self._locked, self.has_live, self.when_taken = "", None, False, ""
        run = self.draft.source.run if self.draft else None
        if run is None:
            return
        try:
            state = run.state()
        except DiffoptError as error:
            self.lock, self._locked = str(error), {}
            return
        is_over = state in (RunState.DONE, RunState.CANCELLED)
        settings = settings_by_key().values()
        self._locked = {one.key: is_over or not one.is_live for one in settings}
        live = [one.key for one in settings if not self._locked[one.key]]
        may = f"only {live_words(live)} may change" if live else "its settings are history"
        self.lock = f"{run.name} is {state}: {may}; d makes a new run"
        self.has_live = bool(live)
        self.when_taken = "live at once" if run.status().pid is not None else "at resume"

    # From the form to the draft

    def on_form_typed(self, message: Form.Typed) -> None:
        """Take what is typed, a moment after the last key."""
        if self._before is None and self.draft is not None:
            self._before = self.draft.mark()
        # an empty box is the default once it is left; until then it is on its way to something
        self._pending = (message.key, message.text) if message.text or message.is_done else None
        if self._typed_timer is not None:
            self._typed_timer.stop()
        if message.is_done:
            self.flush()
            if self.draft is not None:
                self.draft.end_step()
            self._before = None
            self.form.draw()
        else:
            self._typed_timer = self.set_timer(TYPED_SECONDS, self.flush)

    def on_form_left(self, message: Form.Left) -> None:
        """Take back what was typed into a box."""
        self._pending = None
        if self._typed_timer is not None:
            self._typed_timer.stop()
        if self._before is not None and self.draft is not None:
            self.draft.rewind(self._before)
        self._before = None
        self.refresh_all()

    def on_form_chosen(self, message: Form.Chosen) -> None:
        """Take another choice."""
        self.change(lambda draft: draft.set_value(message.key, message.value))
        if self.draft is not None:
            self.draft.end_step()

    def on_form_moved(self) -> None:
        """Tell about the setting of the cursor."""
        self._refresh_help()

    def on_form_refused(self, message: Form.Refused) -> None:
        """Say why a locked setting stays as it is."""
        self.diffopt.tell(f"{message.key}: {self.lock}.", "warning", kind="lock")

    def on_yaml_area_refused(self) -> None:
        """Say once why the text stays as it is, until the pane is left."""
        if self.lock and not self._is_lock_told:
            self._is_lock_told = True
            self.diffopt.tell(f"{self.lock}.", "warning", kind="lock")

    def on_descendant_blur(self) -> None:
        """Say it again when somebody comes back to the text."""
        self._is_lock_told = False

    def on_form_pasted(self, message: Form.Pasted) -> None:
        """Take settings out of pasted YAML."""
        self.paste(message.text)

    def flush(self) -> None:
        """Bring what is typed to the draft now."""
        if self._pending is not None:
            (key, text), self._pending = self._pending, None
            self.change(lambda draft: draft.set_typed(key, text))
        self._take_yaml()

    def change(self, change: Callable[[Draft], object]) -> bool:
        """Change the draft; what cannot be changed is told, with the reason, and False returned."""
        draft = self.draft
        if draft is None:
            return False
        self._take_yaml()  # what is typed there would be written over by what is shown then
        is_done = True
        try:
            change(draft)
        except DiffoptError as error:
            is_done = False
            self.diffopt.tell(str(error), "warning", kind="refused")
        self.refresh_all()
        return is_done

    # From the YAML to the draft

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Take what is typed into the YAML, a moment after the last key."""
        event.stop()
        if self._yaml_timer is not None:
            self._yaml_timer.stop()
        self._yaml_timer = self.set_timer(YAML_SECONDS, self.flush)

    def on_text_area_selection_changed(self) -> None:
        """Tell about the setting of the line that the cursor is on."""
        if self.focused is self.yaml:
            self._refresh_help()

    def _take_yaml(self) -> None:
        if self._yaml_timer is not None:
            self._yaml_timer.stop()
            self._yaml_timer = None
        if self.draft is None or self.lock:
            return
        text = self.yaml.typed()
        if text is not None:
            self.draft.set_text(text)
            self.refresh_all()

    # The disk and the lock, looked at now and then

    def _look_around(self) -> None:
        draft = self.draft
        if draft is None:
            return
        self.flush()
        draft.keep_draft()
        lock = self.lock
        if draft.source.run is not None:
            self._find_lock()
            self.form.set_locked(self._locked, self.when_taken)
        self.look_at_disk(is_news=lock != self.lock)

    def look_at_disk(self, *, is_news: bool = False) -> None:
        """Find out whether the file has changed since it was read, and show that.

        What another wrote into a run's settings comes into view where nothing was changed here.
        """
        draft = self.draft
        if draft is None:
            return
        self.flush()  # what is shown next is the draft's text
        if not self.form.is_typing and draft.catch_up():
            self.diffopt.tell(f"{draft.source.name}: another's changes are shown now", kind="disk")
            is_news = True
        told = draft.disk_state()
        told = "" if told == "same" else told
        if told != self._disk_told or is_news:
            self._disk_told = told
            self.refresh_all()

    def action_reload(self) -> None:
        """Take the file as it is on disk now, and not what is typed at that moment."""
        self._pending = self._before = None
        self.form.editor = None
        super().action_reload()

    def on_shown(self) -> None:
        """Look at once at what may have changed meanwhile: the file, and what runs took."""
        self._look_around()
        self._ask_cost()

    def on_hidden(self) -> None:
        """Keep what is not saved."""
        self.on_hangup()

    def on_hangup(self) -> None:
        """Keep what is not saved: the terminal may be gone."""
        if self.form.typed and self.draft is not None:  # its message may not have come yet
            if self._before is None:
                self._before = self.draft.mark()
            self._pending = (self.form.key, self.form.typed)
        self.flush()
        if self.draft is not None:
            self.draft.keep_draft()

    def on_unmount(self) -> None:
        """Keep what is not saved."""
        if self.draft is not None:
            self.draft.keep_draft()

    # Moving through mistakes, and back in time

    def action_next_error(self) -> None:
        """Go to the next setting that is wrong."""
        self.flush()
        draft = self.draft
        if draft is None or not draft.faults:
            self.diffopt.tell("Nothing is wrong with these settings.", kind="faults")
            return
        faults = draft.faults
        fault = faults[self._place_of_next(faults)]
        self._last_fault = fault
        if not fault.line and self.focused is self.yaml:  # no line to go to says what it is
            self.diffopt.tell(f"{fault.key or 'the YAML'}: {beside_key(fault)}", kind="faults")
        if fault.key in settings_by_key() and self.focused is not self.yaml:
            if self.is_narrow and self._tab != "form":
                self._show_tab("form")
            self.form.go_to(fault.key)
            self.form.focus()
            return
        if self.is_narrow:
            self._show_tab("yaml")
        self.yaml.focus()
        self.yaml.go_to(fault.line or 1)

    def _place_of_next(self, faults: tuple[Fault, ...]) -> int:
        last = self._last_fault
        # the cursor stands on no line of a fault that has none
        if last is not None and not last.line and last in faults:
            return (faults.index(last) + 1) % len(faults)
        here = self.key_at_yaml_cursor() if self.focused is self.yaml else self.form.key
        keys = [fault.key for fault in faults]
        return (keys.index(here) + 1) % len(keys) if here in keys else 0

    def action_undo(self) -> None:
        """Take the last change back, in form and YAML alike."""
        self._turn_back("undo")

    def action_redo(self) -> None:
        """Make it again."""
        self._turn_back("redo")

    def _turn_back(self, which: str) -> None:
        self.flush()
        if self.draft is None or not self.can_edit:
            return
        what = getattr(self.draft, which)()
        if what is None:
            self.diffopt.tell(f"There is nothing to {which}.", kind="undo")
            return
        self._before = None
        if what in settings_by_key() and self.focused is self.form and self.form.key != what:
            self.form.go_to(what)
        self.form.reload_editor()
        self.refresh_all()

    def action_default(self) -> None:
        """Take the setting under the cursor back to its default."""
        self.flush()
        key = self.key_at_yaml_cursor() if self.focused is self.yaml else self.form.key
        one = settings_by_key().get(key)
        if one is None:
            self.diffopt.tell("Put the cursor on a setting.", kind="default")
        elif self.form.is_locked(key):
            self.on_form_refused(Form.Refused(key))
        elif one.is_required:
            self.diffopt.tell(f"{key} has no default.", "warning", kind="default")
        else:
            self.form.editor = None
            self._before = None
            if self.draft is not None:
                self.draft.end_step()
            self.change(lambda draft: draft.reset(key))
