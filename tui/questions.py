"""The questions that more than one screen asks before it destroys something. Pure."""

from __future__ import annotations

from tui.dialogs import Choice, Question, confirm
from tui.follow import Snapshot
from tui.telling import clock_time


def about_stage(snapshot: Snapshot) -> Question:
    """Return the question before a stage is given up, with what is kept and what is lost."""
    view = snapshot.view
    stage = view.current_stage
    assert stage is not None
    last = view.last_checkpoint
    if last is not None and last[1].step and snapshot.step:
        kept = (
            f"The last checkpoint is of step {last[1].step}, {clock_time(last[0])}; "
            f"the run is at step {snapshot.step}."
        )
    else:
        kept = "No checkpoint was written since it began."
    has_student = any(one.state == "accepted" for one in view.stages)
    end = "with the last accepted student" if has_student else "and keeps the original: none passed"
    steps = f" ({stage.input_steps} → {stage.output_steps})" if stage.output_steps else ""
    return Question(
        f"Cancel stage {stage.stage}{steps}",
        f"Training of this stage ends, and the run finishes {end}. {kept}",
        (
            Choice("keep", "Keep running"),
            Choice("checkpoint", "Checkpoint, then cancel"),
            Choice("cancel", "Cancel now", is_destructive=True),
        ),
        yes="cancel",
    )


def about_run(snapshot: Snapshot) -> Question:
    """Return the question before a run is cancelled: what is lost depends on how far it came."""
    name, state, view = snapshot.run.name, snapshot.state, snapshot.view
    kept = "Kept are its journal, its samples and the students that passed;"
    if view.started is None:
        text = "It has done nothing yet; its settings are kept."
        no = "Keep it waiting" if state == "queued" else "Keep it"
    elif state in ("running", "stuck"):
        text, no = f"{kept} what is being trained is lost.", "Keep it running"
    else:
        text, no = f"{kept} what it would go on from is lost.", "Keep it"
    return confirm(
        "Cancel the run",
        f"{name} ends here and cannot be taken up again. {text}",
        "Cancel the run",
        no=no,
        typed=name,
    )


def about_trash(name: str) -> Question:
    """Return the question before a run goes to the trash."""
    return confirm(
        "Move to the trash",
        f"{name} goes to the trash folder beside the runs. Nothing is deleted: u takes it back, "
        f"and so does `diffopt restore {name}`.",
        "Move to the trash",
    )


def about_emptying(count: int, size: str) -> Question:
    """Return the question before the trash is deleted for good."""
    runs = "The one run" if count == 1 else f"All {count} runs"
    return confirm(
        "Empty the trash",
        f"{runs} in the trash, {size}, will be deleted for good. Nothing brings them back.",
        "Delete for good",
        no="Keep them",
    )
