"""The process behind a run: one run folder in, one journal out. ``python -P -m engine.worker RUN``.

Owns all MLX work, on its main thread. Started detached by `engine.run.start_worker`, so it outlives
every terminal. Takes its turn in the machine's queue, then works until the run is done, stopped,
cancelled or failed.
"""

import gc
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import engine
from engine.config import DiffusionOptimizationConfig, parse_config
from engine.control import Control, FreeMemory, StopWork
from engine.errors import Cancelled, DiffoptError
from engine.hooks import Hooks
from engine.memory import Memory
from engine.run import Heartbeat, JournalWriter, RunFolder, TrainingQueue
from engine.run.events import (
    Paused,
    RunFailed,
    RunFinished,
    RunResumed,
    RunStarted,
    RunStopped,
)

logger = logging.getLogger(__name__)

EXIT_CANCELLED, EXIT_STOPPED = 130, 143
_LOG_TAIL_LINES = 50
_QUEUE_POLL_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Work on the run folder named by the first argument; return the exit code of the run."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    run = RunFolder.open(Path(path))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    with run.own(), JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        with Heartbeat(journal):
            return Worker(run, journal).work()


class Worker:
    """One process's work on one run."""

    def __init__(self, run: RunFolder, journal: JournalWriter) -> None:
        self.run, self.journal = run, journal
        self.config: DiffusionOptimizationConfig = parse_config(
            run.config_path.read_text(encoding="utf-8"), str(run.config_path)
        )
        self.control = Control(run, journal, checkpoint_seconds=self.config.run.checkpoint_seconds)
        self._started = time.monotonic()

    def work(self) -> int:
        """Take the turn, run to the end, and say in the journal how it ended."""
        self.control.listen_for_signals()
        state, summary, code = "failed", "", 1
        try:
            with TrainingQueue().join(self.run.name) as turn:
                while not turn.try_take():
                    self.control.between_steps()
                    time.sleep(_QUEUE_POLL_SECONDS)
                self.control.has_turn = True
                self._announce()
                with _kept_awake(self.config.run.keep_awake):
                    result = self._optimize()
            state, summary, code = "done", result["summary"], result["exit_code"]
            self.control.emit(
                RunFinished(
                    result=summary,
                    exit_code=code,
                    optimized_steps=result["metrics"]["optimized_steps"],
                    score=result["metrics"]["quality_score"],
                    lower_bound=result["metrics"]["quality_lower_bound"],
                    seconds=time.monotonic() - self._started,
                )
            )
        except StopWork as stop:
            state, summary, code = "stopped", str(stop), EXIT_STOPPED
            self.control.emit(RunStopped(step=self.control.step, reason=summary))
        except Cancelled as cancelled:
            state, summary, code = "cancelled", f"cancelled by {cancelled}", EXIT_CANCELLED
        except (
            Exception
        ) as error:  # the one place: whatever ends a run is written down before it ends the process
            state, summary = "failed", str(error) or type(error).__name__
            code = error.exit_code if isinstance(error, DiffoptError) else 1
            logger.exception("the run failed")
            self.control.emit(
                RunFailed(
                    error=type(error).__name__, message=summary, log_tail=_tail(self.run.log_path)
                )
            )
        if state in ("done", "cancelled"):
            _forget_intermediate(Memory(self.run.checkpoints_path))
        self.control.refuse_the_rest(f"the run is {state}; its worker has ended")
        if state != "stopped":
            self._tell_user(state, summary, code)
        return code

    def _optimize(self) -> dict:
        """Run the optimizer.

        After a pause that freed the memory, run it again from what was kept.
        """
        while True:
            self.control.is_working = True
            try:
                return self._optimized()
            except FreeMemory as freed:
                command = freed.command
            finally:
                self.control.is_working = self.control.is_training = False
            # Out of the except block, or its traceback would keep every array alive.
            _release_memory()
            self.control.tell_memory()
            paused = Paused(step=self.control.step, is_memory_freed=True)
            self.control.acknowledge(command, "done", paused)
            self.control.wait_for_resume()

    def _optimized(self) -> dict:
        from engine import hardware  # these bring MLX in, once the run's turn has come
        from engine.optimizer import AdaptiveDiffusionOptimizer

        control = self.control
        control.measure_memory = hardware.memory_in_use
        hooks = Hooks(
            emit=control.emit,
            record=control.record,
            between_steps=control.between_steps,
            with_room=control.with_room,
            rewind=control.rewind,
            folder=self.run.path,
            memory=Memory(self.run.checkpoints_path),
        )
        return AdaptiveDiffusionOptimizer(
            self.config, hooks=hooks, name=self.run.name
        ).optimize_diffusion_model()

    def _announce(self) -> None:
        from engine import hardware

        machine = hardware.describe_machine()
        pid, host = os.getpid(), os.uname().nodename
        device = machine.summary
        last = _last_checkpoint(self.run)
        if self.journal.last_step is None and last is None:
            self.control.emit(
                RunStarted(pid=pid, host=host, device=device, engine_version=engine.__version__)
            )
            return
        self.control.emit(
            RunResumed(
                pid=pid,
                host=host,
                device=device,
                step=self.control.step,
                checkpoint=last,
                engine_version=engine.__version__,
            )
        )

    def _tell_user(self, state: str, summary: str, code: int) -> None:
        """Run the user's `on_finish` command with the run's result in its environment."""
        command = self.config.run.on_finish
        if not command:
            return
        environment = os.environ | {
            "DIFFOPT_RUN": str(self.run.path),
            "DIFFOPT_STATE": state,
            "DIFFOPT_SUMMARY": summary,
            "DIFFOPT_EXIT_CODE": str(code),
        }
        finished = subprocess.run(command, shell=True, env=environment, check=False)
        logger.info("on_finish ended with %d", finished.returncode)


def _release_memory() -> None:
    """Give back what the abandoned work held: Python's objects first, then MLX's cache."""
    from engine import hardware

    gc.collect()
    hardware.clear_cache()


def _forget_intermediate(memory: Memory) -> None:
    """Remove what only unfinished work needs, which is most of it; the accepted students stay."""
    for name in memory.names():
        if name.startswith("trajectories-") or name.endswith("-training"):
            memory.forget(name)


def _last_checkpoint(run: RunFolder) -> str | None:
    """Return the newest record's path relative to the run folder, or None."""
    records = sorted(
        run.checkpoints_path.glob("*.safetensors"), key=lambda path: path.stat().st_mtime
    )
    return f"{run.checkpoints_path.name}/{records[-1].name}" if records else None


def _tail(path: Path) -> str:
    """Return the last lines of a log."""
    try:
        return "\n".join(
            path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        )
    except OSError:
        return ""


@contextmanager
def _kept_awake(is_wanted: bool) -> Iterator[None]:
    """Keep a Mac from sleeping while this process trains; does nothing elsewhere."""
    if not is_wanted or sys.platform != "darwin" or shutil.which("caffeinate") is None:
        yield
        return
    # -w ends it with us, should we be killed
    process = subprocess.Popen(
        ["caffeinate", "-i", "-s", "-w", str(os.getpid())], stdin=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
