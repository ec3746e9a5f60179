"""`diffopt run` and the commands that follow and steer runs. A client: it only reads and asks."""

import argparse
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.commands.listing import facts_of, summary_of
from engine.commands.output import ProgressPrinter, line_for, say, say_json
from engine.config import (
    DiffusionOptimizationConfig,
    config_to_yaml,
    load_config,
    make_paths_absolute,
)
from engine.errors import RunError
from engine.run import (
    CommandKind,
    JournalReader,
    RunFolder,
    RunState,
    TrainingQueue,
    create_and_start,
    event_to_dict,
    find_run,
    send,
    take_up,
    wait_for,
)
from engine.run.events import RunCancelled, RunFailed, RunFinished, RunStopped

_POLL_SECONDS = 0.25
EXIT_FAILED, EXIT_CANCELLED, EXIT_DETACHED = 1, 130, 0


def run(options: argparse.Namespace) -> int:
    """Check everything, make the run folder, start its worker, and follow it unless told not to."""
    config = load_config(options.config, options.set or ())
    check_inputs(config)
    label = Path(options.config).stem if Path(options.config).suffix else str(options.config)
    folder = create_and_start(
        options.runs_dir,
        config_to_yaml(config),
        label=label,
        name=options.name,
        client="diffopt run",
        is_network_allowed=options.force,
    )
    if options.detach:
        other = _in_the_way(folder)
        if options.json:
            facts = {"run": folder.name, "path": str(folder.path), "state": "queued"}
            say_json(facts | {"waits_for": other})
        else:
            does = f"is queued behind {other}" if other else "begins in the background"
            say(f"{folder.name} {does}; `diffopt log {folder.name} --follow` watches it.")
        return EXIT_DETACHED
    return follow(folder, is_json=options.json)


def _in_the_way(folder: RunFolder) -> str | None:
    """Return the run whose turn it is on this machine, None where it can be the given one's."""
    holder = TrainingQueue().training()
    if holder is None or holder.what in (None, str(folder.path)):
        return None
    return Path(holder.what).name


def check_inputs(config: DiffusionOptimizationConfig) -> None:
    """Load what the run will load, so that a mistake is told before anything is made.

    Makes paths absolute: whoever takes the run up may do so from another folder.
    """
    from engine.conditioning import check_data
    from engine.models.folder import resolve_model_path
    from engine.optimizer import load_original

    if not config.model_path.startswith("bundled:"):
        config.model_path = str(resolve_model_path(config.model_path, may_fetch=True).absolute())
    make_paths_absolute(config)
    original, pipeline = load_original(config)
    check_data(original, pipeline, config, is_thorough=True)


def follow(folder: RunFolder, *, is_json: bool, after: int = 0) -> int:
    """Show a run's events until it ends; ctrl-c asks whether to detach or to cancel.

    Return the run's exit code.
    """
    printer, place = ProgressPrinter(), Place(after)
    if not is_json:
        sys.stderr.write(f"run {folder.name} in {folder.path}\n")
    try:
        while True:
            try:
                code = _followed(folder, printer, place, is_quiet=is_json)
                break
            except KeyboardInterrupt:
                printer.clear()
                if not _wants_to_cancel():
                    return _detached(folder, is_json=is_json)
                with suppress(RunError):  # it ended while we asked: its last events say how
                    send(folder, CommandKind.CANCEL_RUN, client="diffopt run")
    finally:
        printer.clear()
    _tell_result(folder, is_json=is_json)
    return code


@dataclass
class Place:
    """How far a journal was read; kept over a ctrl-c, or all would be told again."""

    after: int = 0


def _followed(folder: RunFolder, printer: ProgressPrinter, place: Place, *, is_quiet: bool) -> int:
    """Show events until one ends the run; return its exit code."""
    with JournalReader(folder.journal_path) as reader:
        while True:
            poll = reader.poll(place.after)
            for stored in poll.events:
                place.after, event = stored.id, stored.event
                if not is_quiet:
                    printer.show(event)
                if isinstance(event, RunFinished):
                    return event.exit_code
                if isinstance(event, RunFailed):
                    return _exit_code_of_failure(event)
                if isinstance(event, RunCancelled):
                    return EXIT_CANCELLED
                if isinstance(event, RunStopped):
                    return EXIT_FAILED
            if poll.has_more:
                continue
            status = folder.status(poll.latest)
            if status.state is RunState.LOST:
                printer.clear()
                sys.stderr.write(
                    f"diffopt: {folder.name} is lost: {status.reason}. Its log is "
                    f"{folder.log_path}; `diffopt resume {folder.name}` takes it up again.\n"
                )
                return EXIT_FAILED
            time.sleep(_POLL_SECONDS)


def _detached(folder: RunFolder, *, is_json: bool) -> int:
    state = folder.state()
    does = "stays queued" if state is RunState.QUEUED else "works on"
    sys.stderr.write(
        f"detached; {folder.name} {does}. `diffopt log {folder.name} --follow` watches it.\n"
    )
    if is_json:
        say_json({"run": folder.name, "path": str(folder.path), "state": str(state)})
    return EXIT_DETACHED


def _exit_code_of_failure(event: RunFailed) -> int:
    """Return 2 where the failure is the user's to mend, as its error class says."""
    from engine import errors

    kind = getattr(errors, event.error, None)
    return (
        kind.exit_code
        if isinstance(kind, type) and issubclass(kind, errors.DiffoptError)
        else EXIT_FAILED
    )


def _wants_to_cancel() -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    sys.stderr.write("\ndetach (the run works on) or cancel it? [D/c] ")
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip().lower().startswith("c")
    except KeyboardInterrupt:
        return False


def _tell_result(folder: RunFolder, *, is_json: bool) -> None:
    if is_json:
        say_json(facts_of(folder))
        return
    if result := facts_of(folder)["result"]:
        say(summary_of(result))
        say(f"report  {folder.report_path}")
        if any(folder.export_path.iterdir()):
            say(f"export  {folder.export_path}")


def log(options: argparse.Namespace) -> int:
    """Print a run's events, and with --follow go on until it ends."""
    folder = find_run(options.runs_dir, options.run)
    after = 0
    with JournalReader(folder.journal_path) as reader:
        if reader.notice:
            sys.stderr.write(reader.notice + "\n")
        while True:
            poll = reader.poll(after)
            for stored in poll.events:
                after = stored.id
                if options.json:
                    say(
                        json.dumps(
                            {"id": stored.id, "time": stored.time, **event_to_dict(stored.event)}
                        )
                    )
                elif line := line_for(stored.event):
                    say(f"{time.strftime('%H:%M:%S', time.localtime(stored.time))} {line}")
            if poll.has_more:
                continue
            if not options.follow:
                return 0
            status = folder.status(poll.latest)
            if status.state.is_over or (status.state is RunState.PAUSED and not status.pid):
                if status.reason:  # the journal cannot say that nobody works on it
                    sys.stderr.write(f"{folder.name} is {status.state}: {status.reason}\n")
                return 0
            time.sleep(_POLL_SECONDS)


def steer(options: argparse.Namespace) -> int:
    """Send one command to a run's worker and tell its answer."""
    folder = find_run(options.runs_dir, options.run)
    kind = CommandKind(options.command_kind)
    if kind is CommandKind.PAUSE and options.free:
        kind = CommandKind.PAUSE_AND_FREE
    if kind is CommandKind.CANCEL_RUN and options.stage:
        kind = CommandKind.CANCEL_STAGE
    if kind is CommandKind.RESUME and folder.status().pid is None:
        return _take_up(folder, is_json=options.json)
    try:
        given = wait_for(folder, send(folder, kind, client="diffopt"))
    except RunError:
        if kind is not CommandKind.RESUME or folder.status().pid is not None:
            raise
        given = None
    if kind is CommandKind.RESUME and not (given and given.is_done) and not folder.status().pid:
        # the worker was about to end when it was asked
        return _take_up(folder, is_json=options.json)
    if options.json:
        say_json(
            {
                "run": folder.name,
                "command": str(kind),
                "outcome": given.outcome if given else None,
                "detail": given.detail if given else "",
                "state": str(folder.state()),
            }
        )
    else:
        words = "sent; the worker has not answered yet"
        if given:
            words = f"{given.outcome}, {given.detail}" if given.detail else given.outcome
        say(f"{folder.name}: {kind}: {words}")
    return 0 if given is None or given.is_done else EXIT_FAILED


def _take_up(folder: RunFolder, *, is_json: bool) -> int:
    """Start a worker for a run that has none."""
    take_up(folder)
    if is_json:
        say_json({"run": folder.name, "command": "resume", "outcome": "started", "state": "queued"})
    else:
        say(
            f"{folder.name}: a worker takes it up; `diffopt log {folder.name} --follow` watches it."
        )
    return 0
