"""Which state a run is in, from what its journal says and what the kernel knows. Pure.

Folder.py gathers the facts.
"""

from __future__ import annotations

from enum import StrEnum

from engine.run.fact import Fact

HEARTBEAT_STALE_SECONDS = 60.0
PATIENCE_SECONDS = 300.0
SIGNING_ON_SECONDS = 10.0


class RunState(StrEnum):
    """The states of a run. The journal holds one of the first seven.

    The last two are what only an onlooker can tell.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"  # the journal says that it goes on, and nobody holds the lock
    STUCK = "stuck"  # somebody holds the lock, and nothing happens

    @property
    def is_over(self) -> bool:
        """Whether no engine will do anything for the run by itself."""
        return self in (RunState.DONE, RunState.FAILED, RunState.CANCELLED, RunState.LOST)


class RunFacts(Fact):
    """What is known about a run.

    Ages are by a clock that no one can set, and None where nothing was written.
    """

    written: RunState  # the state in the journal
    is_locked: bool
    is_engine_signed_on: bool  # an engine wrote its name and did not leave by itself
    is_holder_the_engine: bool = (
        True  # False: another process has just taken the run up and has not written yet
    )
    has_launch_died: bool = False  # a worker was started, and ended before it took the run up
    is_halted: bool = False  # the holder's process was stopped (SIGSTOP), so nothing can come of it
    pid: int | None = None  # of the holder
    held_seconds: float | None = None  # since it took the lock, by the wall clock
    heartbeat_age_seconds: float | None = None
    progress_age_seconds: float | None = None
    patience_seconds: float | None = None


def derive_state(facts: RunFacts) -> tuple[RunState, str]:
    """Return the state and, where there is something to say, why.

    The lock decides between running and lost, and no clock has a say in it: the kernel frees it
    when the process ends, however it ends. The ages only tell stuck from running.
    """
    if facts.written in (RunState.DONE, RunState.FAILED, RunState.CANCELLED):
        return facts.written, ""
    if not facts.is_locked:
        return _state_of_unowned(facts)
    if not facts.is_holder_the_engine:
        if (facts.held_seconds or 0.0) > SIGNING_ON_SECONDS:
            return (
                RunState.QUEUED,
                f"its worker has been unable to write to it for {facts.held_seconds:.0f} s: "
                "is the disk full, or a quota used up? It begins once there is room",
            )
        return RunState.QUEUED, "a worker has just taken it up"
    if facts.is_halted:
        return (
            RunState.STUCK,
            f"process {facts.pid} is halted: `kill -CONT {facts.pid}` lets it go on, "
            f"`kill -KILL {facts.pid}` ends it",
        )
    if facts.written in (RunState.RUNNING, RunState.STOPPING):
        if (facts.heartbeat_age_seconds or 0.0) > HEARTBEAT_STALE_SECONDS:
            return (
                RunState.STUCK,
                f"no heartbeat for {facts.heartbeat_age_seconds:.0f} s: process {facts.pid} hangs, "
                f"`kill -KILL {facts.pid}` ends it",
            )
        patience = facts.patience_seconds or PATIENCE_SECONDS
        if (facts.progress_age_seconds or 0.0) > patience:
            return RunState.STUCK, f"no progress for {facts.progress_age_seconds:.0f} s"
    return facts.written, ""


def _state_of_unowned(facts: RunFacts) -> tuple[RunState, str]:
    if facts.is_engine_signed_on:
        return (
            RunState.LOST,
            "the engine is gone without a word; resume takes the run up from its last checkpoint",
        )
    if facts.written is RunState.QUEUED:
        if facts.has_launch_died:
            return RunState.LOST, "its worker ended before it began; worker.log says why"
        return RunState.QUEUED, ""
    if facts.written is RunState.RUNNING:
        return RunState.LOST, "the engine left without saying how the run ended"
    return RunState.PAUSED, "stopped; resume takes the run up from its last checkpoint"
