"""The stage tree of a run as lines: what is done, what is at work, what is still to come. Pure.

Drawn by widgets/stage_tree.py. A line's figures stand at its right edge; which branches are open is
decided here by what matters now, and overruled by what a person opened or closed.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.run.fact import Fact, changed
from engine.run.telling import PHASE_WORDS
from tui import format as words
from tui.pace import progress_of
from tui.state import Phase, RunView, StageView, TryView
from tui.telling import ORIGINAL_WORDS


class Node(Fact):
    """A line of the tree with its branches."""

    key: str  # what it is called over time, for what a person opened or selected
    state: str  # a key of format.GLYPHS
    label: str
    figure: str = ""  # at the right edge
    fraction: float | None = None  # a bar of its own below, while it is at work
    left: str = ""  # how long it still takes, beside the bar
    note: str = ""  # what a person reads who opens it
    children: tuple[Node, ...] = ()
    is_open: bool = True


class TreeLine(Fact):
    """One line as it is drawn; `indent` holds the branches' lines before its sign."""

    key: str
    indent: str
    state: str
    label: str
    figure: str = ""
    bar: float | None = None  # a line that is a bar
    has_children: bool = False
    is_open: bool = True
    note: str = ""


def tree(view: RunView, state: str, name: str) -> Node:
    """Return the whole tree; `state` is the run's, which knows lost and stuck too."""
    children: list[Node] = []
    first = view.stages[0] if view.stages else None
    for key, phase, label in (
        ("load", _loading(view), PHASE_WORDS["load"]),
        ("probe", view.probe, PHASE_WORDS["probe"]),
        ("cache", first.cache if first else None, PHASE_WORDS["cache"]),
        ("original", view.original, ORIGINAL_WORDS),
        ("plan", view.plan, PHASE_WORDS["plan"]),
    ):
        if phase is not None or key in ("cache", "plan"):
            children.append(_phase_node(key, label, phase, view, state))
    children += [
        _phase_node(f"other {one.name} {one.stage}", one.name, one, view, state)
        for one in view.others
    ]
    children += [_stage_node(stage, view, state, is_first=stage is first) for stage in view.stages]
    if not view.stages:
        children.append(Node("stages", "skipped" if view.is_over else "waiting", "distil"))
    children.append(_evaluate_node(view, state))
    children.append(_phase_node("export", PHASE_WORDS["export"], view.export, view, state))
    progress = progress_of(view)
    figure = "" if progress is None else words.percent(progress).strip()
    if progress is not None and view.state != "done":
        figure = f"≈ {figure}"
    title = _title(view, name)
    if state == "done" and view.is_missed:
        state, title, figure = "missed", f"{title}: missed", ""
    return Node("run", state, title, figure, children=tuple(children))


def lines(root: Node, toggled: Collection[str] = ()) -> list[TreeLine]:
    """Return the lines to draw; `toggled` holds the keys that a person opened or closed."""
    out: list[TreeLine] = []

    def walk(node: Node, before: str, branch: str, following: str) -> None:
        is_open = node.is_open != (node.key in toggled)
        has_children = bool(node.children)
        out.append(
            TreeLine(
                node.key,
                before + branch,
                node.state,
                node.label,
                node.figure,
                has_children=has_children,
                is_open=is_open,
                note=node.note,
            )
        )
        stem = before + following
        shown = node.children if is_open else ()
        if node.fraction is not None:
            rail = stem + ("│ " if shown else "  ")
            beside = words.percent(node.fraction) + (f" {node.left:>5}" if node.left else "")
            out.append(TreeLine(f"{node.key} bar", rail, "", "", beside, node.fraction))
        for index, child in enumerate(shown):
            is_last = index == len(shown) - 1
            walk(child, stem, "└ " if is_last else "├ ", "  " if is_last else "│ ")

    walk(root, "", "", "")
    return out


def _title(view: RunView, name: str) -> str:
    if view.original_steps is None:
        return words.printable(name)
    return words.printable(f"{name}  {view.original_steps} → {view.target_steps} steps")


def _loading(view: RunView) -> Phase | None:
    """Return the loading of the model, which this engine does before its first phase."""
    if view.load is not None or view.started is None:
        return view.load
    later = [phase.started for phase in view.phases]
    if later:
        seconds = max(0.0, min(later) - view.started)
        return Phase("load", None, view.started, state="done", seconds=seconds)
    has_begun = any(stage.has_begun for stage in view.stages)
    state = "done" if has_begun else "stopped" if view.is_over else "running"
    return Phase("load", None, view.started, state=state)


def _phase_node(
    key: str, label: str, phase: Phase | None, view: RunView, state: str, *, figure: str = ""
) -> Node:
    if phase is None:
        return Node(key, "skipped" if view.is_over else "waiting", words.printable(label), figure)
    mark = _mark(phase.state, state)
    is_at_work = phase.state != "done" and phase.fraction is not None
    if phase.state == "done":
        figure = figure or words.duration(phase.seconds)
    elif is_at_work:
        figure = figure or f"{_whole(phase.done)}/{_whole(phase.total)}"
    return Node(
        key,
        mark,
        words.printable(label),
        figure,
        fraction=phase.fraction if is_at_work else None,
        left=words.left(phase.eta_seconds) if phase.eta_seconds else "",
        note=phase.summary,
    )


def _whole(value: int | None) -> str:
    text = str(value) if value is not None else words.NOTHING
    return text if len(text) <= 9 else "…"


def _mark(phase_state: str, run_state: str) -> str:
    """Return the sign of something that runs while its run may not."""
    if phase_state == "done":
        return "done"
    if phase_state == "running" and run_state == "running":
        return "running"
    if run_state in _STILL:
        return run_state
    return "cancelled" if run_state == "done" else "running"


_STILL = ("paused", "lost", "stuck", "failed", "cancelled", "stopping", "queued", "gone", "damaged")


def _stage_node(stage: StageView, view: RunView, state: str, *, is_first: bool) -> Node:
    if stage.output_steps is None:
        label = f"distil, stage {_whole(stage.stage)}" if stage.has_begun else "distil"
    else:
        label = f"distil {_whole(stage.input_steps)} → {_whole(stage.output_steps)}"
    children: list[Node] = []
    whole = state
    if stage.state not in ("waiting", "running", "stopped"):
        state = "cancelled"  # what it left does not go on, whatever the run does
    if stage.cache is not None and not is_first:
        key = f"stage {stage.stage} cache"
        children.append(_phase_node(key, PHASE_WORDS["cache"], stage.cache, view, state))
    children += [_try_node(stage, one, view, state) for one in stage.tries]
    is_at_work = stage.state == "running"
    if stage.state == "rolled back":
        back = f"rolled back: {stage.reason}"
        children.append(Node(f"stage {stage.stage} back", "rolled back", words.printable(back)))
    if stage.state == "split":
        children.append(
            Node(f"stage {stage.stage} split", "split", "cut in two smaller reductions")
        )
    accepted = [one for one in stage.tries if one.state == "accepted"]
    figure = words.score(accepted[-1].score) if accepted else ""
    mark = _mark("running", whole) if is_at_work else stage.state
    return Node(
        f"stage {stage.stage}",
        "cancelled" if mark == "stopped" else mark,
        label,
        figure,
        note=stage.reason,
        children=tuple(children),
        is_open=is_at_work or stage.state in ("rolled back", "split", "stopped", "rejected"),
    )


def _try_node(stage: StageView, one: TryView, view: RunView, state: str) -> Node:
    key = f"stage {stage.stage} try {one.attempt}"
    is_at_work = one.state == "running" or (one.state == "stopped" and stage.state == "running")
    parts: list[Node] = []
    for number, note in enumerate(one.notes):
        parts.append(Node(f"{key} note {number}", note.state, words.printable(note.text)))
    parts.append(_train_node(key, one, view, state))
    parts.append(_look_node(key, one, view, state))
    parts.append(_gate_node(key, one, view, is_at_work=is_at_work))
    if one.state in ("accepted", "rejected"):
        figure, mark = words.score(one.score), one.state
    else:
        figure, mark = "", _mark("running" if one.state == "running" else "stopped", state)
    return Node(
        key,
        mark,
        words.printable(f"try {one.attempt} {one.remedy}"),
        figure,
        note=one.reason,
        children=tuple(parts),
        is_open=is_at_work or (one is stage.current and stage.state == "accepted"),
    )


def _train_node(key: str, one: TryView, view: RunView, state: str) -> Node:
    phase = one.train
    if phase is None and (one.final_loss is not None or one.gate is not None):
        phase = Phase("train", None, one.started, state="done")  # recalled, not done again
    return _phase_node(f"{key} train", "train", phase, view, state)


def _look_node(key: str, one: TryView, view: RunView, state: str) -> Node:
    inner = one.inner if one.inner is not None and one.inner.state != "done" else None
    node = _phase_node(f"{key} look", "evaluate", inner or one.gate, view, state)
    if inner is not None:
        node = changed(node, label="evaluate (original)")
    return node


def _gate_node(key: str, one: TryView, view: RunView, *, is_at_work: bool) -> Node:
    threshold = view.threshold
    wanted = f"≥ {threshold:g}" if threshold is not None else ""
    if one.state in ("accepted", "rejected"):
        sign = "≥" if one.state == "accepted" else "<"
        against = f" {sign} {threshold:g}" if threshold is not None else ""
        figure = f"{words.score(one.lower_bound)}{against}"
        return Node(f"{key} gate", one.state, f"gate: {one.state}", figure, note=one.reason)
    is_waiting = is_at_work or view.state == "paused"
    return Node(f"{key} gate", "waiting" if is_waiting else "skipped", "gate", wanted)


def _evaluate_node(view: RunView, state: str) -> Node:
    node = _phase_node("evaluate", "evaluate", view.evaluate, view, state)
    began = view.evaluate.started if view.evaluate else None
    anchors = [
        one.event
        for one in view.scores
        if one.event.stage is None and began is not None and one.time >= began
    ]
    children = tuple(
        Node(
            f"anchor {number}",
            "done",
            words.printable(f"{one.label}, {one.steps} steps"),
            words.score(one.score),
        )
        for number, one in enumerate(anchors)
    )
    is_running = view.evaluate is not None and view.evaluate.state == "running"
    return changed(node, children=children, is_open=is_running)
