"""The Config screen: form and YAML side by side over one draft.

The draft (`tui/draft.py`) is the model; this file lays the panes out, carries what is typed to the
draft and what the draft says to the panes. What is done with a finished draft (save, start, edit
elsewhere, presets) is in `config_doing.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static, TextArea

from engine.errors import DiffoptError
from engine.run import RunFolder, RunState
from tui.config_words import (
    cost_line,
    diff_lines,
    help_lines,
    section_lines,
    state_words,
    unified_lines,
    why_not_start,
)
from tui.draft import Draft
from tui.draft_file import open_source
from tui.keys import bindings_for
from tui.schema import sections, settings_by_key
from tui.screens.config_doing import ConfigDoing
from tui.widgets.form import Form, Row
from tui.widgets.pane import Pane
from tui.widgets.yaml_area import YamlArea

TYPED_SECONDS, YAML_SECONDS, COST_SECONDS, LOOK_SECONDS = 0.15, 0.3, 0.5, 2.0
TABS = ("form", "yaml", "diff")


class ConfigScreen(ConfigDoing):
    """Settings, to be read, changed and started."""

    NAME = "config"
    AUTO_FOCUS = "#form"  # pyright: ignore[reportIncompatibleVariableOverride]
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("config")]
    DEFAULT_CSS = """
    ConfigScreen {
        #config-top { height: 1fr; }
        #config-top > #form { width: 15fr; }
        #config-top > #yaml { width: 13fr; }
        #config-top > #diff-tab { display: none; }
        #config-bottom { height: 9; }
        #help-pane { width: 15fr; }
        #diff { width: 13fr; }
        #config-cost { height: 1; }
        &.-narrow #config-bottom { height: 6; }
        &.-narrow #config-bottom > #diff { display: none; }
        &.-narrow #config-top > * { display: none; width: 1fr; }
        &.-narrow #config-top > .-tab { display: block; }
    }
    """

    def __init__(self) -> None:
        """Make the screen, empty."""
        super().__init__()
        self._locked: dict[str, bool] | None = None
        self._tab = "form"
        self._is_diff_to_disk = False
        self._pending: tuple[str, str] | None = None
        self._typed_timer: Timer | None = None
        self._yaml_timer: Timer | None = None
        self._cost_timer: Timer | None = None
        self._before: int | None = None  # where the undo stack was before a box was typed into

    def compose_body(self) -> ComposeResult:
        """Yield form and YAML above, help and differences below."""
        with Vertical():
            with Horizontal(id="config-top"):
                yield Form()
                yield YamlArea()
                yield Pane("Diff", id="diff-tab")
            yield Static("", id="config-cost", markup=False)
            with Horizontal(id="config-bottom"):
                yield Pane("Help", id="help-pane")
                yield Pane("Diff", id="diff")

    def on_mount(self) -> None:
        """Open what was asked for, once the frame stands."""
        self.every(LOOK_SECONDS, self._look_around)
        self.call_later(self._begin)

    def _begin(self) -> None:
        self._show_tab("form")
        source = self.diffopt.config_source or self.diffopt.current_run or "demo"
        self.load_source(source, is_clone=self.diffopt.is_clone)

    # Opening

    def load_source(self, source: str | Path | RunFolder, *, is_clone: bool = False) -> None:
        """Open a file, a recipe or a run's settings; unsaved changes stay as a draft."""
        self.flush()
        self._keep_draft_aloud()
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
        self.form.show(draft, self._locked)
        self.yaml.read_only = bool(self.lock)
        self.yaml.show_text(draft.text)
        self.yaml.move_cursor((0, 0))
        self.refresh_all()

    def _find_lock(self) -> None:
        """Find out which settings may be changed: of a run's own, those alone that it takes up."""
        self.lock, self._locked, self.has_live = "", None, False
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
        live = sorted({one.section for one in settings if not self._locked[one.key]})
        may = f"only `{', '.join(live)}` may change" if live else "its settings are history"
        self.lock = f"{run.name} is {state}: {may}; d makes a new run of them"
        self.has_live = bool(live)

    # Parts

    @property
    def form(self) -> Form:
        """The form."""
        return self.query_one(Form)

    @property
    def yaml(self) -> YamlArea:
        """The text."""
        return self.query_one(YamlArea)

    # From the draft to the panes

    def refresh_all(self) -> None:
        """Show the draft as it is now."""
        draft = self.draft
        if draft is None:
            return
        self.form.draw()
        self.yaml.show_text(draft.text)
        self.yaml.show_marks(self._marks(draft))
        self._refresh_help()
        self._refresh_diff()
        self._refresh_words()
        self._tell_tabs()
        self._ask_cost()
        self.refresh_bindings()

    def _marks(self, draft: Draft) -> dict[int, str]:
        lines = draft.checked.lines
        marks = {lines[one.key]: "●" for one in draft.changed() if one.key in lines}
        return marks | {fault.line: "✗" for fault in draft.faults if fault.line}

    def _refresh_help(self) -> None:
        pane, draft, row = self.query_one("#help-pane", Pane), self.draft, self.form.row
        if self.focused is self.yaml:
            one = settings_by_key().get(self.key_at_yaml_cursor())
            row = Row(sections()[0], one) if one is not None else row
        if draft is None or row is None:
            pane.set_lines(["No setting has that in its name or description. esc shows all."])
            return
        width = max(20, pane.scrollable_content_region.width or 56)
        if row.setting is None:
            pane.set_title(row.section.name or "essentials")
            pane.set_lines(section_lines(row.section, width))
            return
        pane.set_title(row.setting.key)
        lock = self.lock if self.form.is_locked(row.setting.key) else ""
        if self.lock and not lock:
            lock = "May change now: ^s tells the run's worker, or waits for it in the file."
        pane.set_lines(help_lines(draft, row.setting, width, lock))

    def _refresh_diff(self) -> None:
        draft = self.draft
        if draft is None:
            return
        for id_ in ("#diff", "#diff-tab"):
            pane = self.query_one(id_, Pane)
            width = max(20, pane.scrollable_content_region.width or 56)
            if self._is_diff_to_disk:
                pane.set_title("Diff from the file", "D defaults")
                pane.set_lines(unified_lines(draft.diff_to_disk() if draft.source.path
                                             else draft.diff_to_file()))  # fmt: skip
            else:
                pane.set_title(f"Diff from defaults ({len(draft.changed())})", "D file")
                pane.set_lines(diff_lines(draft, width))
        if self.is_narrow:
            self._tell_tabs()

    def _refresh_words(self) -> None:
        draft = self.draft
        if draft is None:
            return
        mark = "  ● modified" if draft.is_modified else ""
        room = max(16, self.app.size.width - 64)  # beside tabs, mark and what stands at the right
        name = draft.source.name
        name = name if len(name) <= room else f"…{name[1 - room :]}"
        self.set_header(name + mark, state_words(draft))
        fault = draft.faults[0] if draft.faults else None
        if self.lock:
            self.set_banner(self.lock)
        elif not draft.is_parsed and fault is not None:
            where = f"line {fault.line}: " if fault.line else ""
            self.set_banner(f"{where}{fault.message}. The form waits until it parses.", "error")
        elif self._disk_told == "changed":
            self.set_banner(
                f"{draft.source.name} changed on disk: F5 takes it · K keeps yours · D compares",
                "warning",
            )
        elif self._disk_told == "gone":
            self.set_banner(f"{draft.source.name} is gone from the disk; ^s writes it", "warning")
        else:
            self.set_banner("")
        self._refresh_cost()

    def _refresh_cost(self) -> None:
        draft, line = self.draft, self.query_one("#config-cost", Static)
        if draft is None:
            return
        width = max(40, self.app.size.width)
        if (reason := why_not_start(draft, "")) is not None:
            words = Content.styled(f" ✗ cannot start: {reason}", "$text-error")
            words = words if words.cell_length <= width else words[: width - 1] + "…"
        else:
            words = cost_line(self.estimate, width)
        if not isinstance(line.content, Content) or not words.is_same(line.content):
            line.update(words)

    # The cost, told when it is known

    def _ask_cost(self) -> None:
        draft = self.draft
        if draft is None or draft.checked.config is None:
            return
        if self._cost_timer is not None:
            self._cost_timer.stop()
        self._cost_timer = self.set_timer(COST_SECONDS, self._begin_cost)

    def _begin_cost(self) -> None:
        self.run_worker(self._find_cost(), exclusive=True, group="cost")

    async def _find_cost(self) -> None:
        from engine import estimate

        config = self.draft.checked.config if self.draft else None
        if config is not None:
            self.estimate = await asyncio.to_thread(
                estimate.estimate, config, self.diffopt.runs_dir
            )
            self._refresh_cost()

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

    def on_form_pasted(self, message: Form.Pasted) -> None:
        """Take settings out of pasted YAML."""
        self.paste(message.text)

    def flush(self) -> None:
        """Bring what is typed to the draft now."""
        if self._pending is not None:
            (key, text), self._pending = self._pending, None
            self.change(lambda draft: draft.set_typed(key, text))
        if self._yaml_timer is not None:
            self._yaml_timer.stop()
            self._yaml_timer = None
            self._take_yaml()

    def change(self, change: Callable[[Draft], object]) -> None:
        """Change the draft; what cannot be changed is told, with the reason."""
        draft = self.draft
        if draft is None:
            return
        try:
            change(draft)
        except DiffoptError as error:
            self.diffopt.tell(str(error), "warning", kind="refused")
        self.refresh_all()

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
        text = self.yaml.typed()
        if text is not None and self.draft is not None and not self.lock:
            self.draft.set_text(text)
            self.refresh_all()

    # The disk and the lock, looked at now and then

    def _look_around(self) -> None:
        draft = self.draft
        if draft is None:
            return
        draft.keep_draft()
        told = draft.disk_state()
        told = "" if told == "same" else told
        lock = self.lock
        if draft.source.run is not None:
            self._find_lock()
        if told != self._disk_told or lock != self.lock:
            self._disk_told = told
            self.refresh_all()

    def on_shown(self) -> None:
        """Look at once at what may have changed meanwhile: the file, and what runs took."""
        self._look_around()
        self._ask_cost()

    def on_hidden(self) -> None:
        """Keep what is not saved."""
        self.on_hangup()

    def on_hangup(self) -> None:
        """Keep what is not saved: the terminal may be gone."""
        self.flush()
        if self.draft is not None:
            self.draft.keep_draft()

    def on_unmount(self) -> None:
        """Keep what is not saved."""
        if self.draft is not None:
            self.draft.keep_draft()

    # Layout

    def on_resize(self, event: events.Resize) -> None:
        """Lay out for the new size."""
        self.call_after_refresh(self._laid_out)

    def _laid_out(self) -> None:
        self._tell_tabs()
        self._refresh_help()
        self._refresh_diff()
        self._refresh_cost()

    def _show_tab(self, name: str) -> None:
        self._tab = name
        widgets: dict[str, Widget] = {
            "form": self.form, "yaml": self.yaml, "diff": self.query_one("#diff-tab")
        }  # fmt: skip
        for tab, widget in widgets.items():
            widget.set_class(tab == name, "-tab")
        if self.is_narrow:
            widgets[name].focus()
        self._tell_tabs()

    def _tell_tabs(self) -> None:
        panes: dict[str, Widget] = {
            "form": self.form, "yaml": self.yaml, "diff": self.query_one("#diff-tab")
        }  # fmt: skip
        self.yaml.border_title = "YAML"
        for name, widget in panes.items():
            words = ("locked" if self.lock else "F4 $EDITOR") if name == "yaml" else ""
            if self.is_narrow and name == self._tab:
                words = "Form | YAML | Diff   [ ] or F2"
            if str(widget.border_subtitle) != words:
                widget.border_subtitle = words

    def action_next_tab(self) -> None:
        """Show the tab to the right."""
        self._turn_tab(1)

    def action_previous_tab(self) -> None:
        """Show the tab to the left."""
        self._turn_tab(-1)

    def _turn_tab(self, step: int) -> None:
        if self.is_narrow:
            self._show_tab(TABS[(TABS.index(self._tab) + step) % len(TABS)])

    def action_show_yaml(self) -> None:
        """Go from a setting to its line in the YAML, and back to the setting of that line."""
        if self.focused is self.yaml:
            self._show_tab("form")
            self.form.focus()
            self._follow_yaml_cursor()
            return
        self.form.finish()
        self._show_tab("yaml")
        self.yaml.focus()
        line = self.draft.checked.lines.get(self.form.key.rstrip(".")) if self.draft else None
        if line is not None:
            self.yaml.go_to(line)

    def _follow_yaml_cursor(self) -> None:
        if (key := self.key_at_yaml_cursor()) in settings_by_key():
            self.form.go_to(key)

    def key_at_yaml_cursor(self) -> str:
        """Return the setting whose line the cursor of the YAML is on or after, "" for none."""
        line = self.yaml.cursor_location[0] + 1
        lines = self.draft.checked.lines if self.draft else {}
        above = [(at, key) for key, at in lines.items() if at <= line]
        return max(above)[1] if above else ""

    def zoomed_widget(self, focused: Widget) -> Widget:
        """Return what z enlarges."""
        return focused

    def go_back(self) -> bool:
        """End a search, else what every screen closes."""
        return self.form.end_find() or super().go_back()

    def action_find(self) -> None:
        """Filter the form by a part of a key or its description."""
        if self.is_narrow and self._tab != "form":
            self._show_tab("form")
        self.form.focus()
        self.form.find()

    def action_diff(self) -> None:
        """Show what differs from the file, or from the defaults again."""
        if self.is_narrow and self._tab != "diff":
            self._show_tab("diff")
        else:
            self._is_diff_to_disk = not self._is_diff_to_disk
        self._refresh_diff()

    def action_wrap(self) -> None:
        """Wrap long lines of the YAML, or not."""
        self.yaml.soft_wrap = not self.yaml.soft_wrap

    # Moving through mistakes, and back in time

    def action_next_error(self) -> None:
        """Go to the next setting that is wrong."""
        self.flush()
        draft = self.draft
        if draft is None or not draft.faults:
            self.diffopt.tell("Nothing is wrong with these settings.", kind="faults")
            return
        faults = draft.faults
        here = self.key_at_yaml_cursor() if self.focused is self.yaml else self.form.key
        keys = [fault.key for fault in faults]
        fault = faults[(keys.index(here) + 1) % len(keys) if here in keys else 0]
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
