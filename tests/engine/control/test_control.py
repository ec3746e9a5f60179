"""How a working engine is steered: what each command does, when, and what is written of it."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine import control as control_module
from engine.control import Control
from engine.errors import Cancelled
from engine.interruptions import CancelStage, FreeMemory, RetryStage, StopWork
from engine.run import Command, CommandKind, CommandQueue, JournalReader, JournalWriter, RunFolder
from engine.run.events import (
    CheckpointSaved,
    CommandAcknowledged,
    Continued,
    Paused,
    PhaseProgressed,
    StageRolledBack,
    TryStarted,
)
from tests.engine.control.steered import (
    Ask,
    Saves,
    answers,
    events,
    send_later,
    soon,
    written_state,
)


def test_nothing_asked_nothing_done(control: Control, run: RunFolder, save: Saves) -> None:
    before = events(run)
    control.between_steps(save)
    assert events(run) == before
    assert save.count == 0


def test_a_pause_is_answered_at_the_next_look_and_holds_until_a_resume(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    pause = ask("pause")
    thread = send_later(run, "resume")
    control.between_steps(save)
    thread.join()
    assert answers(run)[pause] == "done"
    kinds = [type(event) for event in events(run)]
    assert kinds.index(Paused) < kinds.index(Continued)
    assert written_state(run) == "running"


def test_a_run_paused_in_the_queue_is_queued_again_when_it_is_resumed(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    control.has_turn = control.is_working = False
    ask("pause-and-free")
    send_later(run, "resume").join()
    control.between_steps()
    assert written_state(run) == "queued"


def test_commands_are_obeyed_during_a_pause(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    ask("pause")
    again, keep, cancel = ask("pause"), ask("checkpoint"), ask("cancel-run")
    with pytest.raises(Cancelled):
        control.between_steps(save)
    assert [answers(run)[one] for one in (again, keep, cancel)] == ["done"] * 3
    assert save.count == 1
    assert written_state(run) == "cancelled"


def test_another_try_ends_a_pause(control: Control, run: RunFolder, ask: Ask, save: Saves) -> None:
    ask("pause")
    ask("retry-stage")
    with pytest.raises(RetryStage):
        control.between_steps(save)
    assert written_state(run) == "running"


def test_commands_that_a_pause_took_in_are_not_obeyed_again(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    for kind in ("pause", "pause", "checkpoint", "resume"):
        ask(kind)
    control.between_steps(save)
    assert save.count == 1
    assert list(answers(run).values()) == ["done"] * 4
    assert written_state(run) == "running"


def test_a_resume_of_what_is_not_paused_is_refused(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    resume = ask("resume")
    control.between_steps()
    assert answers(run)[resume] == "refused"


def test_freeing_memory_keeps_the_training_and_leaves_the_answer_to_the_worker(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    command = ask("pause-and-free")
    with pytest.raises(FreeMemory) as freed:
        control.between_steps(save)
    assert freed.value.command.id == command
    assert save.count == 1
    assert command not in answers(run)


def test_freeing_memory_twice_is_being_paused_already(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    control.is_working = False
    again = ask("pause-and-free")
    thread = send_later(run, "resume")
    control.wait_for_resume()
    thread.join()
    assert answers(run)[again] == "done"


@pytest.mark.parametrize(
    ("kind", "interruption"), [("cancel-stage", CancelStage), ("retry-stage", RetryStage)]
)
def test_a_stage_is_left_only_while_it_is_trained(
    control: Control,
    run: RunFolder,
    ask: Ask,
    save: Saves,
    kind: str,
    interruption: type[Exception],
) -> None:
    early = ask(kind)
    control.between_steps(None)
    assert answers(run)[early] == "refused"
    ask(kind)
    with pytest.raises(interruption):
        control.between_steps(save)


def test_a_command_for_another_stage_comes_too_late(
    control: Control, run: RunFolder, journal: JournalWriter, save: Saves
) -> None:
    start = TryStarted(
        stage=2,
        attempt=1,
        remedy="as planned",
        iterations=5,
        learning_rate=0.1,
        grid_name="uniform",
    )
    control.emit(start)
    with CommandQueue(run.journal_path) as queue:
        late, right = (
            Command.new(CommandKind.CANCEL_STAGE, client="a test", stage=stage) for stage in (1, 2)
        )
        queue.send(late)
        queue.send(right)
    with pytest.raises(CancelStage):
        control.between_steps(save)
    assert answers(run) == {late.id: "superseded"}
    control.emit(StageRolledBack(stage=2, to_steps=50, reason="cancelled"))
    assert answers(run)[right.id] == "done"


def test_memory_is_told_of_once_a_second_with_what_is_written_anyway(
    control: Control, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, count = [0.0], [0]

    def measure() -> dict[str, int]:
        count[0] += 1
        return {"active_bytes": count[0]}

    control.measure_memory = measure
    monkeypatch.setattr(control_module.time, "monotonic", lambda: clock[0])
    for step in range(1, 9):
        clock[0] = 0.3 * step
        control.record(step, {"loss": 1.0})
    assert count == [2]
    clock[0] = 10
    control.emit(PhaseProgressed(phase="gate", done=1, total=2))
    with JournalReader(run.journal_path) as reader:
        assert reader.latest()["memory"] == {"active_bytes": 3}


def test_the_answer_to_a_stage_s_end_is_written_with_what_came_of_it(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    command = ask("cancel-stage")
    with pytest.raises(CancelStage):
        control.between_steps(save)
    assert command not in answers(run), "nothing has come of it yet"
    control.emit(StageRolledBack(stage=1, to_steps=50, reason="cancelled"))
    assert answers(run)[command] == "done"
    assert sum(isinstance(event, StageRolledBack) for event in events(run)) == 1


def test_stop_keeps_the_training_first(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    stop = ask("stop")
    with pytest.raises(StopWork, match="a test"):
        control.between_steps(save)
    assert save.count == 1
    assert answers(run)[stop] == "done"
    assert written_state(run) == "stopping"


def test_a_command_of_a_newer_client_is_refused_by_name(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    command = ask("dance")
    control.between_steps()
    (answer,) = (e for e in events(run) if isinstance(e, CommandAcknowledged))
    assert (answer.command_id, answer.outcome) == (command, "refused")
    assert "dance" in answer.detail


def test_a_checkpoint_is_told_of_once(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    ask("checkpoint")
    control.between_steps(save)
    assert save.count == 1
    assert sum(isinstance(event, CheckpointSaved) for event in events(run)) == 1


def test_checkpoints_are_kept_in_time(run: RunFolder, journal: JournalWriter, save: Saves) -> None:
    control = Control(run, journal, checkpoint_seconds=0)
    control.between_steps(None)
    control.between_steps(save)
    control.between_steps(save)
    assert save.count == 2


def test_one_sigterm_keeps_the_training_and_stops(control: Control, save: Saves) -> None:
    control.listen_for_signals()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGHUP)
    with pytest.raises(StopWork, match="SIGTERM"):
        control.between_steps(save)
    assert save.count == 1


def test_a_sigterm_ends_a_pause(control: Control, ask: Ask, save: Saves) -> None:
    control.listen_for_signals()
    ask("pause")
    thread = soon(lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(StopWork):
        control.between_steps(save)
    thread.join()


def test_what_is_asked_of_an_ending_worker_is_refused(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    commands = [ask("pause"), ask("cancel-run")]
    control.refuse_the_rest("the run is done")
    assert [answers(run)[one] for one in commands] == ["refused", "refused"]


def test_of_two_clients_commands_none_is_lost_or_doubled(
    control: Control, run: RunFolder, save: Saves
) -> None:
    kinds = [CommandKind.PAUSE, CommandKind.RESUME, CommandKind.CHECKPOINT, CommandKind.RETRY_STAGE]
    sent: list[str] = []
    is_over = threading.Event()

    def client(seed: int) -> None:
        rng = random.Random(seed)
        with CommandQueue(run.journal_path) as queue:
            for _ in range(25):
                command = Command.new(rng.choice(kinds), client=f"client {seed}")
                queue.send(command)
                sent.append(command.id)
                time.sleep(rng.uniform(0, 0.01))

    def release() -> None:
        with CommandQueue(run.journal_path) as queue:
            while not is_over.wait(0.1):
                command = Command.new(CommandKind.RESUME, client="the last")
                queue.send(command)
                sent.append(command.id)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in (1, 2)]
    releaser = threading.Thread(target=release)
    for thread in (*threads, releaser):
        thread.start()
    while any(thread.is_alive() for thread in threads) or control.journal.pending():
        try:
            control.between_steps(save)
        except RetryStage:
            control.emit(StageRolledBack(stage=1, to_steps=50, reason="as an answer"))
    is_over.set()
    releaser.join()
    control.refuse_the_rest("over")
    counts = Counter(e.command_id for e in events(run) if isinstance(e, CommandAcknowledged))
    assert counts == Counter(sent)
    assert written_state(run) == "running"


def test_a_pause_lets_go_of_what_it_is_told_to_let_go_of(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    told: list[str] = []

    @contextmanager
    def held() -> Iterator[None]:
        told.append("let go")
        yield
        told.append("taken again")

    control.while_held = held
    ask("pause")
    ask("resume")
    control.between_steps()
    assert told == ["let go", "taken again"]
