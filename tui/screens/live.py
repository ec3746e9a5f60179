"""The Live screen: one run while it works, and everything that may be done to it.

A run that has ended is shown by the same reader. What a key asks is told at once and confirmed when
the worker's answer stands in the journal, by whoever it was asked (`live_control.py`); the keys of
the view and the panes' places are in `live_view.py`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content

from tui.follow import Follower, Snapshot
from tui.gallery import SampleFile
from tui.keys import bindings_for
from tui.machine import GpuWatch, Machine, look
from tui.messages import RunOpened, SnapshotTaken
from tui.screens.live_layout import regions
from tui.screens.live_view import FindBox, LiveView, Panes
from tui.screens.live_words import banner, right, subject
from tui.widgets.chart import Charts
from tui.widgets.grid_axis import GridAxis
from tui.widgets.hardware import Hardware, short_lines
from tui.widgets.log import Log
from tui.widgets.pane import Pane
from tui.widgets.samples import SamplesPane
from tui.widgets.stage_tree import StageTree

if TYPE_CHECKING:
    from engine.run import RunFolder

CHART_SECONDS = 1.9  # of every other poll
MACHINE_SECONDS = 4.0
SEEN_SECONDS = 15.0  # less than one must be away to be told of it
_TREE_SECONDS = 0.9  # of every poll, but not of those that follow a key
EMPTY = (
    "No run is shown yet.",
    "",
    "1  lists the runs; enter shows one here",
    "2  edits settings; ^r starts a run with them",
    "",
    "diffopt-tui demo trains the bundled model and shows it here.",
)


def _gridded(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what the pane of timesteps is made of."""
    view = snapshot.view
    return view.stages, view.plan, view.grid, snapshot.state


class LiveScreen(LiveView):
    """Live."""

    NAME = "live"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("live")]

    def __init__(self) -> None:
        """Make it without a run."""
        super().__init__()
        self.machine: Machine | None = None
        self._gpu = GpuWatch()
        self._treed = self._charted_at = 0.0

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
        self.query_one(FindBox).display = False
        self._recall_layout()
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
            self.refresh_bindings()
            return
        self.set_header(run.name)
        seen = self.diffopt.preferences.seen(run.path)
        self.follower = Follower(
            run,
            self._on_snapshot,
            seen=(seen.event_id, seen.time) if seen is not None else None,
        )
        self.query_one("#stages").focus()
        self.refresh_bindings()
        self.hold_paint()
        if self.is_shown:
            self.on_shown()

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
            if not self.is_held:
                self.painted()

    def painted(self) -> None:
        """Look at the machine and at pictures, which the first paint need not wait for."""
        if self.is_shown and self.follower is not None:
            self._gpu.start()
            self._look_at_machine()
            self.set_timer(1.0, self._look_at_machine)  # a processor's share needs two looks
            self._show_samples()

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
        is_news = before is None or _gridded(before) != _gridded(snapshot)
        self._show_tree(is_urgent=before is None or before.state != snapshot.state)
        assert self.follower is not None
        self.query_one(Log).show_book(self.follower.log)
        is_other = before is None or not before.is_loaded or before.state != snapshot.state
        if is_other:
            self._show_machine()
        if is_other or time.monotonic() - self._charted_at >= CHART_SECONDS:
            self._show_charts()  # in one frame with all else: each wakes the terminal
        if is_news:
            self.query_one(GridAxis).show_view(snapshot.view)
        self._show_samples()
        if before is None or self._permits(before) != self._permits(snapshot):
            self.refresh_bindings()
        if before is None:
            self.set_timer(0.02, self.release_paint)  # when what was just said is laid out

    def _show_samples(self) -> None:
        snapshot, pane = self.snapshot, self.query_one(SamplesPane)
        if snapshot is None:
            return
        samples = tuple(SampleFile.of(when, event) for when, event in snapshot.view.samples)
        if samples and self.is_held:
            pane.set_lines(["reading…"])
            return
        pane.show(snapshot.run, samples, original_steps=snapshot.view.original_steps)

    def _show_frame(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            return
        self.set_header(
            Content.assemble(*subject(snapshot)),
            Content.assemble(*right(snapshot, self.asked, time.time())),
        )
        text, severity = banner(snapshot, time.monotonic())
        if self._away and severity in ("", "information"):
            text = f"{self._away}  {text or 'esc closes'}"
            severity = "information"
        self.set_banner(text, severity)

    def _show_tree(self, *, is_urgent: bool) -> None:
        """Draw the stages: structure at once, progress once a second at most."""
        snapshot, now = self.snapshot, time.monotonic()
        if snapshot is None or (not is_urgent and now - self._treed < _TREE_SECONDS):
            return
        self._treed = now
        self.query_one(StageTree).show_view(snapshot.view, snapshot.state, snapshot.run.name)

    def _show_charts(self) -> None:
        snapshot, follower = self.snapshot, self.follower
        if snapshot is None or follower is None or not self.is_shown:
            return
        self._charted_at = time.monotonic()
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
