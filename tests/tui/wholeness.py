"""Whether all that Live makes of a view can be made, and holds together: for any journal."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engine.errors import DataError
from engine.run import CommandKind, CommandRecord, RunFolder, RunState, RunStatus, StoredEvent
from engine.run.commands import Command
from tui import format as words
from tui.follow import Snapshot
from tui.gallery import SampleFile
from tui.pace import progress_of, seconds_left
from tui.permits import RUN_ACTIONS, why_not
from tui.quality import marks_of, quality_chart, quality_words
from tui.questions import about_stage
from tui.screens.live_words import ASKING, banner, right, subject
from tui.sheet import read_sheet
from tui.state import RunView
from tui.telling import away, headline, line_of
from tui.tree import lines, tree
from tui.widgets.grid_axis import axis_lines, grid_of

STATES = [str(state) for state in RunState]
RUN = RunFolder(Path("/runs/digits"))
WITH_WORKER = (RunState.QUEUED, RunState.RUNNING, RunState.PAUSED, RunState.STOPPING,
               RunState.STUCK)  # fmt: skip
WITHOUT = (RunState.QUEUED, RunState.PAUSED, RunState.DONE, RunState.FAILED, RunState.CANCELLED,
           RunState.LOST)  # fmt: skip
EVIL = "no progress for 312 s\x1b[2J"
SILENT = ("running", "stopping")  # all is well: a run that trains needs no line under the header
ENDS = ("done", "cancelled")  # told by their own event, which the journal may lack
GRID_WIDTHS, PLOT = (16, 44), (30, 9)
ASKED = [
    CommandRecord(Command("a", kind, None, 0.0, "bob@air 7 x"), None, None)
    for kind in (*CommandKind, "newer")
]


def check_whole(view: RunView, events: Sequence[StoredEvent]) -> None:
    """All that a screen makes of a view can be made, is on one line and steers no terminal."""
    check_tree(view)
    check_pace(view)
    check_log(events)
    check_quality(view)
    check_grid(view)
    check_samples(view)
    for state in WITH_WORKER:
        check_frame(snapshot_of(view, state, pid=7))
    for state in WITHOUT:
        check_frame(snapshot_of(view, state, pid=None))


def snapshot_of(view: RunView, state: RunState, pid: int | None) -> Snapshot:
    status = RunStatus(state, EVIL, pid, 40, None, None)
    return Snapshot(RUN, view, status, is_loaded=True, read_at=100.0)


def check_tree(view: RunView) -> None:
    assert view.state in STATES
    for state in (view.state, "lost", "stuck", "paused"):
        for line in lines(tree(view, state, "run")):
            assert line.bar is not None or line.state in words.GLYPHS
            assert line.bar is None or 0 <= line.bar <= 1
            assert (line.label + line.figure + line.indent).isprintable()
    keys = [line.key for line in lines(tree(view, view.state, "run"))]
    assert len(keys) == len(set(keys))
    numbers = [stage.stage for stage in view.stages]
    assert numbers == sorted(set(numbers))


def check_pace(view: RunView) -> None:
    progress, left = progress_of(view), seconds_left(view)
    assert progress is None or 0 <= progress <= 1
    assert left is None or left >= 0


def check_log(events: Sequence[StoredEvent]) -> None:
    assert away(events, 60).isprintable()
    for line in map(line_of, events):
        assert line is None or (line.text.isprintable() and 0 <= line.rank < 4)


def check_frame(shot: Snapshot) -> None:
    """Header, banner and what may be done, in one state."""
    state = shot.state
    assert headline(shot.view).isprintable()
    told = "".join(text for text, _ in subject(shot))
    assert told.isprintable()
    shown = "missed" if state == "done" and shot.view.is_missed else state
    assert told.startswith(f"digits  {words.glyph(shown)} {words.word(shown).upper()}")
    assert "".join(text for text, _ in right(shot, "", 2e9)).isprintable()

    text, severity = banner(shot, 120.0)
    assert text.isprintable()
    assert severity in ("", "information", "warning", "error")
    assert bool(text) is bool(severity)
    assert text or state in (*SILENT, *ENDS), f"{state} is not told"
    assert state not in ("failed", "lost", "stuck") or severity == "error"

    reasons = {action: why_not(action, shot) for action in RUN_ACTIONS}
    allowed = {action for action, reason in reasons.items() if reason is None}
    for reason in reasons.values():
        assert reason is None or (reason.isprintable() and reason.endswith("."))
    if state in ENDS:
        assert not allowed
    if shot.status is not None and shot.status.pid is None and state != "queued":
        assert allowed <= {"resume", "pause", "cancel_run"}, "nobody is there to obey"
    if allowed & {"checkpoint", "cancel_stage", "retry"}:
        assert shot.view.current_stage is not None
        assert about_stage(shot).text.isprintable()


def check_asked(view: RunView) -> None:
    """Whatever was asked for stands at the right while nobody has answered."""
    shot = snapshot_of(view, RunState.RUNNING, pid=7)
    for record in ASKED:
        ((told, _),) = right(Snapshot(RUN, shot.view, shot.status, (record,)), "", 2e9)
        assert told == ASKING.get(record.command.kind, f"{record.command.kind}…")


def check_quality(view: RunView) -> None:
    width, height = PLOT
    gauge, score, sign = quality_words(view, width)
    assert gauge.cell_length == width or not marks_of(view)
    assert (score + sign).isprintable()
    assert sign in ("", "≥", "<")
    rows = quality_chart(view, width, height)
    assert all(row.plain.isprintable() for row in rows)
    assert len({row.cell_length for row in rows[1:]}) <= 1


def check_grid(view: RunView) -> None:
    points, name = grid_of(view)
    assert words.printable(name).isprintable()
    for width in GRID_WIDTHS if points else ():
        labels, axis, ends = axis_lines(points, width)
        for line in (labels, axis, ends):
            assert len(str(line)) == width
        assert 1 <= str(axis).count("●") <= len(points)


def check_samples(view: RunView) -> None:
    for when, event in view.samples:
        sample = SampleFile.of(when, event)
        assert sample.words.isprintable()
        with suppress(DataError):
            read_sheet(RUN.path / sample.path)
