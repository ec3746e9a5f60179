"""Settings that change while a run is at work: which, and how they reach the worker."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config import config_to_yaml, load_config, parse_config
from engine.control import Control
from engine.errors import ConfigError, RunError
from engine.live_settings import live_changes, live_keys, told
from engine.run import (
    Command,
    CommandKind,
    CommandQueue,
    JournalReader,
    JournalWriter,
    RunFolder,
    steering,
)
from engine.run.events import CommandAcknowledged, RunCancelled, RunStarted
from engine.run.lock import FileLock
from engine.worker import Worker

TEXT = config_to_yaml(load_config("smoke"))
LIVE = TEXT.replace("checkpoint_seconds: 300.0", "checkpoint_seconds: 60.0").replace(
    "on_finish: null", "on_finish: 'true'"
)
FIXED = TEXT.replace("learning_rate: 0.001", "learning_rate: 0.002")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))
    return RunFolder.create(tmp_path / "runs", TEXT, name="digits", mounts=[])


@pytest.fixture
def journal(run: RunFolder) -> Iterator[JournalWriter]:
    with JournalWriter(run.journal_path) as journal:
        journal.begin_engine()
        journal.emit(RunStarted(pid=1, host="h", device="d", engine_version="0"))
        yield journal


@pytest.fixture
def ask(run: RunFolder) -> Callable[[Control], CommandAcknowledged]:
    """Let the settings be taken up, and return the answer."""

    def asked(control: Control) -> CommandAcknowledged:
        with CommandQueue(run.journal_path) as queue:
            queue.send(Command.new(CommandKind.TAKE_SETTINGS, client="test"))
        control.between_steps()
        with JournalReader(run.journal_path) as reader:
            answers = [stored.event for stored in reader.facts()]
        return next(one for one in reversed(answers) if isinstance(one, CommandAcknowledged))

    return asked


def test_the_process_of_a_run_is_what_may_change() -> None:
    assert live_keys() == ["run.checkpoint_seconds", "run.keep_awake", "run.on_finish"]
    old, new = parse_config(TEXT, "old"), parse_config(LIVE, "new")
    changes = live_changes(old, new)
    assert told(changes) == "run.checkpoint_seconds 300.0 -> 60.0, run.on_finish None -> true"
    assert live_changes(old, old) == {}
    with pytest.raises(
        ConfigError, match=r"training\.learning_rate cannot change .* Start another"
    ):
        live_changes(old, parse_config(FIXED, "new"))


def test_a_worker_takes_them_up_and_answers_with_what_changed(
    run: RunFolder, journal: JournalWriter, ask: Callable[[Control], CommandAcknowledged]
) -> None:
    worker = Worker(run, journal)
    config = worker._read_settings()
    worker.control.take_settings = lambda: worker._take_settings(config)
    run.config_path.write_text(LIVE)
    answer = ask(worker.control)
    assert (answer.outcome, answer.detail) == ("done", told(live_changes(
        parse_config(TEXT, "old"), parse_config(LIVE, "new"))))  # fmt: skip
    assert worker.control.checkpoint_seconds == 60.0
    assert worker.settings.on_finish == "true"
    assert ask(worker.control).detail == "nothing had changed"


@pytest.mark.parametrize("text", [FIXED, "model_path: [", "training: {batch_size: 0}"])
def test_what_cannot_change_is_refused_and_the_worker_goes_on_as_before(
    run: RunFolder,
    journal: JournalWriter,
    ask: Callable[[Control], CommandAcknowledged],
    text: str,
) -> None:
    worker = Worker(run, journal)
    config = worker._read_settings()
    worker.control.take_settings = lambda: worker._take_settings(config)
    run.config_path.write_text(text.replace("checkpoint_seconds: 300.0", "checkpoint_seconds: 9.0"))
    answer = ask(worker.control)
    assert answer.outcome == "refused"
    assert answer.detail
    assert worker.control.checkpoint_seconds == 300.0


def test_before_the_run_has_begun_there_is_nothing_to_take_up(
    run: RunFolder, journal: JournalWriter, ask: Callable[[Control], CommandAcknowledged]
) -> None:
    answer = ask(Control(run, journal, checkpoint_seconds=1))
    assert (answer.outcome, answer.detail) == ("refused", "the run has not begun")


def test_a_client_writes_them_and_tells_the_worker(run: RunFolder, journal: JournalWriter) -> None:
    lock = FileLock(run.lock_path)
    assert lock.try_take(run.name)
    with lock:
        assert steering.change_settings(run, TEXT + "# only a comment\n", client="test") is None
        command = steering.change_settings(run, LIVE, client="test")
        assert command is not None
        assert command.kind == CommandKind.TAKE_SETTINGS
        assert run.config_path.read_text() == LIVE
        with pytest.raises(ConfigError, match=r"training\.learning_rate cannot change"):
            steering.change_settings(run, FIXED, client="test")
        assert run.config_path.read_text() == LIVE


def test_a_client_writes_nothing_over_what_it_has_not_seen(
    run: RunFolder, journal: JournalWriter
) -> None:
    theirs = LIVE + "# theirs\n"
    run.config_path.write_text(theirs)
    with pytest.raises(ConfigError, match=r"config\.yaml: somebody else wrote it"):
        steering.change_settings(run, LIVE, client="test", based_on=TEXT)
    assert run.config_path.read_text() == theirs
    assert steering.change_settings(run, LIVE, client="test", based_on=theirs) is None
    assert run.config_path.read_text() == LIVE, "a comment is written too, and no news to a worker"


def test_settings_that_are_not_utf_8_are_told_and_left(
    run: RunFolder, journal: JournalWriter
) -> None:
    theirs = TEXT.encode() + b"# \xff\n"
    run.config_path.write_bytes(theirs)
    with pytest.raises(ConfigError, match=rf"config\.yaml: .*not UTF-8 at byte {len(theirs) - 2}"):
        steering.change_settings(run, LIVE, client="test")
    assert run.config_path.read_bytes() == theirs


def test_without_a_worker_they_wait_in_the_file(run: RunFolder, journal: JournalWriter) -> None:
    assert steering.change_settings(run, LIVE, client="test") is None
    assert run.config_path.read_text() == LIVE
    journal.emit(RunCancelled(step=0, cancelled_by="someone"))
    with pytest.raises(RunError, match="is cancelled; start another"):
        steering.change_settings(run, TEXT, client="test")
