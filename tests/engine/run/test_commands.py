"""Clients ask, the worker answers: nothing is lost or done twice, and it is known who asked."""

import os
import subprocess
import time
from collections.abc import Callable

import pytest

from engine.run import Command, CommandKind, CommandQueue, JournalReader, JournalWriter, RunFolder
from engine.run.events import CommandAcknowledged, Paused
from engine.run.wal import Wal

Spawn = Callable[..., subprocess.Popen[str]]


def test_a_command_says_who_asked(run: RunFolder) -> None:
    command = Command.new(CommandKind.PAUSE, client="diffopt-tui")
    who, pid, client = command.issued_by.split()
    assert "@" in who
    assert (int(pid), client) == (os.getpid(), "diffopt-tui")


def test_a_word_that_is_no_command_is_not_one() -> None:
    with pytest.raises(ValueError, match="explode"):
        Command.new("explode", client="test")  # pyright: ignore[reportArgumentType]


def test_sending_a_command_twice_is_sending_it_once(run: RunFolder, writer: JournalWriter) -> None:
    command = Command.new(CommandKind.PAUSE, client="test")
    with CommandQueue(run.journal_path) as one, CommandQueue(run.journal_path) as other:
        assert one.send(command)
        assert not other.send(command)
        assert not one.send(command)
    assert writer.pending() == [command]


def test_a_second_pause_is_a_command_of_its_own(run: RunFolder, writer: JournalWriter) -> None:
    with CommandQueue(run.journal_path) as queue:
        pauses = [Command.new(CommandKind.PAUSE, client="test") for _ in range(2)]
        assert [queue.send(pause) for pause in pauses] == [True, True]
        assert writer.pending() == pauses
        for pause in pauses:
            assert writer.acknowledge(pause, "done")
        assert [queue.outcome_of(pause.id) for pause in pauses] == ["done", "done"]
        assert writer.pending() == []


@pytest.mark.parametrize(("is_clock_coarse", "seconds"), [(False, 1e9), (True, 0.0)])
def test_a_look_at_every_step_finds_what_was_written_since_the_last(
    run: RunFolder,
    writer: JournalWriter,
    monkeypatch: pytest.MonkeyPatch,
    is_clock_coarse: bool,
    seconds: float,
) -> None:
    """By the WAL's time; and by asking now and then, where two writes share a tick."""
    monkeypatch.setattr("engine.run.journal._LOOK_SECONDS", seconds)
    if is_clock_coarse:
        monkeypatch.setattr(Wal, "mark", lambda _: (1, 1))
    assert writer.pending() == writer.pending() == []
    with CommandQueue(run.journal_path) as queue:
        for kind in (CommandKind.PAUSE, CommandKind.RESUME):
            command = Command.new(kind, client="test")
            time.sleep(0.02)  # a tick of the file system's clock, and more
            queue.send(command)
            assert writer.pending() == writer.pending() == [command], "until it is answered"
            writer.acknowledge(command, "done")
            assert writer.pending() == []


def test_an_answer_stands_in_one_commit_with_what_came_of_it(
    run: RunFolder, writer: JournalWriter, reader: JournalReader
) -> None:
    command = Command.new(CommandKind.PAUSE, client="test", stage=2)
    with CommandQueue(run.journal_path) as queue:
        queue.send(command)
        assert queue.outcome_of(command.id) is None
    assert writer.acknowledge(command, "done", Paused(step=7), detail="after step 7")
    paused, answer = reader.facts()[-2:]
    assert paused.event == Paused(step=7)
    assert answer.event == CommandAcknowledged(
        command_id=command.id,
        command="pause",
        outcome="done",
        issued_by=command.issued_by,
        detail="after step 7",
        stage=2,
    )
    (record,) = reader.commands()
    assert (record.command, record.outcome, record.event_id) == (command, "done", answer.id)


def test_a_command_is_answered_once(
    run: RunFolder, writer: JournalWriter, reader: JournalReader
) -> None:
    """As after a worker that was killed between acting and forgetting."""
    command = Command.new(CommandKind.CHECKPOINT, client="test")
    with CommandQueue(run.journal_path) as queue:
        queue.send(command)
    assert writer.acknowledge(command, "done")
    before = reader.last_id
    assert not writer.acknowledge(command, "refused", Paused(step=1))
    assert reader.last_id == before
    assert reader.commands()[0].outcome == "done"


def test_a_newer_client_s_word_reaches_the_worker(run: RunFolder, writer: JournalWriter) -> None:
    with CommandQueue(run.journal_path) as queue:
        queue.send(Command("0" * 32, "levitate", None, 0.0, "me@here 1 newer"))
    (command,) = writer.pending()
    assert command.kind == "levitate"
    assert writer.acknowledge(command, "refused", detail="this engine does not know it")


def test_waiting_for_an_answer_ends_with_it_or_with_patience(
    run: RunFolder, writer: JournalWriter
) -> None:
    command = Command.new(CommandKind.STOP, client="test")
    with CommandQueue(run.journal_path) as queue:
        queue.send(command)
        assert queue.wait_for(command.id, timeout_seconds=0.0) is None
        assert queue.wait_for(command.id, timeout_seconds=60.0, should_go_on=lambda: False) is None
        writer.acknowledge(command, "done")
        assert queue.wait_for(command.id, timeout_seconds=60.0) == "done"


def test_racing_clients_lose_and_double_nothing(run: RunFolder, spawn: Spawn) -> None:
    """Two clients send at will, each command twice, while the worker answers and writes steps."""
    client = """
        import pathlib, random, sys
        from engine.run import Command, CommandKind, CommandQueue
        rng = random.Random(int(sys.argv[2]))
        with CommandQueue(pathlib.Path(sys.argv[1])) as queue:
            for _ in range(60):
                command = Command.new(rng.choice(list(CommandKind)), client=sys.argv[2])
                assert queue.send(command) and not queue.send(command)
                print(command.id, command.kind, flush=True)
    """
    with JournalWriter(run.journal_path) as writer:
        clients = [spawn(client, run.journal_path, number) for number in (1, 2)]
        answered: list[Command] = []
        step = 0
        while any(process.poll() is None for process in clients) or writer.pending():
            step += 1
            writer.record_metrics(step, {"loss": 1.0})
            for command in writer.pending():
                assert writer.acknowledge(command, "done")
                answered.append(command)
    sent = []
    for process in clients:
        mine = [tuple(line.split()) for line in process.communicate()[0].splitlines()]
        assert process.returncode == 0
        assert len(mine) == 60
        # each client's commands were obeyed in the order in which it sent them
        assert [pair for pair in ((c.id, c.kind) for c in answered) if pair in mine] == mine
        sent += mine
    assert sorted((command.id, command.kind) for command in answered) == sorted(sent)
    with JournalReader(run.journal_path) as reader:
        answers = [
            stored.event.command_id
            for stored in reader.facts()
            if isinstance(stored.event, CommandAcknowledged)
        ]
        assert answers == [command.id for command in answered]
        assert all(record.outcome == "done" for record in reader.commands(limit=1000))
