"""RunFolder: a run on the disk.

Its paths, how it is made, who owns it, what state it is in, and its worker's start. The folder is
all that the engine and a viewer share::

    config.yaml  journal.sqlite  lock  worker.log  launch.json  ballast  metrics.json  report.md
    checkpoints/  samples/  export/
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from engine.errors import DiskFull, RunError
from engine.files import is_no_room, sync_path
from engine.run.commands import who_am_i
from engine.run.disk import (
    allocate_ballast,
    clear_leftovers,
    is_alive,
    is_launch_alive,
    launched_pid,
    release_ballast,
    write_atomically,
)
from engine.run.events import RunQueued
from engine.run.fact import Fact
from engine.run.journal import JournalWriter
from engine.run.lock import FileLock, holder_of, is_locked
from engine.run.mounts import Mount, network_file_system
from engine.run.queue import TrainingQueue
from engine.run.reader import JournalReader
from engine.run.schema import BUSY_TIMEOUT_MS, create_journal
from engine.run.state import RunFacts, RunState, derive_state

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_UNFINISHED = ".new-"
# Records of engine.memory by name: teachers' paths, with their rows beside them, and training
_INTERMEDIATE = (
    "trajectories-*",
    "latents.*",
    "*-pictures.*",
    "*embeddings.safetensors",
    "*-training.safetensors",
    "*-fallback.safetensors",
)
_PULSE_MISSED_SECONDS = 3.0  # of a heartbeat a second: time to ask the system what is the matter


class RunStatus(Fact):
    """A run's state, with what stands behind it."""

    state: RunState
    reason: str  # one line for a person, "" where the state says all
    pid: int | None  # of the worker that holds the run now
    step: int | None
    progress_age_seconds: float | None  # None unless a worker holds the run
    heartbeat_age_seconds: float | None


class RunFolder(Fact):
    """A run folder that exists; made by `create` or `open`."""

    path: Path

    @classmethod
    def create(
        cls,
        root: Path,
        config: str,
        *,
        label: str = "run",
        name: str | None = None,
        client: str = "diffopt",
        engine_version: str = "",
        is_network_allowed: bool = False,
        mounts: Sequence[Mount] | None = None,
    ) -> Self:
        """Return a new, queued run below `root` with `config` as its config.yaml.

        Whole, or not there at all. It is called `name`, else by the time and `label`:
        2026-11-22-1432-digits. Raises RunError for a name that is taken or cannot be one, a root
        that cannot be made, and a network file system.
        """
        if name is not None and not _NAME.fullmatch(name):
            raise RunError(
                f"A run cannot be called {name!r}. Use up to 100 letters, digits or '.', '_', '-'."
            )
        if (network := network_file_system(root, mounts)) and not is_network_allowed:
            raise RunError(
                f"{root} is on {network.point}, a network file system ({network.kind}), where a "
                "run's journal can be damaged. Choose a runs folder on a local disk, or force it "
                "and keep to one machine."
            )
        made = _make_folders(root)
        unfinished = root / f"{_UNFINISHED}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            _clear_unfinished(root)
            unfinished.mkdir()
            for part in ("checkpoints", "samples", "export"):
                (unfinished / part).mkdir()
            write_atomically(unfinished / "config.yaml", config)
            allocate_ballast(unfinished / "ballast")
            create_journal(unfinished / "journal.sqlite")
            with JournalWriter(unfinished / "journal.sqlite") as journal:
                journal.emit(
                    RunQueued(
                        label=label, queued_by=who_am_i(client), engine_version=engine_version
                    )
                )
            path = _place(unfinished, root, name, label)
        except BaseException as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            for folder in reversed(made):
                with suppress(OSError):  # another run may stand in it by now
                    folder.rmdir()
            if isinstance(error, OSError):
                raise RunError(
                    f"No run can be made in {root} ({error.strerror}). Choose another runs folder."
                ) from error
            raise
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the run folder at `path`; raises RunError where there is none."""
        if not (path / "journal.sqlite").is_file():
            raise RunError(
                f"{path} is not a run folder: it has no journal.sqlite. "
                "`diffopt runs` lists what there is."
            )
        return cls(path.absolute())

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def config_path(self) -> Path:
        """The run's settings, YAML."""
        return self.path / "config.yaml"

    @property
    def journal_path(self) -> Path:
        """The run's journal."""
        return self.path / "journal.sqlite"

    @property
    def lock_path(self) -> Path:
        """The file whose lock says who owns the run."""
        return self.path / "lock"

    @property
    def log_path(self) -> Path:
        """Everything that the worker printed or logged."""
        return self.path / "worker.log"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples_path(self) -> Path:
        """The folder of pictures."""
        return self.path / "samples"

    @property
    def export_path(self) -> Path:
        """The folder of the finished student."""
        return self.path / "export"

    @property
    def metrics_path(self) -> Path:
        """The final figures, JSON."""
        return self.path / "metrics.json"

    @property
    def report_path(self) -> Path:
        """The report, Markdown."""
        return self.path / "report.md"

    @property
    def ballast_path(self) -> Path:
        """The reserve that is given up on a full disk so that the journal can still say it."""
        return self.path / "ballast"

    @contextmanager
    def own(self) -> Iterator[Self]:
        """Hold the run for this process; half-written files of dead ones are cleared.

        The kernel frees it at kill -9. Raises RunError where another process holds it, named by its
        number.
        """
        lock = FileLock(self.lock_path)
        try:
            is_mine = lock.take_soon(self.name)
        except OSError as error:
            if is_no_room(error):
                raise DiskFull(
                    f"{self.path} has no room left, not even for the file {self.lock_path.name} "
                    f"({error.strerror}). Make room on that disk, or raise the quota: a run needs "
                    f"a few megabytes to begin; then `diffopt resume {self.name}`."
                ) from error
            raise RunError(
                f"{self.lock_path} cannot be opened ({error.strerror}). "
                f"Ask for write permission on {self.path}, or start a run of your own."
            ) from error
        if not is_mine:
            holder = holder_of(self.lock_path)
            raise RunError(
                f"{self.path} is worked on by process {holder.pid} on {holder.host}. Watch it "
                f"with `diffopt log {self.name} --follow`, or first stop it with "
                f"`diffopt stop {self.name}`."
            )
        with lock:
            clear_leftovers(self.path)
            yield self

    def allocate_ballast(self) -> None:
        """Set the reserve aside, where it is not; raises OSError where there is no room."""
        allocate_ballast(self.ballast_path)

    def release_ballast(self) -> bool:
        """Give the reserve up; returns False where it was given up before."""
        return release_ballast(self.ballast_path)

    def clear_intermediate(self) -> None:
        """Remove what only unfinished work needs, which is most of it; accepted students stay."""
        for pattern in _INTERMEDIATE:
            for path in self.checkpoints_path.glob(pattern):
                path.unlink(missing_ok=True)

    def state(self) -> RunState:
        """Return the run's state; see `status`."""
        return self.status().state

    def status(
        self,
        latest: Mapping[str, Any] | None = None,
        *,
        patience_seconds: float = BUSY_TIMEOUT_MS / 1000,
    ) -> RunStatus:
        """Return the run's state with its reasons.

        `latest` saves opening the journal for one who has just read it. JournalBusy where another
        program has it locked for longer than `patience_seconds`.
        """
        is_held = is_locked(self.lock_path)
        if latest is not None:
            status = self._judge(latest, is_held=is_held)
            if status.state is not RunState.LOST:
                return status
        # a worker may come or go between looks at the lock and at the journal: look until none does
        while True:
            with JournalReader(self.journal_path, patience_seconds=patience_seconds) as reader:
                latest = reader.latest()
            was_held, is_held = is_held, is_locked(self.lock_path)
            if was_held == is_held:
                return self._judge(latest, is_held=is_held)

    def _judge(self, latest: Mapping[str, Any], *, is_held: bool) -> RunStatus:
        holder = holder_of(self.lock_path)
        engine = latest.get("engine")
        # clocks that only a reboot resets, and a holder of the lock is from this side of it
        now, heartbeat, progress = time.monotonic(), latest.get("heartbeat"), latest.get("progress")
        is_engine = is_held and engine is not None and holder.pid in (None, engine["pid"])
        heartbeat_age = max(0.0, now - heartbeat[0]) if is_engine and heartbeat else None
        progress_age = max(0.0, now - progress[0]) if is_engine and progress else None
        facts = RunFacts(
            written=_known_state(latest.get("state", RunState.QUEUED)),
            is_locked=is_held,
            is_engine_signed_on=engine is not None,
            is_holder_the_engine=is_engine,
            has_launch_died=self._has_launch_died(),
            is_halted=(heartbeat_age or 0.0) > _PULSE_MISSED_SECONDS and _is_halted(holder.pid),
            pid=holder.pid,
            held_seconds=self._held_seconds() if is_held else None,
            heartbeat_age_seconds=heartbeat_age,
            progress_age_seconds=progress_age,
            patience_seconds=latest.get("patience_seconds"),
        )
        state, reason = derive_state(facts)
        if state is RunState.QUEUED and is_held and not reason:
            reason = self._whom_it_waits_for()
        step = progress[2] if progress else None
        pid = holder.pid or launched_pid(self.path)  # the lock's file may have had no room for it
        return RunStatus(state, reason, pid if is_held else None, step, progress_age, heartbeat_age)

    def _whom_it_waits_for(self) -> str:
        """Return who has the turn, and what is the matter with it; "" where nobody has."""
        queue = TrainingQueue()
        holder, me = queue.training(), str(self.path)
        if holder is None or holder.what in (None, me):
            return ""
        waiting = [one.what for one in queue.waiting()]
        between = waiting.index(me) if me in waiting else 0
        more = f", and {between} more before it" if between else ""
        other = type(self)(Path(holder.what))
        try:
            status = other.status()
        except RunError:  # its folder was moved or deleted under it
            return f"waits for {other.name}, process {holder.pid}{more}"
        trouble = f": {status.reason}" if status.state is RunState.STUCK else ""
        return f"waits for {other.name}, which is {status.state}{trouble}{more}"

    def _held_seconds(self) -> float | None:
        """Return how long ago the lock was taken: its file is written or emptied then."""
        try:
            return time.time() - self.lock_path.stat().st_mtime
        except OSError:
            return None

    def _has_launch_died(self) -> bool:
        return is_launch_alive(self.path) is False


def _known_state(word: str) -> RunState:
    try:
        return RunState(word)
    except ValueError:  # a newer engine's word for something that it is about
        return RunState.RUNNING


def _is_halted(pid: int | None) -> bool:
    """Return whether the process was stopped, as by SIGSTOP or a debugger."""
    import psutil  # late: it is asked about the few runs whose pulse is missed

    try:
        return pid is not None and psutil.Process(pid).status() in (
            psutil.STATUS_STOPPED,
            psutil.STATUS_TRACING_STOP,
        )
    except psutil.Error:
        return False


def _make_folders(root: Path) -> list[Path]:
    """Make `root` and what is missing above it; returns what was made, outermost first."""
    missing = [folder for folder in (root, *root.absolute().parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"The runs folder {root} cannot be made ({error.strerror}). "
            "Choose another with --runs-dir."
        ) from error
    return missing[::-1]


def _place(unfinished: Path, root: Path, name: str | None, label: str) -> Path:
    """Rename the finished folder to its name.

    A rename onto anything but an empty folder fails by itself.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.")[:60] or "run"
    stem = name or f"{datetime.now():%Y-%m-%d-%H%M}-{slug}"
    for number in range(1, 2 if name else 1000):
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            unfinished.rename(path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            sync_path(root)
            return path.absolute()
    raise RunError(f"{root / stem} exists already. Choose another --name, or resume that run.")


def _clear_unfinished(root: Path) -> None:
    for path in root.glob(f"{_UNFINISHED}*"):
        match = re.match(rf"{re.escape(_UNFINISHED)}(\d+)-", path.name)
        if match and not is_alive(int(match[1]), at=path.stat().st_mtime):
            shutil.rmtree(path, ignore_errors=True)
