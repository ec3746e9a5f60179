"""The panes of the Config screen: where they stand, and how they show the draft.

Nothing here changes the draft; `config.py` carries what is typed to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from tui.config_words import (
    cost_line,
    diff_lines,
    help_lines,
    offer_lines,
    section_lines,
    state_words,
    unified_lines,
    why_not_start,
)
from tui.schema import sections, settings_by_key
from tui.screens.config_taking import ConfigTaking
from tui.widgets.form import Form
from tui.widgets.form_rows import Row
from tui.widgets.pane import Pane
from tui.widgets.yaml_area import YamlArea

if TYPE_CHECKING:
    from tui.draft import Draft

COST_SECONDS = 0.5
TABS = ("form", "yaml", "diff")


class ConfigPanes(ConfigTaking):
    """The half of Config that shows."""

    DEFAULT_CSS = """
    ConfigPanes {
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
        &.-narrow #config-top > .-tab, &.-narrow #config-top > #diff-tab.-tab { display: block; }
    }
    """

    def __init__(self) -> None:
        """Begin with the form in front."""
        super().__init__()
        self._tab = "form"
        self._is_diff_to_disk = False
        self._cost_timer: Timer | None = None

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
        if draft is None:
            pane.set_lines(["reading…"])
            return
        if self.focused is self.yaml:
            one = settings_by_key().get(self.key_at_yaml_cursor())
            row = Row(sections()[0], one) if one is not None else row
        if row is None:
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
            is_now = self.when_taken == "live at once"
            when = "at its next step" if is_now else "when the run is resumed"
            lock = f"May change now: ^s writes it, the worker takes it up {when}."
        height = max(3, pane.scrollable_content_region.height)
        offers = offer_lines(self.form.offers, width, height)
        pane.set_lines(offers or help_lines(draft, row.setting, width, lock))

    def _refresh_diff(self) -> None:
        draft = self.draft
        if draft is None:
            return
        for id_ in ("#diff", "#diff-tab"):
            pane = self.query_one(id_, Pane)
            width = max(20, pane.scrollable_content_region.width or 56)
            if self._is_diff_to_disk:
                pane.set_title("Diff from the file", "D defaults")
                pane.set_lines(unified_lines(draft.diff_to_disk() if draft.source.file
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
        if not draft.is_parsed and fault is not None:
            where = f"line {fault.line}: " if fault.line else ""
            where += f"{fault.key} " if fault.key else ""  # "stands here twice"
            self.set_banner(
                f"{where}{fault.message.removesuffix('.')}. The form waits until it parses.",
                "error",
            )
        elif self._disk_told:
            file = draft.source.file
            what = file.name if file is not None and self.is_narrow else draft.source.name
            remedy = "" if draft.source.run is not None else "; ^s writes it"
            told = {
                "changed": f"{what} changed on disk: F5 takes it · K keeps yours · D compares",
                "gone": f"{what} is gone from the disk{remedy}",
            }
            self.set_banner(told[self._disk_told], "warning")
        else:
            self.set_banner(self.lock)
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
        self.run_worker(self._find_cost, exclusive=True, group="cost")

    async def _find_cost(self) -> None:
        from engine import estimate

        config = self.draft.checked.config if self.draft else None
        if config is not None:
            self.estimate = await asyncio.to_thread(
                estimate.estimate, config, self.diffopt.runs_dir
            )
            self._refresh_cost()

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
                is_typed = name == "yaml" and not self.yaml.read_only  # brackets are its text
                words = f"Form | YAML | Diff   {'F2 the form' if is_typed else '[ ] or F2'}"
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
            self._remember_tab()

    def _remember_tab(self) -> None:
        if self.is_narrow:
            self.diffopt.preferences.remember(self.NAME, tab=self._tab)

    def _recall_tab(self) -> None:
        """Show the tab that was left in front, where panes go into tabs."""
        kept = self.diffopt.preferences.recall(self.NAME).get("tab")
        self._show_tab(kept if self.is_narrow and kept in TABS else "form")

    def action_show_yaml(self) -> None:
        """Go from a setting to its line in the YAML, and back to the setting of that line."""
        if self.focused is self.yaml:
            self._show_tab("form")
            self._remember_tab()
            self.form.focus()
            self._follow_yaml_cursor()
            return
        self.form.finish()
        self._show_tab("yaml")
        self._remember_tab()
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
        if not self.form.take_passed_escape() and self.form.end_find():
            return True
        return super().go_back()

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
            self._remember_tab()
            self._is_diff_to_disk |= self._disk_told == "changed"
        else:
            self._is_diff_to_disk = not self._is_diff_to_disk
        self._refresh_diff()

    def action_wrap(self) -> None:
        """Wrap long lines of the YAML, or not."""
        self.yaml.soft_wrap = not self.yaml.soft_wrap
