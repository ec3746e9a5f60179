"""The commands that look at runs and put them away: list, show, archive, trash. A client."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

from engine.commands.output import line_for, say, say_json, table
from engine.errors import RunError, UserError
from engine.run import JournalReader, RunFolder, RunState, find_run, list_runs, shelf
from engine.run.events import (
    Event,
    RunCancelled,
    RunFailed,
    RunFinished,
    StageAccepted,
    StageStarted,
)

_ENDED_BADLY = (RunState.FAILED, RunState.CANCELLED)
_TOLD = {"summary", "metrics", "anchors", "label_accuracy"}  # of a run's final figures


def summary_of(result: dict[str, Any]) -> str:
    """Return a finished run's result as a few lines for a person."""
    metrics = result["metrics"]
    rows = [
        (
            anchor["label"],
            str(anchor["steps"]),
            f"{anchor['quality']['score']:.4f}",
            f"{anchor['quality']['lower_bound']:.4f}",
        )
        for anchor in result["anchors"]
    ]
    lines = [
        result["summary"],
        f"speed-up {metrics['inference_speedup']:.1f}x by the clock, "
        f"{metrics['evaluation_ratio']:.1f}x in network evaluations; "
        f"peak memory {-100 * metrics['memory_reduction']:+z.1f} %",
        "",
        table(("sampler", "steps", "score", "lower bound"), rows),
    ]
    if result["label_accuracy"]:
        accuracy = ", ".join(
            f"{name} {value:.3f}" for name, value in result["label_accuracy"].items()
        )
        lines.append(f"label accuracy: {accuracy}")
    return "\n".join(["", *lines, ""])


def facts_of(folder: RunFolder) -> dict[str, Any]:
    """Return what is known of a run: state, last figures and, once it is done, its whole result."""
    with JournalReader(folder.journal_path) as reader, reader.snapshot():
        latest, notice = reader.latest(), reader.notice
        values = {name: value for name, (_, value) in reader.last_values().items()}
        events = [stored.event for stored in reader.facts()]
    status = folder.status(latest)
    ends = [event for event in events if isinstance(event, RunFailed | RunCancelled)]
    result, trouble = _result_of(folder)
    return {
        "run": folder.name,
        "path": str(folder.path),
        "is_archived": shelf.is_archived(folder),
        "state": str(status.state),
        "reason": status.reason
        or (line_for(ends[-1]) if ends and status.state in _ENDED_BADLY else ""),
        "notice": notice or trouble,  # a newer diffopt's journal: what to update
        "pid": status.pid,
        "step": status.step,
        "last": values,
        **_reached(events),
        "result": result,
    }


def _reached(events: Sequence[Event]) -> dict[str, Any]:
    """Return what a run came to so far: a student that was rejected is not it.

    The result of a run that is done, which is the original where no student passed; before that the
    last accepted student, None where there is none yet.
    """
    outputs: dict[int, int] = {}
    facts: dict[str, Any] = dict.fromkeys(("steps", "score", "lower_bound", "is_target_reached"))
    for event in events:
        match event:
            case StageStarted():
                outputs[event.stage] = event.output_steps
            case StageAccepted():
                facts |= {
                    "steps": outputs.get(event.stage),
                    "score": event.score,
                    "lower_bound": event.lower_bound,
                }
            case RunFinished():
                facts |= {
                    "steps": event.optimized_steps,
                    "score": event.score,
                    "lower_bound": event.lower_bound,
                    "is_target_reached": event.exit_code == 0,
                }
    return facts


def _result_of(folder: RunFolder) -> tuple[dict[str, Any] | None, str | None]:
    """Return the final figures, and what is wrong with them; None for what there is not."""
    try:
        result = json.loads(folder.metrics_path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except (OSError, ValueError) as error:
        return None, f"{folder.metrics_path} cannot be read ({error})"
    if not isinstance(result, dict) or not result.keys() >= _TOLD:
        return None, f"{folder.metrics_path} does not hold a run's final figures"
    return result, None


def _facts_or_trouble(folder: RunFolder) -> dict[str, Any]:
    """Return the facts of a run for a list, which one damaged journal must not keep from others."""
    try:
        return facts_of(folder)
    except RunError as error:
        facts = dict.fromkeys(("notice", "pid", "step", "result"))
        return {
            **facts,
            **_reached(()),
            "run": folder.name,
            "path": str(folder.path),
            "is_archived": shelf.is_archived(folder),
            "state": "damaged",
            "reason": str(error),
            "last": {},
        }


def runs(options: argparse.Namespace) -> int:
    """List the runs of the runs folder, newest first; archived ones only with --all."""
    folders = list_runs(options.runs_dir)
    shown = [folder for folder in folders if options.all or not shelf.is_archived(folder)]
    facts = [_facts_or_trouble(folder) for folder in shown]
    if options.json:
        say_json([{key: value for key, value in one.items() if key != "result"} for one in facts])
        return 0
    hidden = len(folders) - len(shown)
    if not folders:
        say(f"There are no runs in {options.runs_dir}. `diffopt run demo` makes one.")
        return 0
    rows = [
        (
            one["run"],
            one["state"] + (", archived" if one["is_archived"] else ""),
            "-" if one["steps"] is None else str(one["steps"]),
            "-" if one["score"] is None else f"{one['score']:.4f}",
            one["reason"] or one["notice"] or _verdict(one),
        )
        for one in facts
    ]
    if rows:
        say(table(("run", "state", "steps", "score", ""), rows))
    if hidden:
        say(f"{hidden} archived; `diffopt runs --all` lists them too.")
    return 0


def _verdict(facts: dict[str, Any]) -> str:
    return "the target was missed" if facts["is_target_reached"] is False else ""


def show(options: argparse.Namespace) -> int:
    """Show one run: its state and figures, and its result if it is done."""
    folder = find_run(options.runs_dir, options.run)
    facts = facts_of(folder)
    if options.json:
        say_json(facts)
        return 0
    say(f"{facts['run']}: {facts['state']}" + (f" ({facts['reason']})" if facts["reason"] else ""))
    say(f"in {facts['path']}")
    if facts["notice"]:
        say(facts["notice"])
    if facts["result"]:
        say(summary_of(facts["result"]))
        say(f"report  {folder.report_path}")
        return 0
    if facts["score"] is not None:
        what = "so far" if facts["is_target_reached"] is None else _verdict(facts) or "the result"
        score = f"score {facts['score']:.4f}, lower bound {facts['lower_bound']:.4f}"
        say(f"{what}: {facts['steps']} steps, {score}")
    if facts["last"]:
        say(
            ", ".join(f"{name} {value:.4g}" for name, value in facts["last"].items())
            + f" at step {facts['step']}"
        )
    return 0


def put_away(options: argparse.Namespace) -> int:
    """Archive a run, or take it out again with --undo: lists leave it out, nothing is moved."""
    folder = find_run(options.runs_dir, options.run)
    if options.undo:
        shelf.unarchive(folder)
    else:
        shelf.archive(folder, client="diffopt archive")
    if options.json:
        say_json({"run": folder.name, "is_archived": shelf.is_archived(folder)})
    elif options.undo:
        say(f"{folder.name} is listed again.")
    else:
        say(f"{folder.name} is archived; `diffopt archive {folder.name} --undo` brings it back.")
    return 0


def throw_away(options: argparse.Namespace) -> int:
    """Move a run to the trash; without a name, list what is in it."""
    if options.run is None:
        return _show_trash(options)
    thrown = shelf.trash(find_run(options.runs_dir, options.run), client="diffopt trash")
    if options.json:
        say_json({"run": thrown.name, "path": str(thrown.path)})
    else:
        root, words = thrown.path.parent.parent, f"diffopt restore {thrown.path.name}"
        if root != options.runs_dir.absolute():
            words += f" --runs-dir {shlex.quote(str(root))}"
        say(f"{thrown.name} is in the trash; `{words}` brings it back.")
    return 0


def bring_back(options: argparse.Namespace) -> int:
    """Put a run from the trash back where it was."""
    folder = shelf.restore(shelf.find_in_trash(options.runs_dir, options.run))
    if options.json:
        say_json({"run": folder.name, "path": str(folder.path)})
    else:
        say(f"{folder.name} is back in {folder.path.parent}.")
    return 0


def delete_trash(options: argparse.Namespace) -> int:
    """Delete what is in the trash for good, once the person has said so."""
    there = shelf.list_trash(options.runs_dir)
    if there and not options.yes and not _has_agreed(len(there)):
        say("Nothing was deleted.")
        return 0
    count, freed = shelf.empty_trash(options.runs_dir, only=there)
    if options.json:
        say_json({"deleted": count, "freed_bytes": freed})
    else:
        say(f"{count} runs deleted, {freed / 1e6:.1f} MB freed.")
    return 0


def _show_trash(options: argparse.Namespace) -> int:
    there = shelf.list_trash(options.runs_dir)
    if options.json:
        say_json([{"run": one.name, "path": str(one.path), "time": one.time} for one in there])
    elif not there:
        say("The trash is empty.")
    else:
        rows = [(one.path.name, one.name, _when(one.time)) for one in there]
        say(table(("in the trash as", "run", "since"), rows))
    return 0


def _has_agreed(count: int) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(
            f"{count} runs in the trash would be deleted for good. Nobody is here to be asked: "
            "say --yes."
        )
    sys.stderr.write(f"delete {count} runs in the trash for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else "-"
