"""What Live says in header and banner: the state, what is asked, one cause and one key. Pure."""

from __future__ import annotations

import re

from engine.run import CommandRecord
from tui import format as words
from tui.follow import Snapshot
from tui.pace import seconds_left
from tui.state import RunView, who
from tui.telling import clock_time, headline

ASKING = {
    "pause": "pausing…",
    "pause-and-free": "pausing, freeing memory…",
    "resume": "resuming…",
    "checkpoint": "writing a checkpoint…",
    "cancel-stage": "cancelling the stage…",
    "cancel-run": "cancelling the run…",
    "retry-stage": "beginning again…",
    "stop": "stopping…",
}
ANSWERED = {
    "pause": "Paused",
    "pause-and-free": "Paused, memory freed",
    "resume": "Going on",
    "checkpoint": "Checkpoint written",
    "cancel-stage": "Stage cancelled",
    "cancel-run": "Run cancelled",
    "retry-stage": "The try begins again",
    "stop": "Stopped after a checkpoint",
}


def subject(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the header's subject in pieces: name, state by glyph and word, where it is."""
    state = snapshot.state
    where = headline(snapshot.view)
    if state == "done" and snapshot.view.is_missed:
        state = "missed"
    colour = _COLOURS.get(state, "")
    pieces = [
        (f"{words.printable(snapshot.run.name)}  ", "bold"),
        (f"{words.glyph(state)} {words.word(state).upper()}", f"bold {colour}"),
    ]
    if where and state not in ("done", "missed", "cancelled", "gone", "damaged"):
        pieces.append((f"  {where}", ""))
    return pieces


_COLOURS = {
    "running": "$success",
    "done": "$success",
    "paused": "$warning",
    "stopping": "$warning",
    "queued": "$text-muted",
    "failed": "$error",
    "lost": "$error",
    "stuck": "$error",
    "cancelled": "$warning",
    "missed": "$warning",
    "gone": "$error",
    "damaged": "$error",
}


def right(snapshot: Snapshot, asked: str, now: float) -> list[tuple[str, str]]:
    """Return what stands at the header's right: what is asked for, else the time left or taken."""
    pending = snapshot.pending
    if asked or pending:
        text = asked or ASKING.get(pending[-1].command.kind, f"{pending[-1].command.kind}…")
        return [(text, "bold $warning")]
    if snapshot.state in ("running", "stuck"):
        left = seconds_left(snapshot.view)
        return [(f"≈ {words.left(left)} left", "")] if left is not None else []
    if snapshot.state in ("done", "failed", "cancelled"):
        return [(took(snapshot.view, now), "$text-muted")]
    return []


def took(view: RunView, now: float) -> str:
    """Return how long a run was at work in all, and how old it is, as Runs counts it."""
    old = f" · {words.age(now - view.queued)} old" if view.queued is not None else ""
    return f"{words.duration(view.worked_seconds)} at work{old}"


def banner(snapshot: Snapshot, now: float) -> tuple[str, str]:
    """Return (text, severity) of the line under the header, ("", "") where all is well."""
    view, status, state = snapshot.view, snapshot.status, snapshot.state
    reason = status.reason if status is not None else ""
    if snapshot.problem is not None:
        age = _coarse(now - snapshot.read_at) if snapshot.is_loaded and not snapshot.is_gone else 0
        old = f" What is shown is {words.age(age)} old." if age else ""
        return words.printable(snapshot.problem) + old, "error"
    if snapshot.damage:
        return words.printable(f"{snapshot.damage} What is shown may lack something."), "error"
    if snapshot.notice:
        return words.printable(snapshot.notice), "warning"
    if state == "lost" and view.started is None and reason:
        return words.printable(f"Lost: {reason}. r tries again."), "error"
    if state == "lost":
        return f"Engine gone{_at(snapshot)}. r resumes{_from(snapshot)}.", "error"
    if state == "failed":
        text = f"Failed: {view.failure.message}" if view.failure else "Failed"
        return words.printable(f"{text.rstrip('.')}. r takes it up again."), "error"
    if state == "stuck":
        remedy = "" if "kill" in reason else " C cancels the run."
        return words.printable(f"Stuck: {_aged(reason)}.{remedy}"), "error"
    if view.disk_low is not None and state in ("running", "paused"):
        free = words.bytes_(view.disk_low.free_bytes)
        return f"The disk is full ({free} free): training waits for room. Nothing is lost.", "error"
    if state == "paused":
        return _paused(snapshot), "warning"
    if state == "queued":
        text = f"Queued: {_aged(reason) or 'it begins when the run before it ends'}."
        text += " C cancels it." if status and status.pid else ""
        return words.printable(text), "information"
    if state == "cancelled" and view.cancelled is not None:
        return words.printable(f"Cancelled by {who(view.cancelled.cancelled_by)}."), "warning"
    if state == "done" and view.result is not None:
        text = words.printable(view.result.result).strip()
        severity = "information" if view.result.exit_code == 0 else "warning"
        return (text, severity) if text else ("", "")
    return "", ""


def _paused(snapshot: Snapshot) -> str:
    view, status = snapshot.view, snapshot.status
    if status is not None and status.pid is None:
        return f"Stopped{_at(snapshot)}. r takes it up again{_from(snapshot)}."
    pause = view.pause
    if pause is None:
        return "Paused. p goes on."
    freed = ", memory freed" if pause.is_memory_freed else ""
    why = "" if pause.reason == "command" else f" ({words.printable(pause.reason)})"
    return f"Paused at step {pause.step} since {clock_time(pause.since)}{freed}{why}. p goes on."


def _at(snapshot: Snapshot) -> str:
    last = snapshot.view.last_checkpoint
    steps = [snapshot.step, last[1].step if last is not None else None]
    known = [step for step in steps if step is not None]  # metrics are told every so many steps
    return f" at step {max(known)}" if known else ""


def _from(snapshot: Snapshot) -> str:
    last = snapshot.view.last_checkpoint
    return f" from step {last[1].step}" if last is not None and last[1].step else ""


def _aged(reason: str) -> str:
    """Return a reason with its seconds told coarsely: a line that counts is a line sent again."""
    return re.sub(r"(\d+) s\b", lambda found: words.age(_coarse(int(found[1]))), reason)


def _coarse(seconds: float) -> float:
    """Return an age that changes every five seconds at most."""
    return seconds // 5 * 5


def answer_words(record: CommandRecord, detail: str, *, is_mine: bool) -> tuple[str, str]:
    """Return (text, severity) that tells of a command's answer, and who gave it if another did."""
    kind, outcome = record.command.kind, record.outcome
    by = "" if is_mine else f" by {record.command.issued_by}"
    if outcome == "done":
        text = f"{ANSWERED.get(kind, kind)}{by}"
        return words.printable(f"{text}: {detail}" if detail else text), "information"
    text = f"{kind}{by} was {outcome}"
    return words.printable(f"{text}: {detail}" if detail else text), "warning"
