"""A folder with a run in each state there is, beside the recorded true ones."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.run import JournalWriter, RunFolder, RunState
from engine.run.events import Paused, RunCancelled, RunFailed
from tests.tui.fake_worker import UP_TO_TRAINING, FakeWorker, working
from tests.tui.journals import RECORDED

LONG_AGO_SECONDS = 1000.0  # no heartbeat since: the worker hangs
BEATS_ON_SECONDS = 600.0  # however slow the machine is that looks at the others


@contextmanager
def every_state(root: Path) -> Iterator[dict[str, str]]:
    """Fill `root`, and be the workers of the runs that have one; yields each run's word."""
    shutil.copytree(RECORDED, root, dirs_exist_ok=True)
    made = {f"is-{state}": state for state in RunState if state is not RunState.DONE}
    with ExitStack() as stack:
        for name, state in made.items():
            run = RunFolder.create(root, "seed: 0\n", label="fox", name=name, mounts=[])
            _bring_to(run, state, stack)
        assert {name: RunFolder.open(root / name).state() for name in made} == made
        words = {name: str(state) for name, state in made.items()}
        yield words | {"ladder": "missed", "smoke": "done"}  # both done, one short of its target


def _bring_to(run: RunFolder, state: RunState, stack: ExitStack) -> None:
    if state is RunState.QUEUED:
        return
    if state in (RunState.FAILED, RunState.CANCELLED, RunState.LOST):
        with JournalWriter(run.journal_path) as journal:
            journal.emit(*UP_TO_TRAINING)
            if state is RunState.FAILED:
                journal.emit(RunFailed(error="TrainingError", message="the loss is nan"))
            if state is RunState.CANCELLED:
                journal.emit(RunCancelled(step=100, cancelled_by="ada@studio 1 diffopt"))
        return
    worker = stack.enter_context(working(run, *UP_TO_TRAINING))
    _hold_at(worker, state)


def _hold_at(worker: FakeWorker, state: RunState) -> None:
    if state is RunState.PAUSED:
        worker.emit(Paused(step=100))
    if state is RunState.STOPPING:
        worker.journal.set_state(state)
    ahead = -LONG_AGO_SECONDS if state is RunState.STUCK else BEATS_ON_SECONDS
    beat = [time.monotonic() + ahead, time.time() + ahead]
    worker.journal.record(latest={"heartbeat": beat})
