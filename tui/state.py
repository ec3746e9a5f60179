"""`RunView`: what is known of a run after its events, as plain records. Pure; no files, no Textual.

Folded from events in fold.py. The lines of the stage tree are made from it in tree.py, its
sentences in telling.py.
"""

from __future__ import annotations

from typing import TypeVar

from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    DiskLow,
    Evaluated,
    Exported,
    GridChosen,
    LogLine,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStopped,
    SamplesSaved,
)
from engine.run.fact import Fact, changed

_Kept = TypeVar("_Kept")

EXIT_MISSED = 3  # of a run that is done, and no student of its target's steps passed
KEPT = 200  # of what may come without end: samples, checkpoints, answers, scores


class Phase(Fact):
    """One stretch of work: "cache", "plan", "train", "gate", "evaluate", "export", ..."""

    name: str
    stage: int | None
    started: float
    state: str = "running"  # or "done", "stopped" (left before its end)
    seconds: float | None = None
    done: int = 0
    total: int | None = None
    unit: str = ""
    eta_seconds: float | None = None
    told: float = 0.0  # when the last progress came
    summary: str = ""
    depth: int = 0  # how often it began inside itself

    @property
    def fraction(self) -> float | None:
        """How far it is, None where that is not known."""
        if self.state == "done":
            return 1.0
        if not self.total or self.total < 0:
            return None
        return min(max(0, self.done), self.total) / self.total


class Score(Fact):
    """A measured quality, and when."""

    time: float
    event: Evaluated


class Note(Fact):
    """Something that befell a try and has a line of its own: begun again, diverged, taken up."""

    time: float
    state: str  # a key of format.GLYPHS
    text: str


class TryView(Fact):
    """One try of one stage."""

    attempt: int
    remedy: str = ""
    started: float = 0.0
    iterations: int = 0
    learning_rate: float = 0.0
    grid_name: str = ""
    timesteps: tuple[float, ...] = ()
    state: str = "running"  # or "accepted", "rejected", "stopped"
    train: Phase | None = None
    gate: Phase | None = None
    inner: Phase | None = None  # work inside the gate: the original's samples
    final_loss: float | None = None
    select: Evaluated | None = None
    final: Evaluated | None = None
    score: float | None = None
    lower_bound: float | None = None
    reason: str = ""
    next_remedy: str | None = None
    notes: tuple[Note, ...] = ()


class StageView(Fact):
    """One reduction with its tries."""

    stage: int
    input_steps: int | None = None
    output_steps: int | None = None
    state: str = "waiting"  # "running", "accepted", "rejected", "rolled back", "split", "skipped"
    started: float | None = None
    ended: float | None = None
    cache: Phase | None = None
    tries: tuple[TryView, ...] = ()
    reason: str = ""

    @property
    def has_begun(self) -> bool:
        """Whether anything was done for it."""
        return self.state not in ("waiting", "skipped") or bool(self.tries)

    @property
    def current(self) -> TryView | None:
        """The newest try."""
        return self.tries[-1] if self.tries else None

    def with_try(self, one: TryView) -> StageView:
        """Return the stage with that try in the place of its number."""
        others = [other for other in self.tries if other.attempt != one.attempt]
        tries = sorted([*others, one], key=lambda other: other.attempt)
        return changed(self, tries=tuple(tries[-KEPT:]))

    def try_of(self, attempt: int, time: float) -> TryView:
        """Return the try of that number, a new one where it is not known."""
        found = next((one for one in self.tries if one.attempt == attempt), None)
        return found or TryView(attempt, started=time)


class Pause(Fact):
    """A pause that lasts."""

    since: float
    step: int
    reason: str
    is_memory_freed: bool


class RunView(Fact):
    """What is known of a run after its events so far."""

    state: str = "queued"  # what the events say; RunFolder.status knows lost and stuck besides
    label: str = ""
    queued_by: str = ""
    device: str = ""
    host: str = ""
    pid: int | None = None
    engine_version: str = ""
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    original_steps: int | None = None
    target_steps: int | None = None
    threshold: float | None = None
    load: Phase | None = None
    probe: Phase | None = None
    original: Phase | None = None  # sampling the original, to compare with
    plan: Phase | None = None
    evaluate: Phase | None = None
    export: Phase | None = None
    others: tuple[Phase, ...] = ()  # phases of a newer engine
    stages: tuple[StageView, ...] = ()
    grid: GridChosen | None = None
    scores: tuple[Score, ...] = ()
    pause: Pause | None = None
    paused_seconds: float = 0.0
    worked_seconds: float = 0.0  # by all its engines, without pauses and the time between them
    worked_until: float | None = None  # what is counted in that so far; None while none works
    resumes: int = 0
    answers: tuple[tuple[float, CommandAcknowledged], ...] = ()
    checkpoints: int = 0
    last_checkpoint: tuple[float, CheckpointSaved] | None = None  # that of the try at work
    samples: tuple[tuple[float, SamplesSaved], ...] = ()
    exported: tuple[Exported, ...] = ()
    disk_low: DiskLow | None = None
    stopped: RunStopped | None = None
    result: RunFinished | None = None
    failure: RunFailed | None = None
    cancelled: RunCancelled | None = None
    last_log: LogLine | None = None
    unknown: int = 0
    last_id: int = 0
    last_time: float | None = None
    resumed_since_try: bool = False  # an engine took it up, and no try has begun since

    @property
    def is_over(self) -> bool:
        """Whether the run came to an end of its own."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def current_stage(self) -> StageView | None:
        """The stage at work, else the newest begun."""
        begun = [stage for stage in self.stages if stage.has_begun]
        running = [stage for stage in begun if stage.state == "running"]
        return running[-1] if running else begun[-1] if begun else None

    @property
    def is_missed(self) -> bool:
        """Whether the run came to its end without reaching its target."""
        return self.result is not None and self.result.exit_code == EXIT_MISSED

    @property
    def keeps_original(self) -> bool:
        """Whether the run is done and no student passed: its figures are the original's own."""
        result = self.result
        return result is not None and result.optimized_steps == self.original_steps

    def stage(self, number: int | None) -> StageView | None:
        """Return the stage of that number."""
        return next((stage for stage in self.stages if stage.stage == number), None)

    def with_stage(self, stage: StageView) -> RunView:
        """Return the view with that stage in the place of its number."""
        others = [one for one in self.stages if one.stage != stage.stage]
        stages = sorted([*others, stage], key=lambda one: one.stage)
        return changed(self, stages=tuple(stages[:KEPT]))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Every phase there was, those of the newest try of each stage last."""
        top = [self.probe, self.load, self.original, self.plan, *self.others]
        for stage in self.stages:
            top.append(stage.cache)
            for one in stage.tries:
                top += [one.train, one.gate, one.inner]
        top += [self.evaluate, self.export]
        return tuple(phase for phase in top if phase is not None)

    @property
    def active(self) -> Phase | None:
        """The innermost phase at work."""
        running = [phase for phase in self.phases if phase.state == "running"]
        return max(running, key=lambda phase: phase.started, default=None)

    @property
    def student_scores(self) -> tuple[Score, ...]:
        """The gate's measurements, oldest first."""
        return tuple(score for score in self.scores if score.event.stage is not None)


def kept(before: tuple[_Kept, ...], one: _Kept) -> tuple[_Kept, ...]:
    """Return `before` with one more, the oldest left out past KEPT."""
    return (*before[-KEPT + 1 :], one)


def who(issued_by: str) -> str:
    """Return "user@host" of who issued a command, without process and client."""
    return issued_by.split(" ", 1)[0] or "somebody"
