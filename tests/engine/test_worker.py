"""Runs that are left and taken up: whatever happens in between, the same bytes come out.

The first tests break the optimizer off within this process, at chosen places; the others start true
workers on a true run folder, and kill, pause, stop and starve them.
"""

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.config import DiffusionOptimizationConfig, parse_config
from engine.errors import TrainingError
from engine.hooks import Hooks
from engine.interruptions import RetryStage
from engine.memory import Memory
from engine.models.checkpoint import save_network
from engine.models.unet import UNet2DConfig, UNet2DModel
from engine.optimizer import AdaptiveDiffusionOptimizer
from engine.run import (
    Command,
    CommandKind,
    CommandQueue,
    JournalReader,
    RunFolder,
    RunState,
    start_worker,
)
from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    Continued,
    DiskLow,
    Event,
    Exported,
    LossDiverged,
    Paused,
    PhaseStarted,
    StageRejected,
    StageRolledBack,
    TryStarted,
)
from engine.training import progress as progress_module

CONFIG = """\
model_path: {model_path}
optimization_stages: {stages}
target_steps: 2
quality_threshold: {threshold}
apple_silicon_optimization: false
original: {{steps: 4}}
schedule:
  {{search: {search}, pilot_iterations: 2, pilot_candidates: 2, costs: [z_mse], gammas: [1.0]}}
training:
  stage_steps: {stage_steps}
  iterations: [{iterations}]
  states: rollout
  trajectories: 8
  batch_size: 4
  refresh_steps: 3
  report_every: 1
  sample_every: 0
  retries: 1
quality: {{samples: 64, select_samples: 64, bootstrap: 100}}
export: {{samples: 2}}
run: {{checkpoint_seconds: 1}}
"""
PATIENCE_SECONDS = 120.0

Write = Callable[..., str]


@pytest.fixture(scope="module")
def model_path(ddpm_cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of random weights, as small as can be."""
    folder, flat = tmp_path_factory.mktemp("models") / "tiny", ddpm_cifar.with_name("ddpm_flat")
    shutil.copytree(ddpm_cifar / "scheduler", folder / "scheduler")
    shutil.copy(ddpm_cifar / "model_index.json", folder)
    changes = {
        "sample_size": 4,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": [8],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "add_attention": False,
    }
    config = json.loads((flat / "config.json").read_text()) | changes
    mx.random.seed(0)
    network = UNet2DModel(UNet2DConfig.from_dict(config, source="a test"))
    save_network(network, folder / "unet", config)
    return folder


@pytest.fixture(scope="module")
def write_config(model_path: Path) -> Write:
    """Write the config of a run over random weights that takes seconds; of one stage or two."""

    def write(*, threshold: float = 0.01, iterations: int = 6, stages: int = 1) -> str:
        return CONFIG.format(
            model_path=model_path,
            threshold=threshold,
            iterations=iterations,
            stages=stages,
            stage_steps=[3, 2][-stages:],
            search=str(stages > 1).lower(),
        )

    return write


# Within this process


class BrokenOff(Exception):
    """Stands for whatever ends a process."""


class Listener:
    """Hooks that keep a checkpoint at every third step, and break the work off at one place."""

    def __init__(self, folder: Path, place: str | None = None, is_after_save: bool = False) -> None:
        self.folder, self.place, self.is_after_save = folder, place, is_after_save
        self.phase, self.stage, self.step = "", 0, 0
        self.events: list[Event] = []
        self.rows: dict[int, float] = {}

    def hooks(self) -> Hooks:
        for name in ("samples", "export"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        return Hooks(
            emit=self.emit,
            record=self.record,
            between_steps=self.between_steps,
            rewind=self.rewind,
            folder=self.folder,
            memory=Memory(self.folder / "checkpoints"),
        )

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, PhaseStarted):
            self.phase = event.phase
        if isinstance(event, TryStarted):
            self.stage, self.step = event.stage, 0
        stage = getattr(event, "stage", None)
        label = getattr(event, "phase", getattr(event, "label", ""))
        self.arrive(f"{type(event).__name__} {stage or ''} {label}".replace("  ", " ").strip())

    def record(self, step: int, metrics: Any) -> None:
        self.rows[step] = metrics["loss"]
        self.step = step

    def rewind(self, step: int) -> None:
        self.rows = {at: loss for at, loss in self.rows.items() if at <= step}

    def between_steps(self, save: Callable[[], CheckpointSaved | None] | None) -> None:
        if save is None:
            self.arrive(f"within {self.phase}")
            return
        if self.step % 3 == 0:
            save()
        self.arrive(f"step {self.step}")

    def arrive(self, place: str) -> None:
        if place == self.place:
            raise BrokenOff(place)


def optimize(config: DiffusionOptimizationConfig, listener: Listener) -> dict[str, Any]:
    return AdaptiveDiffusionOptimizer(config, hooks=listener.hooks()).optimize_diffusion_model()


def outcome(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Return what must not depend on what happened on the way."""
    weights = folder / "export" / "unet" / "diffusion_pytorch_model.safetensors"
    untimed = [
        {key: value for key, value in one.items() if key != "seconds"} for one in result["stages"]
    ]
    return {
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None,
        "stages": untimed,
        **{
            key: result[key]
            for key in ("timesteps", "quality", "anchors", "final_looks", "select_looks")
        },
    }


@pytest.mark.usefixtures("eager")
def test_a_run_broken_off_anywhere_ends_as_if_it_never_was(
    write_config: Write, tmp_path: Path
) -> None:
    config = parse_config(write_config(stages=2), "test")
    whole = Listener(tmp_path / "whole")
    wanted = outcome(whole.folder, optimize(config, whole))

    folder, rows = tmp_path / "broken", {}
    places = [
        "PhaseStarted 1 cache",
        "PhaseFinished 1 cache",
        "within evaluate",
        "within plan",
        "GridChosen",
        "TryStarted 1",
        "step 2",  # before anything of the stage is kept
        "step 3",  # with a checkpoint just kept
        "step 5",  # past one
        "StageTrained 1",
        "within gate",
        "StageAccepted 1",
        "PhaseFinished 2 cache",
        "step 10",
        "StageAccepted 2",
        "Evaluated original, run again",
        "within export",
        "Exported",
    ]
    for place in places:
        listener = Listener(folder, place)
        listener.rows = rows  # as the journal has them
        with pytest.raises(BrokenOff, match=place):
            optimize(config, listener)
        rows = listener.rows
        if place == "step 10":
            kept = [name for name in Memory(folder / "checkpoints").names() if "traj" in name]
            assert kept == ["trajectories-2"], "no later try begins at the first teacher's paths"
    last = Listener(folder)
    last.rows = rows
    assert outcome(folder, optimize(config, last)) == wanted
    assert last.rows == whole.rows, "what was learned after a checkpoint is not told twice"
    done_again = [event for event in last.events if isinstance(event, PhaseStarted)]
    assert {event.phase for event in done_again} == {"evaluate", "export"}


@pytest.mark.usefixtures("eager")
def test_a_rejected_try_leaves_its_verdict_and_no_weights(
    write_config: Write, tmp_path: Path
) -> None:
    config = parse_config(write_config(threshold=1.0), "test")
    whole = Listener(tmp_path / "whole")
    wanted = outcome(whole.folder, optimize(config, whole))
    assert wanted["weights"] is None
    assert [stage["attempt"] for stage in wanted["stages"]] == [1, 2]

    listener = Listener(tmp_path / "broken", "step 9")  # of the second try
    with pytest.raises(BrokenOff):
        optimize(config, listener)
    memory = Memory(listener.folder / "checkpoints")
    rejected, unfinished = memory.recall("stage-1-try-1"), memory.recall("stage-1-try-2-training")
    assert rejected is not None
    assert not rejected.tensors
    assert len(rejected.facts["losses"]) == 6
    assert unfinished is not None
    assert outcome(listener.folder, optimize(config, Listener(listener.folder))) == wanted
    assert not [name for name in memory.names() if name.endswith("-training")]


@pytest.mark.usefixtures("eager")
def test_a_damaged_record_is_made_again(
    write_config: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = parse_config(write_config(), "test")
    first = Listener(tmp_path / "run")
    wanted = outcome(first.folder, optimize(config, first))
    records = sorted((first.folder / "checkpoints").glob("*.safetensors"))
    for path in records:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert outcome(first.folder, optimize(config, Listener(first.folder))) == wanted
    assert caplog.text.count("done again") == len(records)


# Training that diverges


@pytest.fixture
def easily_alarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any loss above the first four for an explosion."""
    monkeypatch.setattr(progress_module, "_FIRST_REPORTS", 4)
    monkeypatch.setattr(progress_module, "_EXPLOSION", 1.0)


@pytest.fixture
def hopeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every loss but the first for an explosion."""
    monkeypatch.setattr(progress_module, "_FIRST_REPORTS", 1)
    monkeypatch.setattr(progress_module, "_EXPLOSION", 0.0)


def diverging(text: str) -> DiffusionOptimizationConfig:
    """A learning rate of 1, and nothing that tames it."""
    wild = "  learning_rate: 1.0\n  warmup_steps: 0\n  gradient_clip: 1000000.0\n  retries: 1"
    return parse_config(text.replace("  retries: 1", wild), "test")


class Impatient(Listener):
    """Breaks off at whatever place is the so-manieth."""

    left = 0

    def arrive(self, place: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise BrokenOff(place)


@pytest.mark.usefixtures("eager", "easily_alarmed")
def test_a_run_that_diverges_ends_the_same_however_often_it_is_broken_off(
    write_config: Write, tmp_path: Path
) -> None:
    config = diverging(write_config(iterations=12))
    whole = Listener(tmp_path / "whole")
    wanted = outcome(whole.folder, optimize(config, whole))
    rates = [event.learning_rate for event in whole.events if isinstance(event, LossDiverged)]
    assert rates == [0.25, 0.0625, 0.015625]

    broken = Impatient(tmp_path / "broken")
    for places in range(30, 200, 7):
        broken.left, broken.events = places, []
        try:
            found = outcome(broken.folder, optimize(config, broken))
        except BrokenOff:
            continue
        break
    else:
        raise AssertionError("it never came to an end")
    assert places > 60, "it was broken off more than a few times"
    assert found == wanted
    assert broken.rows == whole.rows
    assert not [name for name in Memory(broken.folder / "checkpoints").names() if "fall" in name]


@pytest.mark.usefixtures("eager", "hopeless")
def test_a_run_none_of_whose_tries_can_be_trained_fails_with_the_reason(
    write_config: Write, tmp_path: Path
) -> None:
    config = diverging(write_config(stages=1).replace("search: false", "search: true"))
    listener = Listener(tmp_path / "run")
    for events in ([], []):  # and so it does when it is taken up again, without training again
        listener.events = events
        with pytest.raises(TrainingError, match=r"exploded .* down to 0\.0156"):
            optimize(config, listener)
    rejected = [event for event in listener.events if isinstance(event, StageRejected)]
    assert rejected == []
    reports = [
        Memory(listener.folder / "checkpoints").recall(f"stage-1-try-{attempt}-verdict")
        for attempt in (1, 2)
    ]
    assert [one.facts["report"]["select_quality"] for one in reports if one] == [None, None]


class Calmed(Listener):
    """Ends the alarm once a try was rejected."""

    def emit(self, event: Event) -> None:
        if isinstance(event, StageRejected):
            progress_module._EXPLOSION = 1e9  # undone by the fixture's end
        super().emit(event)


@pytest.mark.usefixtures("eager", "hopeless")
def test_a_try_that_diverges_is_a_rejected_one_and_the_ladder_goes_on(
    write_config: Write, tmp_path: Path
) -> None:
    listener = Calmed(tmp_path / "run")
    result = optimize(diverging(write_config(iterations=12)), listener)
    first, second = result["stages"]
    assert (first["is_accepted"], first["select_quality"]) == (False, None)
    assert "exploded" in first["reason"]
    assert second["select_quality"] is not None
    rejected = [event for event in listener.events if isinstance(event, StageRejected)]
    assert (rejected[0].score, rejected[0].next_remedy) == (None, "more iterations")
    assert "| diverged |" in (listener.folder / "report.md").read_text()


class Retrier(Listener):
    """Asks once for another try at a step, then may break off later."""

    is_retried = False
    losses_before: Sequence[float] = ()

    def between_steps(self, save: Callable[[], CheckpointSaved | None] | None) -> None:
        if save is not None and self.step == 4 and not self.is_retried:
            self.is_retried = True
            self.losses_before = [self.rows[step] for step in range(1, 5)]
            raise RetryStage("a test")
        super().between_steps(save)


@pytest.mark.usefixtures("eager")
def test_a_try_begun_again_draws_anew_and_resumes_with_the_same_draws(
    write_config: Write, tmp_path: Path
) -> None:
    config = parse_config(write_config(), "test")
    whole = Retrier(tmp_path / "whole")
    wanted = outcome(whole.folder, optimize(config, whole))
    assert whole.losses_before != [whole.rows[step] for step in range(1, 5)], "other draws"

    broken = Retrier(tmp_path / "broken", "step 5")
    with pytest.raises(BrokenOff):
        optimize(config, broken)
    assert outcome(broken.folder, optimize(config, Listener(broken.folder))) == wanted


# True workers


@pytest.fixture(scope="module", autouse=True)
def _own_state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFOPT_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield


class Worked:
    """A run folder with a true worker on it."""

    def __init__(self, root: Path, config: str) -> None:
        self.run = RunFolder.create(root, config, name="tiny", mounts=[])
        self.last = 0
        self.start()

    def start(self) -> None:
        self.process = start_worker(self.run)

    def events(self, after: int = 0) -> list[Event]:
        with JournalReader(self.run.journal_path) as reader:
            return [stored.event for stored in reader.facts(after)]

    def last_step(self) -> int:
        with JournalReader(self.run.journal_path) as reader:
            return reader.last_values().get("loss", (0, 0.0))[0]

    def wait_for(self, is_there: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_there():
            assert time.monotonic() < deadline, self.run.log_path.read_text()
            assert self.process.poll() is None, self.run.log_path.read_text()
            time.sleep(0.01)

    def ask(self, kind: CommandKind) -> str | None:
        command = Command.new(kind, client="a test")
        with CommandQueue(self.run.journal_path) as queue:
            queue.send(command)
            return queue.wait_for(command.id, PATIENCE_SECONDS)

    def end(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def outcome(self) -> dict[str, Any]:
        assert self.run.state() is RunState.DONE, self.run.log_path.read_text()
        with JournalReader(self.run.journal_path) as reader:
            assert reader.integrity_check() == []
            losses = reader.metrics("loss", points=10_000)
        result = json.loads(self.run.metrics_path.read_text())
        return outcome(self.run.path, result) | {"losses": losses}


Start = Callable[[], Worked]


@pytest.fixture(scope="module")
def worker_config(write_config: Write) -> str:
    """One stage that trains for some seconds."""
    return write_config(iterations=60)


@pytest.fixture
def start(tmp_path: Path, worker_config: str) -> Iterator[Start]:
    started: list[Worked] = []

    def begin() -> Worked:
        started.append(Worked(tmp_path / "runs", worker_config))
        return started[-1]

    yield begin
    for worked in started:
        if worked.process.poll() is None:
            worked.process.kill()
            worked.process.wait()


@pytest.fixture(scope="module")
def unharmed(worker_config: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run comes to if nobody does anything to it."""
    worked = Worked(tmp_path_factory.mktemp("unharmed"), worker_config)
    assert worked.end() == 0, worked.run.log_path.read_text()
    records = Memory(worked.run.checkpoints_path).names()
    assert not [name for name in records if name.startswith("trajectories")]
    assert "stage-1-try-1" in records
    with JournalReader(worked.run.journal_path) as reader:
        memory = reader.latest()["memory"]
    assert set(memory) == {"active_bytes", "peak_bytes", "cache_bytes"}
    assert 0 < memory["active_bytes"] <= memory["peak_bytes"]
    return worked.outcome()


def test_a_run_killed_at_random_moments_ends_as_if_it_never_was(
    start: Start, unharmed: dict[str, Any]
) -> None:
    rng, worked = random.Random(0), start()
    worked.wait_for(lambda: worked.last_step() > 0)
    for _ in range(3):
        time.sleep(rng.uniform(0, 1.5))
        worked.process.kill()
        worked.process.wait()
        assert worked.run.state() in (RunState.LOST, RunState.DONE)
        worked.start()
    assert worked.end() == 0
    assert worked.outcome() == unharmed


def test_a_run_paused_freed_stopped_and_terminated_ends_as_if_it_never_was(
    start: Start, unharmed: dict[str, Any]
) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 3)
    for kind in (CommandKind.PAUSE, CommandKind.PAUSE_AND_FREE):
        assert worked.ask(kind) == "done"
        assert worked.run.state() is RunState.PAUSED
        step = worked.last_step()
        time.sleep(0.3)
        assert worked.last_step() == step
        assert worked.ask(CommandKind.RESUME) == "done"
    worked.wait_for(lambda: worked.last_step() > step)
    assert worked.ask(CommandKind.STOP) == "done"
    assert worked.end() == 143
    assert worked.run.state() is RunState.PAUSED
    assert "stage-1-try-1-training" in Memory(worked.run.checkpoints_path).names()

    worked.start()
    step = worked.last_step()
    worked.wait_for(lambda: worked.last_step() > step)
    worked.process.terminate()
    assert worked.end() == 143
    worked.start()
    assert worked.end() == 0
    assert worked.outcome() == unharmed
    pauses = [event for event in worked.events() if isinstance(event, Paused)]
    assert [pause.is_memory_freed for pause in pauses] == [False, True]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_a_run_out_of_room_waits_and_loses_nothing(start: Start, unharmed: dict[str, Any]) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 3)
    before = resource.prlimit(worked.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worked.process.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
    time.sleep(1.5)
    assert worked.process.poll() is None
    step = worked.last_step()
    time.sleep(0.5)
    assert worked.last_step() == step, "it holds still"
    resource.prlimit(worked.process.pid, resource.RLIMIT_FSIZE, before)
    assert worked.end() == 0, worked.run.log_path.read_text()
    assert worked.outcome() == unharmed
    told = [event for event in worked.events() if isinstance(event, DiskLow | Paused | Continued)]
    assert {type(event) for event in told} == {DiskLow, Paused, Continued}
    assert worked.run.ballast_path.is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_run_on_a_full_disk_says_so_waits_and_loses_nothing(
    small_disk: Path, worker_config: str, unharmed: dict[str, Any]
) -> None:
    worked = Worked(small_disk, worker_config)
    try:
        worked.wait_for(lambda: worked.last_step() > 3)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        worked.wait_for(lambda: any(isinstance(one, DiskLow) for one in worked.events()))
        assert worked.run.state() is RunState.PAUSED
        assert worked.ask(CommandKind.CHECKPOINT) == "refused", "it is there, and hears"
        assert not worked.run.ballast_path.exists(), "given up, so that this could be said"
        (low,) = (one for one in worked.events() if isinstance(one, DiskLow))
        assert low.free_bytes < 8 << 20
        filler.unlink()
        assert worked.end() == 0
        assert worked.outcome() == unharmed
        assert worked.run.ballast_path.is_file()
    finally:
        worked.process.kill()
        worked.process.wait()


def test_what_a_killed_worker_left_half_written_is_gone_at_the_next_start(
    start: Start, unharmed: dict[str, Any]
) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 0)
    worked.process.kill()
    pid = worked.process.wait() and worked.process.pid
    half = worked.run.checkpoints_path / f".stage-1-try-1-training.safetensors.tmp-{pid}"
    half.write_bytes(b"half")
    worked.start()
    assert worked.end() == 0
    assert not half.exists()
    assert worked.outcome() == unharmed


def test_a_second_sigterm_ends_the_worker_at_once(start: Start) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 0)
    os.kill(worked.process.pid, signal.SIGSTOP)
    worked.process.terminate()
    os.kill(worked.process.pid, signal.SIGCONT)
    worked.process.terminate()
    assert worked.end() in (-signal.SIGTERM, 143)
    assert worked.run.state() in (RunState.LOST, RunState.PAUSED)


def test_a_cancelled_stage_falls_back_to_the_last_accepted_student(
    write_config: Write, tmp_path: Path
) -> None:
    config = write_config(stages=2, iterations=25).replace(
        "iterations: [25]", "iterations: [3, 1000000]"
    )
    worked = Worked(tmp_path / "runs", config)
    try:
        worked.wait_for(lambda: worked.last_step() > 4)
        assert worked.ask(CommandKind.CANCEL_STAGE) == "done"
        assert worked.end() == 3, "done, the target missed"
    finally:
        worked.process.kill()
    events = worked.events()
    (answer,) = (event for event in events if isinstance(event, CommandAcknowledged))
    (rolled_back,) = (event for event in events if isinstance(event, StageRolledBack))
    assert answer.outcome == "done"
    assert (rolled_back.stage, rolled_back.to_steps) == (2, 3)
    assert any(isinstance(event, Exported) for event in events)
    assert json.loads(worked.run.metrics_path.read_text())["metrics"]["optimized_steps"] == 3


def test_a_cancelled_run_stays_so_and_keeps_no_trajectories(start: Start) -> None:
    worked = start()
    worked.wait_for(lambda: worked.last_step() > 0)
    assert worked.ask(CommandKind.CANCEL_RUN) == "done"
    assert worked.end() == 130
    assert worked.run.state() is RunState.CANCELLED
    assert not any(name.startswith("traj") for name in Memory(worked.run.checkpoints_path).names())
