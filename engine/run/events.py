"""What a run says: its events, as plain facts in the past tense.

The journal stores them, viewers fold them. This is not the encoding (codec.py) nor the store
(journal.py). How the format may grow: a new field has a default, a field never changes its meaning,
and what cannot be said so is a new kind. An old viewer leaves out fields that it does not know and
shows a kind that it does not know raw, as `UnknownEvent`.

Steps are run-wide: they count optimiser steps from the run's start, over all stages and tries.
"""

from __future__ import annotations

from engine.run.fact import Event, Fact

PHASES = ("probe", "load", "cache", "plan", "train", "evaluate", "gate", "export")


class PlannedStage(Fact):
    """One reduction that the run means to make."""

    stage: int
    input_steps: int
    output_steps: int


class RankedGrid(Fact):
    """One candidate grid with the quality it was measured to have; higher is better."""

    name: str
    score: float
    timesteps: tuple[float, ...]


# The run as a whole


class RunQueued(Event):
    """The run folder exists and waits for its turn."""

    label: str  # the recipe's or the config file's name
    queued_by: str  # user@host pid client
    engine_version: str = ""


class RunStarted(Event):
    """A worker took the run up for the first time."""

    pid: int
    host: str
    device: str
    engine_version: str = ""


class RunResumed(Event):
    """A worker took a stopped, lost or failed run up again from a checkpoint.

    None: from the beginning.
    """

    pid: int
    host: str
    device: str
    step: int
    checkpoint: str | None
    engine_version: str = ""


class RunPlanned(Event):
    """The run's stages are known, so that a screen can draw what is still to come."""

    original_steps: int
    target_steps: int
    threshold: float
    stages: tuple[PlannedStage, ...]


class RunStopped(Event):
    """The worker left after a checkpoint, as asked; `resume` takes the run up again."""

    step: int
    reason: str


class RunFinished(Event):
    """The run came to its end.

    `result` is the sentence for a person, `exit_code` that of `diffopt run`.
    """

    result: str
    exit_code: int
    optimized_steps: int | None
    score: float | None
    lower_bound: float | None
    seconds: float  # at work, over all its engines, without pauses


class RunFailed(Event):
    """The run ended in an error; `log_tail` holds the last lines of its log."""

    error: str  # the class's name
    message: str
    log_tail: str = ""


class RunCancelled(Event):
    """The run was ended by a person."""

    step: int
    cancelled_by: str


# Phases and stages


class PhaseStarted(Event):
    """One of PHASES began; `total` counts in `unit`, None where it cannot be known."""

    phase: str
    stage: int | None = None
    total: int | None = None
    unit: str = ""


class PhaseProgressed(Event):
    """How far a phase is; sent once a second at most."""

    phase: str
    done: int
    total: int | None
    stage: int | None = None
    eta_seconds: float | None = None


class PhaseFinished(Event):
    """A phase ended well; `summary` is one line for a person."""

    phase: str
    seconds: float
    stage: int | None = None
    summary: str = ""


class GridChosen(Event):
    """The timesteps that a sampler with `steps` steps will visit; `ranking` has the best first."""

    steps: int
    timesteps: tuple[float, ...]
    source: str
    stage: int | None = None
    ranking: tuple[RankedGrid, ...] = ()


class StageStarted(Event):
    """A reduction from `input_steps` to `output_steps` began."""

    stage: int
    input_steps: int
    output_steps: int


class TryStarted(Event):
    """A try of a stage began.

    `remedy` is the rung of the retry ladder, "as planned" on the first.
    """

    stage: int
    attempt: int
    remedy: str
    iterations: int
    learning_rate: float
    grid_name: str
    timesteps: tuple[float, ...] = ()


class StageTrained(Event):
    """A try's training ended; what it is worth is not known yet."""

    stage: int
    attempt: int
    step: int
    iterations: int
    final_loss: float
    seconds: float


class Evaluated(Event):
    """A sampler was measured against the teacher.

    The three parts are those of `engine.records.Quality`.
    """

    label: str  # "student", "teacher rerun", "ddim uniform", "blurred teacher", ...
    steps: int
    fidelity: float
    distribution: float | None
    band_energy: float
    score: float
    lower_bound: float
    noise_set: str  # "select" or "final"
    samples: int
    threshold: float | None = None
    stage: int | None = None
    attempt: int | None = None
    mode: str = "pixels"  # or "latents": scores of different modes are never compared


class StageAccepted(Event):
    """The gate let a student pass; it is the next stage's teacher."""

    stage: int
    attempt: int
    score: float
    lower_bound: float
    threshold: float
    checkpoint: str | None = None


class StageRejected(Event):
    """The gate held a student back.

    `next_remedy` is what is tried next, None where the ladder ends.
    """

    stage: int
    attempt: int
    reason: str
    score: float | None = None
    lower_bound: float | None = None
    next_remedy: str | None = None


class StageRolledBack(Event):
    """The run fell back to the last accepted student, which samples in `to_steps` steps."""

    stage: int
    to_steps: int
    reason: str
    to_stage: int | None = None  # None: to the teacher itself


class LossDiverged(Event):
    """The loss was not finite or exploded; `remedy` says what was done about it."""

    stage: int
    attempt: int
    step: int
    loss: float
    remedy: str
    learning_rate: float


# Files


class SamplesSaved(Event):
    """A picture was written; `path` is relative to the run folder."""

    path: str
    what: str  # "teacher", "undistilled", "student", "comparison"
    stage: int | None = None
    step: int | None = None
    steps: int | None = None  # sampling steps


class CheckpointSaved(Event):
    """A checkpoint is on the disk, whole; `path` is relative to the run folder."""

    path: str
    step: int
    size_bytes: int
    stage: int | None = None
    is_accepted: bool = False  # the accepted student of its stage, which is kept


class Exported(Event):
    """The student was written in a form that others read."""

    path: str
    what: str
    size_bytes: int


# Control


class CommandAcknowledged(Event):
    """The worker obeyed a command, or says why not.

    It stands in the same commit as the command's outcome.
    """

    command_id: str
    command: str
    outcome: str  # "done", "refused", "superseded"
    issued_by: str
    detail: str = ""
    stage: int | None = None


class Paused(Event):
    """Training holds still at a step's end.

    `reason` is "command" or what made the run pause by itself.
    """

    step: int
    reason: str = "command"
    is_memory_freed: bool = False


class Continued(Event):
    """A pause ended."""

    step: int
    reason: str = "command"


class DiskLow(Event):
    """There is less room than the next checkpoint needs."""

    path: str
    free_bytes: int
    needed_bytes: int


class LogLine(Event):
    """A line of the run's log; `level` as in logging ("INFO", "WARNING", "ERROR")."""

    level: str
    text: str


class UnknownEvent(Event):
    """An event of a newer kind, or one whose body does not fit its kind.

    Kept as it was written, shown raw.
    """

    kind: str
    body: str  # JSON


EVENT_TYPES: tuple[type[Event], ...] = (
    RunQueued, RunStarted, RunResumed, RunPlanned, RunStopped, RunFinished, RunFailed, RunCancelled,
    PhaseStarted, PhaseProgressed, PhaseFinished,
    GridChosen, StageStarted, TryStarted, StageTrained, Evaluated,
    StageAccepted, StageRejected, StageRolledBack, LossDiverged,
    SamplesSaved, CheckpointSaved, Exported,
    CommandAcknowledged, Paused, Continued, DiskLow, LogLine,
)  # fmt: skip
