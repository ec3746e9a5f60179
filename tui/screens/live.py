"""The Live screen: one run while it works, and everything that may be done to it.

A run that has ended is shown by the same reader. What a key asks is told at once and confirmed when
the worker's answer stands in the journal, by whoever it was asked.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from tui.follow import BUSY_SECONDS, Follower, Snapshot
from tui.gallery import SampleFile
from tui.keys import bindings_for
from tui.machine import GpuWatch, Machine, look
from tui.messages import RunOpened, SnapshotTaken
from tui.screens.live_control import LiveControl
from tui.screens.live_layout import TABS, LiveLayout, regions
from tui.screens.live_words import banner, right, subject
from tui.widgets.chart import Charts
from tui.widgets.grid_axis import GridAxis
from tui.widgets.hardware import Hardware, short_lines
from tui.widgets.log import Log
from tui.widgets.pane import Pane
from tui.widgets.samples import SamplesPane
from tui.widgets.stage_tree import StageTree

if TYPE_CHECKING:
    from textual.layout import Layout

    from engine.run import RunFolder

CHART_SECONDS = 2.0
MACHINE_SECONDS = 4.0
SEEN_SECONDS = 30.0
MOST_HELD_SECONDS = 0.5
_TREE_SECONDS = 1.0
_TAB_WORDS = {"log": "Log", "samples": "Samples", "hardware": "Hardware", "timesteps": "Timesteps"}
EMPTY = (
    "No run is shown yet.",
    "",
    "1  lists the runs; enter shows one here",
    "2  edits settings; ^r starts a run with them",
    "",
    "diffopt-tui demo trains the bundled model and shows it here.",
)


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


class LiveScreen(LiveControl):
    """Live."""

    NAME = "live"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("live")]

    def __init__(self) -> None:
        """Make it without a run."""
        super().__init__()
        self.machine: Machine | None = None
        self._gpu = GpuWatch()
        self._away = ""
        self._charted: object = None
        self._treed = (0.0, "")
        self._held = ExitStack()  # paints held back

    def compose_body(self) -> ComposeResult:
        """Yield the panes."""
        is_plain = self.diffopt.options.is_low
        yield Pane("Live", EMPTY, id="empty")
        yield Panes(
            StageTree(id="stages"),
            Charts(id="charts", is_plain=is_plain),
            GridAxis(id="timesteps"),
            SamplesPane(id="samples"),
            Log(id="log"),
            Hardware(id="hardware"),
            FindBox(placeholder="filter the log; enter keeps it, esc ends it", id="find"),
        )

    def on_mount(self) -> None:
        """Begin with the app's run."""
        super().on_mount()
        self.query_one(FindBox).display = False
        self._recall_layout()
        self.every(CHART_SECONDS, self._show_charts)
        self.every(MACHINE_SECONDS, self._look_at_machine)
        self.every(SEEN_SECONDS, self._mark_seen)
        self._open(self.diffopt.current_run)

    # The run

    def on_run_opened(self, message: RunOpened) -> None:
        """Show another run."""
        self._open(message.run)

    def _open(self, run: RunFolder | None) -> None:
        if self.follower is not None:
            if run is not None and run == self.follower.run:
                return
            self._mark_seen()
            self.follower.stop()
        self.query_one("#empty").display = run is None
        self.query_one("#panes").display = run is not None
        self.snapshot, self.follower, self._was_over = None, None, None
        self._asked.clear()
        self._answered.clear()
        self._away = ""
        if run is None:
            self.set_header("no run")
            self.query_one("#empty").focus()
            return
        self.set_header(run.name)
        seen = self.diffopt.preferences.seen(run.path)
        self.follower = Follower(
            run,
            self._on_snapshot,
            seen=(seen.event_id, seen.time) if seen is not None else None,
            least_seconds=1.0 if self.diffopt.options.is_low else BUSY_SECONDS,
        )
        self.query_one("#stages").focus()
        self._hold_paint()
        if self.is_shown:
            self.on_shown()

    def _hold_paint(self) -> None:
        """Paint once the run is read, not its empty frame before that: it would be sent twice."""
        self._release_paint()
        self._held.enter_context(self.app.batch_update())
        self.set_timer(MOST_HELD_SECONDS, self._release_paint)

    def _release_paint(self) -> None:
        self._held.close()

    def on_shown(self) -> None:
        """Follow from now on."""
        run = self.diffopt.current_run
        if self.is_mounted and run is not None and (
            self.follower is None or self.follower.run != run
        ):  # fmt: skip
            self._open(run)
            return
        if self.follower is not None:
            self.follower.start()
            self._gpu.start()
            self._look_at_machine()
            self.set_timer(1.0, self._look_at_machine)  # a processor's share needs two looks

    def on_hidden(self) -> None:
        """Stand still; what was seen is remembered."""
        self._mark_seen()
        if self.follower is not None:
            self.follower.stop()
        self._gpu.stop()

    def on_hangup(self) -> None:
        """Remember what was seen: the terminal is gone."""
        self._mark_seen()

    def on_unmount(self) -> None:
        """Let everything go."""
        self._release_paint()
        self.on_hidden()

    def _mark_seen(self) -> None:
        snapshot = self.snapshot
        if snapshot is not None and snapshot.is_loaded and snapshot.problem is None:
            self.diffopt.preferences.mark_seen(snapshot.run.path, snapshot.view.last_id)

    # What the follower tells

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        self.post_message(SnapshotTaken(snapshot))

    def on_snapshot_taken(self, message: SnapshotTaken) -> None:
        """Show what is new."""
        snapshot = message.snapshot
        if self.follower is None or snapshot.run != self.follower.run:
            return
        before, self.snapshot = self.snapshot, snapshot
        if snapshot.away:
            self._away = snapshot.away
        if not snapshot.is_loaded and snapshot.problem is None:
            return
        self._tell_answers(snapshot, is_first=before is None or not before.is_loaded)
        self._tell_end(snapshot)
        self._show_frame()
        is_news = before is None or (before.view.stages, before.state) != (
            snapshot.view.stages,
            snapshot.state,
        )
        self._show_tree(is_urgent=before is None or before.state != snapshot.state)
        assert self.follower is not None
        self.query_one(Log).show_book(self.follower.log)
        if before is None or not before.is_loaded or before.state != snapshot.state:
            self._show_charts()
            self._show_machine()
        if is_news:
            self.query_one(GridAxis).show_view(snapshot.view)
        self.query_one(SamplesPane).show(
            snapshot.run,
            tuple(SampleFile.of(when, event) for when, event in snapshot.view.samples),
            original_steps=snapshot.view.original_steps,
        )
        if before is None or self._permits(before) != self._permits(snapshot):
            self.refresh_bindings()
        if before is None:
            self.set_timer(0.02, self._release_paint)  # when what was just said is laid out

    def _show_frame(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            return
        self.set_header(
            Content.assemble(*subject(snapshot)), Content.assemble(*right(snapshot, self.asked))
        )
        text, severity = banner(snapshot, time.monotonic())
        if self._away and severity in ("", "information"):
            text, severity = f"{self._away}  esc closes", "information"
        self.set_banner(text, severity)

    def _show_tree(self, *, is_urgent: bool) -> None:
        """Draw the stages: structure at once, progress once a second at most."""
        snapshot, now = self.snapshot, time.monotonic()
        if snapshot is None or (not is_urgent and now - self._treed[0] < _TREE_SECONDS):
            return
        self._treed = (now, snapshot.state)
        self.query_one(StageTree).show_view(snapshot.view, snapshot.state, snapshot.run.name)

    def _show_charts(self) -> None:
        snapshot, follower = self.snapshot, self.follower
        if snapshot is None or follower is None or not self.is_shown:
            return
        self._show_tree(is_urgent=False)
        drawn = (follower, snapshot.step, snapshot.view.scores, snapshot.state)
        if drawn == self._charted:
            return
        self._charted = drawn
        self.query_one(Charts).show_run(follower, snapshot.view)

    def _look_at_machine(self) -> None:
        if self.follower is None:
            return
        self.machine = look(self.follower.run.path, self._gpu.gpu, self._gpu.hint)
        self._show_machine()
        if self.snapshot is not None and self.snapshot.problem is not None:
            self._show_frame()

    def _show_machine(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            return
        self.query_one(Hardware).show_machine(self.machine, snapshot)
        lines = short_lines(self.machine, snapshot) if self._is_folded else []
        self.query_one(Charts).set_extra(lines)

    @property
    def _is_folded(self) -> bool:
        """Whether the hardware pane has no place of its own."""
        body = self.query_one("#panes").size
        return "hardware" not in regions(body.width, body.height)

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
        """Filter the log while typing."""
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
        super().on_resize(event)
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
        if preferences.layout.get(self.NAME) != mine:
            preferences.set(layout={**preferences.layout, self.NAME: mine})

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
