"""What a client does to runs: make one, ask something of its worker, take one up again.

Used by command line and dashboard, so that both refuse the same things with the same words. No MLX:
whether a configuration's model can be loaded is for the caller to find out before.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import engine
from engine.errors import ConfigError, RunError
from engine.run.commands import Command, CommandKind, CommandQueue
from engine.run.disk import write_atomically
from engine.run.events import CommandAcknowledged, RunCancelled
from engine.run.fact import Fact
from engine.run.folder import RunFolder, RunStatus
from engine.run.journal import JournalWriter
from engine.run.reader import JournalReader
from engine.run.runs import start_worker
from engine.run.state import RunState

ANSWER_SECONDS = 10.0


class Answer(Fact):
    """What a worker said to a command."""

    outcome: str  # "done", "refused", "superseded", "withdrawn": nobody was there to answer
    detail: str  # a line for a person, or ""

    @property
    def is_done(self) -> bool:
        """Whether the command was obeyed."""
        return self.outcome == "done"


def create_and_start(
    root: Path,
    config_text: str,
    *,
    label: str,
    client: str,
    name: str | None = None,
    is_network_allowed: bool = False,
) -> RunFolder:
    """Return a new run below `root`, its worker started.

    `label` is the recipe's or file's name, `client` who asks ("diffopt run"). Raises RunError as
    `RunFolder.create` does, with nothing made.
    """
    run = RunFolder.create(
        root,
        config_text,
        label=label,
        name=name,
        client=client,
        engine_version=engine.__version__,
        is_network_allowed=is_network_allowed,
    )
    _start(run)
    return run


def take_up(run: RunFolder) -> None:
    """Start a worker for a run that has none: stopped, lost, failed, or never begun.

    Raises RunError for a run that is over for good, and for one that has a worker.
    """
    status = run.status()
    if status.state in (RunState.DONE, RunState.CANCELLED):
        raise RunError(
            f"{run.name} is {status.state}; there is nothing left to do. "
            "`diffopt run` starts another."
        )
    if status.pid is not None:
        raise RunError(
            f"{run.name} is {status.state}, and process {status.pid} works on it already."
        )
    # raises for a journal that only a newer program may write
    with CommandQueue(run.journal_path) as queue:
        if status.state is not RunState.QUEUED:  # asked of a worker that is gone
            queue.withdraw()
        _start(run)


def why_not(status: RunStatus, kind: str, *, name: str) -> str | None:
    """Return why nobody would obey a command now; None where somebody will."""
    # one that is queued without a process is about to have one, which will read the command
    has_worker = status.pid is not None or status.state is RunState.QUEUED
    if has_worker and not status.state.is_over:
        return None
    is_resumable = status.state not in (RunState.DONE, RunState.CANCELLED)
    remedy = f" `diffopt resume {name}` takes it up again." if is_resumable else ""
    return f"{name} is {status.state}; no worker is there to obey {kind}.{remedy}"


def send(run: RunFolder, kind: CommandKind, *, client: str, stage: int | None = None) -> Command:
    """Ask something of the run's worker and return the command, to be waited for.

    `stage`: refuse it where another stage is at work by then. A stopped or lost run is cancelled
    without a worker. Raises RunError with the reason where nobody is there to obey, or where the
    journal is a newer program's.
    """
    command, status = Command.new(kind, client=client, stage=stage), run.status()
    is_left = status.pid is None and status.state in (RunState.PAUSED, RunState.LOST)
    if kind is CommandKind.CANCEL_RUN and is_left:
        _cancel(run, command)
        return command
    if (reason := why_not(status, kind, name=run.name)) is not None:
        raise RunError(reason)
    with CommandQueue(run.journal_path) as queue:
        queue.send(command)
        # the worker may have ended between the look and the sending
        reason = why_not(run.status(), kind, name=run.name)
        if reason is not None and queue.withdraw(command.id):
            raise RunError(reason)
    return command


def change_settings(
    run: RunFolder, text: str, *, client: str, based_on: str | None = None
) -> Command | None:
    """Write a run's settings anew; return the command that tells its worker.

    None where it has no worker, which takes them up when it is resumed, or where nothing that a
    worker could take up differs. Only settings that are live may differ from what stands there.
    `based_on` is what the caller saw there: if somebody has written since, nothing is.

    Raises ConfigError for that and for a change of any other setting, RunError where the run is
    over.
    """
    from engine.config import parse_config  # brings pydantic, which a viewer may do without
    from engine.live_settings import live_changes

    status = run.status()
    if status.state in (RunState.DONE, RunState.CANCELLED):
        raise RunError(f"{run.name} is {status.state}; start another run with these settings.")
    name = str(run.config_path)
    with _alone(run.path):
        try:
            there = run.config_path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{name}: cannot be read: it is not UTF-8 at byte {error.start}. Save it as UTF-8, "
                "then try again."
            ) from error
        if based_on not in (None, there):
            raise ConfigError(
                f"{name}: somebody else wrote it at this moment; look, and try again."
            )
        changes = live_changes(parse_config(there, name), parse_config(text, name))
        if text != there:
            write_atomically(run.config_path, text)
    if not changes or why_not(status, CommandKind.TAKE_SETTINGS, name=run.name) is not None:
        return None
    return send(run, CommandKind.TAKE_SETTINGS, client=client)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other clients from writing there meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without such locks: comparing alone must do
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _cancel(run: RunFolder, command: Command) -> None:
    """Cancel a run that nobody works on, in its worker's place.

    Raises RunError if one has just come, with nothing asked of it.
    """
    # the queue is opened first, for it refuses a newer program's journal; nothing is asked before
    # the run is ours, or a worker that has just come would obey a command that was told to fail
    with CommandQueue(run.journal_path) as queue, run.own():
        queue.withdraw()
        queue.send(command)
        _answer_cancel(run, command)


def _answer_cancel(run: RunFolder, command: Command) -> None:
    with JournalWriter(run.journal_path) as journal:
        end = RunCancelled(step=journal.last_step or 0, cancelled_by=command.issued_by)
        journal.begin_engine()  # whoever left without a word has now been spoken for
        journal.acknowledge(command, "done", end)
        run.clear_intermediate()


def answer_to(run: RunFolder, command: Command) -> Answer | None:
    """Return what the worker said, None while it has not."""
    with JournalReader(run.journal_path) as reader, reader.snapshot():
        record = reader.command(command.id)
        if record is None or record.outcome is None:
            return None
        stored = None if record.event_id is None else reader.event(record.event_id)
    event = stored.event if stored else None
    detail = event.detail if isinstance(event, CommandAcknowledged) else ""
    return Answer(record.outcome, detail)


def wait_for(
    run: RunFolder, command: Command, *, timeout_seconds: float = ANSWER_SECONDS
) -> Answer | None:
    """Return the worker's answer; None once the time is over.

    A command whose worker went without an answer is withdrawn, and that is the answer.
    """

    def is_somebody_there() -> bool:
        return why_not(run.status(), command.kind, name=run.name) is None

    with CommandQueue(run.journal_path) as queue:
        queue.wait_for(command.id, timeout_seconds, should_go_on=is_somebody_there)
        if not is_somebody_there():
            queue.withdraw(command.id)
    return answer_to(run, command)


def _start(run: RunFolder) -> None:
    try:
        start_worker(run)
    except OSError as error:
        raise RunError(
            f"No worker can be started for {run.name} ({error.strerror}). "
            f"`diffopt resume {run.name}` tries again."
        ) from error
