"""How a person looks at Live: which panes stand where, what they show of the run, the log's filter.

Nothing here touches the run; `live_control.py` has the keys that do.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from textual import events
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from tui.screens.live_control import LiveControl
from tui.screens.live_layout import TABS, LiveLayout, regions
from tui.widgets.chart import Charts
from tui.widgets.log import Log
from tui.widgets.pane import Pane
from tui.widgets.samples import SamplesPane
from tui.widgets.stage_tree import StageTree

if TYPE_CHECKING:
    from textual.layout import Layout

_TAB_WORDS = {"log": "Log", "samples": "Samples", "hardware": "Hardware", "timesteps": "Timesteps"}


class FindBox(Input):
    """Where the log's filter is typed."""

    DEFAULT_CSS = """
    FindBox, FindBox:focus { height: 1; border: none; padding: 0 1; background: $surface; }
    """


class Panes(Widget):
    """The panes, each at its place."""

    DEFAULT_CSS = "Panes { height: 1fr; width: 1fr; }"

    def __init__(self, *children: Widget) -> None:
        """Hold the panes."""
        super().__init__(*children, id="panes")
        self.places = LiveLayout()

    @property
    def layout(self) -> Layout:
        """The layout of Live."""
        return self.places

    def rearrange(self) -> None:
        """Give every pane its region anew."""
        for pane in self.children:  # a child's layout is what makes the regions be asked for again
            pane.refresh(repaint=False, layout=True)


class LiveView(LiveControl):
    """The half of Live that arranges."""

    def __init__(self) -> None:
        """Begin with everything in sight."""
        super().__init__()
        self._away = ""  # what happened while nobody looked, until it is closed
        self._charted: object = None  # what the charts were drawn of last

    # What LiveScreen shows

    @abstractmethod
    def _show_frame(self) -> None:
        """Show header and banner as they are now."""

    @abstractmethod
    def _show_charts(self) -> None:
        """Draw the charts, where something is new."""

    @abstractmethod
    def _show_machine(self) -> None:
        """Show the machine where there is room for it."""

    # Keys: the view

    def action_zoom(self) -> None:
        """Show the focused pane alone, or all again."""
        panes = self.query_one(Panes)
        focused = self._focused_pane()
        is_zoomed = panes.places.zoomed is not None
        panes.places.zoomed = None if is_zoomed or focused is None else focused.id
        self._laid_out()

    def on_stage_tree_opened(self, message: StageTree.Opened) -> None:
        """Tell more of a line of the tree."""
        if message.line.note:
            self.diffopt.tell(message.line.note, kind=f"note {message.line.key}")

    def action_open(self) -> None:
        """Enlarge the focused pane."""
        self.action_zoom()

    def action_next_tab(self) -> None:
        """Show the next pane in the shared place."""
        self._turn_tab(1)

    def action_previous_tab(self) -> None:
        """Show the pane before in the shared place."""
        self._turn_tab(-1)

    def action_find(self) -> None:
        """Filter the log while typing; without a run there is none."""
        if self.follower is None:
            return
        self._show_pane("log")
        box = self.query_one(FindBox)
        box.value = self.query_one(Log).filter
        box.display = True
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        if event.input.id == "find":
            self.query_one(Log).filter = event.value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and go back to the log."""
        if event.input.id == "find":
            self._close_find()

    def action_next_hit(self) -> None:
        """Go to the next hit."""
        self._go_to_hit(1)

    def action_previous_hit(self) -> None:
        """Go to the hit before."""
        self._go_to_hit(-1)

    def action_levels(self) -> None:
        """Change which levels the log shows."""
        self._show_pane("log")
        self.query_one(Log).next_level()
        self._remember_layout()

    def action_wrap(self) -> None:
        """Break the log's long lines, or cut them."""
        self.query_one(Log).toggle_wrap()
        self._remember_layout()

    def action_follow(self) -> None:
        """Freeze the focused pane, or let it go on; the log where neither it nor charts are."""
        if isinstance(self.focused, Charts):
            if not self.focused.toggle_follow():
                self._charted = None
                self._show_charts()
        else:
            self.query_one(Log).toggle_follow()

    def action_log_y(self) -> None:
        """Turn the chosen metric's height logarithmic, and back."""
        self.query_one(Charts).toggle_log()

    def action_x_axis(self) -> None:
        """Show all steps, or those of the current stage."""
        self.query_one(Charts).toggle_stage()

    def action_metric(self) -> None:
        """Choose the next metric."""
        self.query_one(Charts).next_metric()

    def action_zoom_in(self) -> None:
        """Show fewer steps."""
        self.query_one(Charts).zoom(0.5)

    def action_zoom_out(self) -> None:
        """Show more steps."""
        self.query_one(Charts).zoom(2.0)

    def action_zoom_all(self) -> None:
        """Show all steps."""
        self.query_one(Charts).zoom(None)

    def action_image_mode(self) -> None:
        """Draw pictures another way."""
        self._on_samples().action_image_mode()

    def action_blink(self) -> None:
        """Show undistilled and student in turn."""
        self._on_samples().action_blink()

    def action_open_file(self) -> None:
        """Tell and copy the picture's path."""
        self._on_samples().action_open_file()

    def _on_samples(self) -> SamplesPane:
        """Return the samples, brought to sight."""
        self._show_pane("samples")
        self._remember_layout()
        return self.query_one(SamplesPane)

    def go_back(self) -> bool:
        """Close the filter, the zoom, the word of what happened: whichever is open."""
        log, panes = self.query_one(Log), self.query_one(Panes)
        if self.query_one(FindBox).display or log.filter:
            log.filter = ""
            self._close_find()
            return True
        if panes.places.zoomed is not None:
            panes.places.zoomed = None
            self._laid_out()
            return True
        if self._away:
            self._away = ""
            self._show_frame()
            return True
        return super().go_back()

    # Panes

    def on_resize(self, event: events.Resize) -> None:
        """Lay the panes out anew."""
        self.call_after_refresh(self._laid_out)

    def _laid_out(self) -> None:
        """Fit tabs, focus and folded lines to the layout."""
        panes = self.query_one(Panes)
        panes.rearrange()
        seen = regions(
            panes.size.width,
            panes.size.height,
            tab=panes.places.tab,
            zoomed=panes.places.zoomed,
        )
        for pane in panes.query(Pane):
            pane.can_focus = pane.id in seen
        is_tabbed = panes.places.zoomed is None and len(set(TABS) & seen.keys()) == 1
        self._entitle_tabs(panes.places.tab if is_tabbed else None)
        if self.focused is not None and self.focused.id not in seen and self.focused.id != "find":
            self.query_one(f"#{next(iter(seen))}").focus()
        self._show_machine()

    def _entitle_tabs(self, tab: str | None) -> None:
        for name in TABS:
            pane = self.query_one(f"#{name}", Pane)
            pane.heading = None if name != tab else _tab_strip(name)

    def _recall_layout(self) -> None:
        """Lay out as it was left; what does not fit is left out."""
        kept = self.diffopt.preferences.layout.get(self.NAME)
        if not isinstance(kept, dict):
            return
        if (tab := kept.get("tab")) in TABS:
            self.query_one(Panes).places.tab = tab
        log = self.query_one(Log)
        if kept.get("wrap") is True:
            log.toggle_wrap()
        log.level = kept.get("level", log.level)

    def _remember_layout(self) -> None:
        preferences, log = self.diffopt.preferences, self.query_one(Log)
        mine = {
            "tab": self.query_one(Panes).places.tab,
            "wrap": log.is_wrapped,
            "level": log.level,
        }
        preferences.remember(self.NAME, **mine)

    def _turn_tab(self, by: int) -> None:
        panes = self.query_one(Panes)
        is_focused = self.focused is not None and self.focused.id == panes.places.tab
        panes.places.tab = TABS[(TABS.index(panes.places.tab) + by) % len(TABS)]
        self._laid_out()
        self._remember_layout()
        if is_focused:
            self.query_one(f"#{panes.places.tab}").focus()

    def _show_pane(self, name: str) -> None:
        panes = self.query_one(Panes)
        if name in TABS:
            panes.places.tab = name
        if panes.places.zoomed not in (None, name):
            panes.places.zoomed = None
        self._laid_out()

    def _focused_pane(self) -> Widget | None:
        focused = self.focused
        return focused if isinstance(focused, Pane) else self.query_one(Log)

    def _close_find(self) -> None:
        self.query_one(FindBox).display = False
        self.query_one(Log).focus()

    def _go_to_hit(self, direction: int) -> None:
        if not self.query_one(Log).next_hit(direction):
            self.diffopt.tell("No further hit.", kind="hit")


def _tab_strip(here: str) -> Content:
    """Return the title of the shared place, with the pane that is seen standing out."""
    parts: list[tuple[str, str]] = []
    for name in TABS:
        parts.append((_TAB_WORDS[name], "bold $accent" if name == here else "$text-muted"))
        parts.append((" · ", "$text-disabled"))
    return Content.assemble(*parts[:-1], ("  [ ]", "$text-disabled"))
