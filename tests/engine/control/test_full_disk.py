"""A full disk: said, waited for, steered all the same, left behind."""

import errno
import signal
import time
from collections.abc import Callable

import pytest

from engine.control import Control
from engine.errors import Cancelled
from engine.interruptions import StopWork
from engine.run import (
    Command,
    CommandKind,
    CommandQueue,
    DiskFull,
    JournalFull,
    JournalReader,
    JournalWriter,
    RunFolder,
)
from engine.run.events import CheckpointSaved, Continued, DiskLow, Paused, RunFinished
from tests.engine.control.steered import (
    Ask,
    Saves,
    answers,
    events,
    send_later,
    soon,
    written_state,
)


def failing(times: int, error: Exception) -> Callable[[], str]:
    """Return a function that fails some times before it returns."""
    left = [times]

    def write() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "written"

    return write


@pytest.mark.parametrize(
    "error", [DiskFull("no room"), OSError(errno.ENOSPC, "full"), OSError(errno.EFBIG, "too big")]
)
def test_a_full_disk_is_said_once_waited_for_and_left_behind(
    control: Control, run: RunFolder, error: Exception
) -> None:
    assert control.with_room(failing(3, error)) == "written"
    told = [type(event) for event in events(run)]
    assert told[-3:] == [DiskLow, Paused, Continued]
    assert told.count(Paused) == 1
    assert run.ballast_path.is_file(), "the reserve is set aside again"
    assert written_state(run) == "running"


def test_no_file_knows_of_a_step_that_the_journal_does_not(
    control: Control, run: RunFolder
) -> None:
    seen: list[int] = []

    def write() -> None:
        with JournalReader(run.journal_path) as reader:
            seen.append(reader.last_values()["loss"][0])

    for step in (1, 2, 3):
        control.record(step, {"loss": 1.0})
    control.with_room(write)
    assert seen == [3]


def test_an_end_that_had_no_room_is_the_last_word(
    control: Control, run: RunFolder, journal: JournalWriter
) -> None:
    end = RunFinished(result="", exit_code=0, optimized_steps=4, score=1, lower_bound=1, seconds=1)
    refuse = failing(1, JournalFull("no room"))
    control.with_room(lambda: (refuse(), journal.emit(end)))
    assert written_state(run) == "done"


def test_a_cancel_is_obeyed_while_the_disk_is_full(
    control: Control, run: RunFolder, journal: JournalWriter, ask: Ask
) -> None:
    thread = send_later(run, "cancel-run")
    with pytest.raises(Cancelled):
        control.with_room(failing(10**9, DiskFull("no room")))
    thread.join()
    assert list(answers(run).values()) == ["done"]
    assert written_state(run) == "cancelled"


def test_a_stop_is_obeyed_while_the_disk_is_full(control: Control, run: RunFolder) -> None:
    thread = send_later(run, "stop")
    with pytest.raises(StopWork, match="while the disk was full"):
        control.with_room(failing(10**9, DiskFull("no room")))
    thread.join()
    assert list(answers(run).values()) == ["done"]


def test_what_needs_room_is_refused_until_there_is_some(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    kinds = ("checkpoint", "pause-and-free", "cancel-stage", "retry-stage", "resume")
    commands = [ask(kind) for kind in kinds]
    assert control.with_room(failing(2, DiskFull("no room"))) == "written"
    assert [answers(run)[one] for one in commands] == ["refused"] * 5
    assert written_state(run) == "running"


def test_a_pause_asked_for_on_a_full_disk_outlasts_it(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    pause = ask("pause")
    control.with_room(failing(2, DiskFull("no room")))
    assert answers(run)[pause] == "done"
    thread = send_later(run, "resume")
    control.between_steps(save)
    thread.join()
    told = [type(event) for event in events(run) if isinstance(event, Paused | Continued)]
    assert told == [Paused, Continued, Paused, Continued]
    control.between_steps(save)  # it does not hold a second time


def test_a_pause_taken_back_on_a_full_disk_holds_nobody(
    control: Control, run: RunFolder, ask: Ask, save: Saves
) -> None:
    ask("pause")
    ask("resume")
    control.with_room(failing(2, DiskFull("no room")))
    assert list(answers(run).values()) == ["done", "done"]
    control.between_steps(save)
    assert written_state(run) == "running"


def test_a_disk_that_fills_during_a_pause_does_not_end_it(
    control: Control, run: RunFolder, ask: Ask
) -> None:
    fail = failing(2, DiskFull("no room"))
    states: list[str] = []

    def keep() -> CheckpointSaved:
        fail()
        return CheckpointSaved(path="checkpoints/x", step=3, size_bytes=1)

    def resume_once_there_is_room() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (
            answers(run).get(checkpoint) and any(isinstance(e, Continued) for e in events(run))
        ):
            time.sleep(0.01)
        states.append(written_state(run))
        with CommandQueue(run.journal_path) as queue:
            queue.send(Command.new(CommandKind.RESUME, client="a test"))

    ask("pause")
    checkpoint = ask("checkpoint")
    thread = soon(resume_once_there_is_room)
    control.between_steps(keep)
    thread.join()
    assert states == ["paused"]
    assert list(answers(run).values()) == ["done"] * 3
    assert written_state(run) == "running"


def test_another_error_of_the_system_is_no_full_disk(control: Control) -> None:
    with pytest.raises(PermissionError):
        control.with_room(failing(1, PermissionError(errno.EACCES, "no")))


def test_a_sigterm_ends_the_wait_for_room(control: Control) -> None:
    control.listen_for_signals()
    thread = soon(lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(StopWork):
        control.with_room(failing(10**9, DiskFull("no room")))
    thread.join()


def test_a_look_for_commands_that_finds_no_room_does_not_end_the_run(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> list[Command]:
        raise JournalFull("no room for the shared index")

    monkeypatch.setattr(control.journal, "pending", full)
    control.between_steps()
