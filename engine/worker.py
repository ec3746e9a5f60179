"""The process behind a run: one run folder in, one journal out: `python -P -B -m engine.worker`.

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
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import engine
from engine.config import DiffusionOptimizationConfig, parse_config
from engine.control import Control
from engine.errors import Cancelled, DiffoptError
from engine.full_disk import full_disk
from engine.hooks import Hooks
from engine.interruptions import FreeMemory, StopWork
from engine.live_settings import live_changes, told
from engine.memory import Memory
from engine.run import (
    Heartbeat,
    JournalFull,
    JournalReader,
    JournalWriter,
    RunFolder,
    RunState,
    TrainingQueue,
    Turn,
)
from engine.run.events import (
    Continued,
    Event,
    Paused,
    RunFailed,
    RunFinished,
    RunResumed,
    RunStarted,
    RunStopped,
)
from engine.run.worked import seconds_at_work
from engine.settings import RunSettings

logger = logging.getLogger(__name__)

EXIT_CANCELLED, EXIT_STOPPED = 130, 143
_LOG_TAIL_LINES = 50
_QUEUE_POLL_SECONDS = 0.5
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.25, 4.0  # for room to sign on


def main(arguments: Sequence[str] | None = None) -> int:
    """Work on the run folder named by the first argument; return the exit code of the run."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        run = RunFolder.open(Path(path))
        with run.own(), _signed_on(run) as journal, Heartbeat(journal):
            return Worker(run, journal).work()
    except DiffoptError as error:  # it never had the run, or could not say in the journal
        logger.error("%s", error)
        return error.exit_code


def _signed_on(run: RunFolder) -> JournalWriter:
    """Return the run's journal, which says that a worker is here.

    On a disk too full for that the reserve is given up. Where not even that is enough, it waits for
    room with the lock in its hand, and says afterwards what it waited for; SIGTERM ends it.
    """
    told: tuple[Event, ...] = ()
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return _sign_on(run, *told)
        except JournalFull as error:
            if run.release_ballast():
                continue
            if not told:
                logger.warning("%s The run waits for room there.", error)
                told = full_disk(run, error, step=0)
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _sign_on(run: RunFolder, *told: Event) -> JournalWriter:
    journal = JournalWriter(run.journal_path)
    try:
        journal.begin_engine()
        if told:
            journal.record(*told, latest={"state": RunState.QUEUED})
    except BaseException:
        journal.close()
        raise
    return journal


class Worker:
    """One process's work on one run."""

    def __init__(self, run: RunFolder, journal: JournalWriter) -> None:
        self.run, self.journal = run, journal
        self.settings = RunSettings()
        self.control = Control(run, journal, checkpoint_seconds=self.settings.checkpoint_seconds)
        self._turn: Turn | None = None
        self._awake = KeptAwake()
        self._is_paused = False

    def work(self) -> int:
        """Take the turn, run to the end, and say in the journal how it ended."""
        self.control.listen_for_signals()
        self.control.while_held = self._held
        state, summary, code = "failed", "", 1
        result: dict[str, Any] = {}
        try:
            result = self._worked()
            state, summary, code = "done", result["summary"], result["exit_code"]
            self.control.emit(
                RunFinished(
                    result=summary,
                    exit_code=code,
                    optimized_steps=result["metrics"]["optimized_steps"],
                    score=result["metrics"]["quality_score"],
                    lower_bound=result["metrics"]["quality_lower_bound"],
                    seconds=self._seconds_at_work(otherwise=result["seconds"]),
                )
            )
        except StopWork as stop:
            state, summary, code = "stopped", str(stop), EXIT_STOPPED
            with suppress(StopWork):  # no room to say it, and told to leave all the same
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
            self.run.clear_intermediate()
        self.control.refuse_the_rest(f"the run is {state}; its worker has ended")
        if state != "stopped":
            self._tell_user(state, summary, code, result.get("metrics", {}))
        return code

    def _seconds_at_work(self, *, otherwise: float) -> float:
        """Return how long all engines worked; `otherwise` where the journal cannot be read now.

        For a run that is done does not fail for the want of a figure.
        """
        try:
            with JournalReader(self.run.journal_path) as reader:
                return seconds_at_work(reader, time.time())
        except (DiffoptError, OSError):
            return otherwise

    def _worked(self) -> dict[str, Any]:
        """Read the settings and take turns on the machine until the run is done; return its result.

        One turn, and another after each pause that gave the machine free.
        """
        config = self._read_settings()
        self._use_settings(config.run)
        self.control.take_settings = partial(self._take_settings, config)
        freed = None
        while True:
            with self._on_turn():
                if freed is None:
                    self._announce()
                    # the reserve may have been given up before this worker began
                    self.control.with_room(self.run.allocate_ballast)
                else:
                    self.control.emit(
                        Continued(step=self.control.step, reason="its turn has come again")
                    )
                try:
                    self.control.is_working = True
                    return self._optimized(config)
                except FreeMemory as interruption:
                    freed = interruption.command
                finally:
                    self.control.is_working = self.control.is_training = False
                # Out of the except block, or its traceback would keep every array alive; within the
                # turn, for the next run wants that memory.
                _release_memory()
                self.control.tell_memory()
            paused = Paused(step=self.control.step, is_memory_freed=True)
            self.control.acknowledge(freed, "done", paused, detail="the next run may have its turn")
            self.control.wait_for_resume()

    def _read_settings(self) -> DiffusionOptimizationConfig:
        path = self.run.config_path
        return parse_config(path.read_text(encoding="utf-8"), str(path))

    def _use_settings(self, settings: RunSettings) -> None:
        self.settings = settings
        self.control.checkpoint_seconds = settings.checkpoint_seconds

    def _take_settings(self, config: DiffusionOptimizationConfig) -> str:
        """Take up what changed in config.yaml since the run began or was last told to; return it.

        Raises ConfigError where something changed that cannot.
        """
        config.run = self.settings
        fresh = self._read_settings()
        changes = live_changes(config, fresh)
        self._use_settings(fresh.run)
        self._stay_awake()
        return told(changes)

    @contextmanager
    def _on_turn(self) -> Iterator[None]:
        """Wait in the machine's queue, and hold the turn, awake, while the work goes on."""
        with TrainingQueue().join(str(self.run.path)) as self._turn:
            while not self._turn.try_take():
                self.control.between_steps()
                self._turn.join()  # a pause has left the queue
                time.sleep(_QUEUE_POLL_SECONDS)
            self.control.has_turn = True
            try:
                with self._kept_awake():
                    yield
            finally:
                self.control.has_turn = False

    @contextmanager
    def _kept_awake(self) -> Iterator[None]:
        self._stay_awake()
        try:
            yield
        finally:
            self._awake.end()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Let go, during a pause, of the Mac's sleep and of a place in the queue, not of the turn.

        A paused run that keeps its memory keeps its turn as well, for two do not fit.
        """
        if self._turn is not None and not self.control.has_turn:
            self._turn.release()
        self._awake.end()
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False
            self._stay_awake()

    def _stay_awake(self) -> None:
        """Hold the Mac's sleep off, or let it come, as settings and state have it."""
        is_at_work = self.control.has_turn and not self._is_paused
        if is_at_work and self.settings.keep_awake:
            self._awake.begin()
        else:
            self._awake.end()

    def _optimized(self, config: DiffusionOptimizationConfig) -> dict[str, Any]:
        from engine import hardware  # these bring MLX in, once the run's turn has come
        from engine.optimizer import AdaptiveDiffusionOptimizer

        control = self.control
        control.measure_memory = hardware.memory_in_use
        hooks = Hooks(
            emit=control.emit,
            record=control.record,
            at_step=control.at_step,
            between_steps=control.between_steps,
            with_room=control.with_room,
            rewind=control.rewind,
            folder=self.run.path,
            memory=Memory(self.run.checkpoints_path),
        )
        return AdaptiveDiffusionOptimizer(
            config, hooks=hooks, name=self.run.name
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

    def _tell_user(self, state: str, summary: str, code: int, metrics: dict[str, Any]) -> None:
        """Run the user's `on_finish` command with the run's result in its environment."""
        command = self.settings.on_finish
        if not command:
            return
        environment = os.environ | {
            "DIFFOPT_RUN": str(self.run.path),
            "DIFFOPT_STATE": state,
            "DIFFOPT_SUMMARY": summary,
            "DIFFOPT_EXIT_CODE": str(code),
            "DIFFOPT_STEPS": str(metrics.get("optimized_steps", "")),
            "DIFFOPT_SCORE": str(metrics.get("quality_score", "")),
            "DIFFOPT_LOWER_BOUND": str(metrics.get("quality_lower_bound", "")),
        }
        try:
            finished = subprocess.run(
                command, shell=True, env=environment, cwd=self.run.path, check=False
            )
        except OSError as error:  # the run has ended as it has, whatever becomes of this
            logger.warning("on_finish could not be started: %s", error)
        else:
            logger.info("on_finish ended with %d", finished.returncode)


def _release_memory() -> None:
    """Give back what the abandoned work held: Python's objects first, then MLX's cache."""
    from engine import hardware

    gc.collect()
    hardware.clear_cache()


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


class KeptAwake:
    """Keeps a Mac from sleeping between `begin` and `end`; does nothing elsewhere."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Hold sleep off."""
        if self._process is None and sys.platform == "darwin" and shutil.which("caffeinate"):
            # -w ends it with us, should we be killed
            command = ["caffeinate", "-i", "-s", "-w", str(os.getpid())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end(self) -> bool:
        """Let sleep come again; return whether it was held off."""
        if self._process is None:
            return False
        self._process.terminate()
        self._process.wait()
        self._process = None
        return True


if __name__ == "__main__":
    sys.exit(main())
