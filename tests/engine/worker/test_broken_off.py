"""Runs that are left and taken up within this process: the same bytes come out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from engine.config import parse_config
from engine.interruptions import RetryStage
from engine.memory import Memory
from engine.run.events import CheckpointSaved, PhaseStarted
from tests.engine.worker.within import BrokenOff, Listener, Write, optimize, outcome


@pytest.mark.usefixtures("eager", "few_candidates", "no_charts")
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


@pytest.mark.usefixtures("eager", "few_candidates", "no_charts")
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


@pytest.mark.usefixtures("eager", "few_candidates", "no_charts")
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


@pytest.mark.usefixtures("eager", "few_candidates", "no_charts")
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
