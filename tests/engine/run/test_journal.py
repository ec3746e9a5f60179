"""A commit is whole and stays; a failed one leaves nothing; readers see only whole ones."""

import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import (
    Command,
    CommandKind,
    CommandQueue,
    Heartbeat,
    JournalReader,
    JournalWriter,
    RunFolder,
    RunState,
)
from engine.run.events import (
    Continued,
    Event,
    LogLine,
    Paused,
    PhaseProgressed,
    PhaseStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunResumed,
    RunStarted,
    RunStopped,
    StageAccepted,
    StageStarted,
    UnknownEvent,
)

Spawn = Callable[..., subprocess.Popen[str]]

STARTED = RunStarted(pid=1, host="here", device="cpu")


def some_event(rng: random.Random) -> Event:
    return rng.choice(
        [
            LogLine(level="INFO", text=f"line {rng.random()}"),
            PhaseProgressed(phase="train", done=rng.randrange(99), total=None),
            StageStarted(stage=rng.randrange(9), input_steps=50, output_steps=22),
            Paused(step=rng.randrange(99)),
            UnknownEvent(kind="StageDreamt", body=f'{{"depth": {rng.random()}}}'),
            StageAccepted(stage=1, attempt=1, score=rng.random(), lower_bound=0.9, threshold=0.95),
        ]
    )


@pytest.mark.parametrize("seed", range(8))
def test_any_sequence_of_operations_reads_back_in_order(run: RunFolder, seed: int) -> None:
    """Lists and dicts beside the journal are a model of it: both tell the same story."""
    rng = random.Random(seed)
    writer, reader = JournalWriter(run.journal_path), JournalReader(run.journal_path)
    queue = CommandQueue(run.journal_path)
    events = [stored.event for stored in reader.poll().events]
    latest: dict[str, object] = {}
    commands: list[Command] = []
    seen, step = list(events), 0
    after = reader.last_id
    for _ in range(60):
        match rng.randrange(7):
            case 0:
                batch = [some_event(rng) for _ in range(rng.randrange(1, 4))]
                writer.emit(*batch)
                events += batch
            case 1:
                step += rng.randrange(1, 99)
                event = some_event(rng)
                latest["note"] = {"seed": seed, "step": step}
                writer.record(
                    event, step=step, metrics={"loss": step / 7}, latest={"note": latest["note"]}
                )
                events.append(event)
                assert reader.last_values()["loss"] == (step, step / 7)
            case 2:
                commands.append(
                    Command.new(
                        rng.choice(list(CommandKind)), client="test", stage=rng.randrange(3)
                    )
                )
                assert queue.send(commands[-1])
                assert not queue.send(commands[-1])
            case 3:
                assert writer.pending() == commands
                if commands:
                    assert writer.acknowledge(commands.pop(0), "done", Continued(step=step))
                    events += [Continued(step=step), reader.facts()[-1].event]
            case 4:
                writer.close()
                writer = JournalWriter(run.journal_path)
            case 5:
                writer.shrink_wal()
            case 6:
                poll = reader.poll(after, limit=rng.randrange(1, 9))
                seen += [stored.event for stored in poll.events]
                after = poll.last_id
    while (poll := reader.poll(after, limit=5)).events:
        seen += [stored.event for stored in poll.events]
        after = poll.last_id
    assert seen == events
    assert [stored.event for stored in reader.facts()] == [
        event for event in events if not isinstance(event, LogLine | PhaseProgressed)
    ]
    assert [stored.event for stored in reader.facts(kinds=("Paused", "Continued"))] == [
        event for event in events if isinstance(event, Paused | Continued)
    ]
    lines = [event for event in events if isinstance(event, LogLine)]
    assert [stored.event for stored in reader.log_lines(5)] == lines[-5:]
    assert reader.latest().get("note") == latest.get("note")
    assert reader.integrity_check() == []
    for journal in (writer, reader, queue):
        journal.close()


def test_polls_hand_over_without_gap_or_repeat(
    writer: JournalWriter, reader: JournalReader
) -> None:
    writer.emit(*[LogLine(level="INFO", text=str(number)) for number in range(10)])
    first = reader.poll(after=1, limit=4)
    second = reader.poll(first.last_id, limit=6)
    assert first.has_more
    assert not second.has_more
    texts = [stored.event.text for stored in first.events + second.events]  # pyright: ignore[reportAttributeAccessIssue]
    assert texts == [str(number) for number in range(10)]
    assert reader.poll(second.last_id).last_id == second.last_id


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (STARTED, RunState.RUNNING),
        (RunResumed(pid=1, host="h", device="cpu", step=5, checkpoint=None), RunState.RUNNING),
        (Paused(step=1), RunState.PAUSED),
        (Continued(step=1), RunState.RUNNING),
        (RunStopped(step=1, reason="asked"), RunState.PAUSED),
        (RunFailed(error="TrainingError", message="diverged"), RunState.FAILED),
        (RunCancelled(step=1, cancelled_by="me"), RunState.CANCELLED),
        (
            RunFinished(
                result="4 steps", exit_code=0, optimized_steps=4, score=1, lower_bound=1, seconds=9
            ),
            RunState.DONE,
        ),
    ],
)
def test_an_event_and_its_state_stand_in_one_commit(
    writer: JournalWriter, reader: JournalReader, event: Event, state: RunState
) -> None:
    assert reader.latest()["state"] == RunState.QUEUED
    writer.emit(event)
    assert reader.latest()["state"] == state


def test_the_newest_phase_event_is_at_hand(writer: JournalWriter, reader: JournalReader) -> None:
    writer.emit(PhaseStarted(phase="cache", total=9))
    writer.emit(PhaseProgressed(phase="cache", done=3, total=9))
    assert reader.latest()["phase"]["done"] == 3


def test_a_commit_that_fails_half_way_leaves_nothing(
    writer: JournalWriter, reader: JournalReader
) -> None:
    before = reader.poll()
    with pytest.raises(TypeError):
        writer.record(STARTED, step=1, metrics={"loss": 1.0}, latest={"bad": object()})
    assert reader.poll() == before
    assert reader.last_values() == {}
    writer.record(STARTED, step=1, metrics={"loss": 1.0})
    assert reader.last_values() == {"loss": (1, 1.0)}


def test_readers_see_whole_steps_only(run: RunFolder, spawn: Spawn) -> None:
    """Each step writes one number under four names, in an event and in latest: they agree."""
    process = spawn(
        """
        import sys, pathlib
        from engine.run import JournalWriter
        from engine.run.events import LogLine
        with JournalWriter(pathlib.Path(sys.argv[1])) as writer:
            for step in range(100_000):
                writer.record(LogLine(level="INFO", text=str(step)), step=step,
                              metrics=dict.fromkeys("abcd", step), latest={"step": step})
                if step == 0:
                    print("writing", flush=True)
        """,
        run.journal_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    with JournalReader(run.journal_path) as reader:
        for _ in range(300):
            with reader.snapshot():
                latest, values, (line,) = reader.latest(), reader.last_values(), reader.log_lines(1)
                points = reader.metrics("a", 50)
            step = latest["step"]
            assert values == dict.fromkeys("abcd", (step, step))
            assert line.event == LogLine(level="INFO", text=str(step))
            assert sum(point.n for point in points) == step + 1
    assert process.poll() is None


def test_a_snapshot_holds_still_while_the_writer_goes_on(
    writer: JournalWriter, reader: JournalReader
) -> None:
    with reader.snapshot():
        before = reader.last_id
        writer.emit(STARTED)
        assert reader.last_id == before
    assert reader.last_id == before + 1


def test_kill_9_loses_no_acknowledged_commit(run: RunFolder, spawn: Spawn) -> None:
    """What the writer had reported as written before it was killed is there, and it goes on."""
    rng = random.Random(0)
    for _ in range(5):
        process = spawn(
            """
            import sys, pathlib
            from engine.run import JournalWriter, Heartbeat
            from engine.run.events import LogLine
            with JournalWriter(pathlib.Path(sys.argv[1])) as writer, Heartbeat(writer, 0.01):
                step = -1 if writer.last_step is None else writer.last_step
                while True:
                    step += 1
                    writer.record(LogLine(level="INFO", text=str(step)), step=step,
                                  metrics={"a": step, "b": step})
                    sys.stdout.write(f"{step}\\n")
                    sys.stdout.flush()
            """,
            run.journal_path,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        acknowledged = [
            line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")
        ]
        process.wait()
        with JournalReader(run.journal_path) as reader:
            assert reader.integrity_check() == []
            values = reader.last_values()
            last = values["a"][0]
            assert values == {"a": (last, last), "b": (last, last)}
            assert last >= int(acknowledged[-1] if acknowledged else 0)
            assert len(reader.log_lines(1 << 30)) == last + 1


def test_a_full_disk_raises_loses_nothing_and_ends_when_there_is_room(
    run: RunFolder, spawn: Spawn
) -> None:
    process = spawn(
        """
        import pathlib, resource, sys
        from engine.run import JournalFull, JournalReader, JournalWriter, Heartbeat
        path = pathlib.Path(sys.argv[1])
        with JournalWriter(path) as writer:
            for step in range(50):
                writer.record_metrics(step, {"loss": step})
            wal = path.with_name(path.name + "-wal")
            no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 50_000, no_limit[1]))
            refused = 0
            for attempt in range(300):
                try:
                    writer.record_metrics(step + 1, {"loss": step + 1, f"new {step}": 0.0})
                    step += 1
                except JournalFull as error:
                    refused += 1
                    assert "MB are free" in str(error), error
                    if refused == 3:
                        break
            assert refused == 3, refused
            beats = 0
            while writer.heartbeat():  # small ones still fit, then it says no and does not raise
                beats += 1
            assert beats < 50
            with JournalReader(path) as reader:
                assert reader.last_values()["loss"] == (step, step), reader.last_values()
                assert f"new {step}" not in reader.metric_names()
            resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
            for step in range(step + 1, step + 200):
                writer.record_metrics(step, {"loss": step})
            assert writer.heartbeat()
        with JournalReader(path) as reader:
            assert reader.integrity_check() == []
            assert sum(point.n for point in reader.metrics("loss", 10)) == step + 1
        print("whole")
        """,
        run.journal_path,
    )
    assert process.communicate()[0] == "whole\n"
    assert process.returncode == 0


def test_threads_of_the_worker_share_the_writer(run: RunFolder) -> None:
    with JournalWriter(run.journal_path) as writer, JournalReader(run.journal_path) as reader:
        threads = [
            threading.Thread(
                target=lambda: [writer.emit(LogLine(level="INFO", text="x")) for _ in range(100)]
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for step in range(100):
            writer.record_metrics(step, {"loss": 0.0})
        for thread in threads:
            thread.join()
        assert len(reader.log_lines(1000)) == 400
        assert reader.last_values()["loss"] == (99, 0.0)


def test_the_heartbeat_beats_by_itself_and_the_engine_signs_off(run: RunFolder) -> None:
    with JournalReader(run.journal_path) as reader:
        with JournalWriter(run.journal_path) as writer:
            writer.begin_engine()
            assert reader.latest()["engine"]["pid"] == os.getpid()
            first = reader.latest()["heartbeat"]
            with Heartbeat(writer, every_seconds=0.005):
                while reader.latest()["heartbeat"] == first:
                    time.sleep(0.005)
        assert "engine" not in reader.latest()


def test_a_log_line_is_no_progress(writer: JournalWriter, reader: JournalReader) -> None:
    writer.emit(STARTED)
    progress = reader.latest()["progress"]
    writer.emit(LogLine(level="INFO", text="still here"))
    assert reader.latest()["progress"] == progress
    writer.record(step=3)
    writer.heartbeat()
    assert reader.latest()["progress"][2] == 3


def test_durable_commits_are_synced_and_steps_are_not(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FULL is asked for before, and only for, what a power cut must not take."""
    asked: list[bool] = []
    monkeypatch.setattr(
        "engine.run.journal.set_durable", lambda connection, *, is_durable: asked.append(is_durable)
    )
    writer.record_metrics(1, {"loss": 1.0})
    writer.emit(LogLine(level="INFO", text="x"))
    assert asked == []
    writer.emit(StageAccepted(stage=1, attempt=1, score=1.0, lower_bound=1.0, threshold=0.95))
    assert asked == [True, False]


def test_a_reader_cannot_write(reader: JournalReader, run: RunFolder) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("delete from event")


def test_a_journal_has_a_place_in_any_path(tmp_path: Path) -> None:
    odd = RunFolder.create(tmp_path / "a ü #%?&", "", name="r", mounts=[])
    with JournalWriter(odd.journal_path) as writer, JournalReader(odd.journal_path) as reader:
        writer.emit(STARTED)
        assert reader.facts()[-1].event == STARTED
