"""A run folder is there whole or not at all, and one that could not be leaves nothing."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.files import temporary_name
from engine.run import JournalReader, RunFolder, find_run, list_runs, start_worker
from engine.run.events import RunQueued
from engine.run.mounts import Mount

Spawn = Callable[..., subprocess.Popen[str]]


def make(root: Path, **options: str | None) -> RunFolder:
    return RunFolder.create(root, "seed: 0\n", mounts=[], **options)  # pyright: ignore[reportArgumentType]


def test_a_new_run_has_its_config_its_journal_and_its_reserve(tmp_path: Path) -> None:
    run = make(tmp_path / "far" / "runs", label="digits")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{4}-digits", run.name)
    assert run.config_path.read_text() == "seed: 0\n"
    assert run.ballast_path.stat().st_size == 4 << 20
    assert all(path.is_dir() for path in (run.checkpoints_path, run.samples_path, run.export_path))
    with JournalReader(run.journal_path) as reader:
        (queued,) = reader.facts()
    assert isinstance(queued.event, RunQueued)
    assert queued.event.label == "digits"
    assert RunFolder.open(run.path) == run
    assert list((tmp_path / "far" / "runs").iterdir()) == [run.path]


def test_runs_of_one_minute_get_names_of_their_own(tmp_path: Path) -> None:
    names = {make(tmp_path, label="a/b: c").name for _ in range(3)}
    assert len(names) == 3
    assert all("a-b-c" in name for name in names)


def test_a_name_that_is_taken_is_refused_and_its_run_untouched(tmp_path: Path) -> None:
    first = make(tmp_path, name="mine")
    before = first.journal_path.read_bytes()
    with pytest.raises(RunError, match="exists already"):
        make(tmp_path, name="mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="exists already"):
        make(tmp_path, name="file")
    assert first.journal_path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert make(tmp_path, name="mine").config_path.exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "-x", "a\n", "ü", "a" * 101])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot be called"):
        make(tmp_path / "runs", name=name)
    assert not (tmp_path / "runs").exists()


def test_a_runs_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(RunError, match="cannot be made"):
        make(tmp_path / "file" / "runs")
    with pytest.raises(RunError, match="cannot be made"):
        make(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_runs_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for root in (tmp_path, tmp_path / "runs"):
        with pytest.raises(RunError, match="Choose another"):
            make(root)


def test_a_run_that_could_not_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.run.folder.create_journal", no_room)
    with pytest.raises(RunError, match="No space left"):
        make(tmp_path / "new" / "runs")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_creator_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    dead = tmp_path / ".new-999999999-00000000"
    living = tmp_path / f".new-{os.getppid()}-00000000"
    for folder in (dead, living):
        folder.mkdir()
    assert [run.name for run in list_runs(tmp_path)] == []
    run = make(tmp_path, name="mine")
    assert not dead.exists()
    assert living.exists()
    assert list_runs(tmp_path) == [run]


def test_a_network_file_system_is_refused_unless_forced(tmp_path: Path) -> None:
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), "nfs4")]
    with pytest.raises(RunError, match=r"network file system \(nfs4\)"):
        RunFolder.create(tmp_path / "runs", "", mounts=mounts)
    assert list(tmp_path.iterdir()) == []
    assert RunFolder.create(
        tmp_path / "runs", "", mounts=mounts, is_network_allowed=True
    ).config_path.exists()


def test_owning_a_run_clears_what_dead_processes_left_half_written(run: RunFolder) -> None:
    dead = re.sub(r"\d+$", "999999999", str(temporary_name(run.path / "report.md")))
    Path(dead).write_text("half")
    half_checkpoint = run.checkpoints_path / ".000100.tmp-999999999"
    half_checkpoint.mkdir()
    (half_checkpoint / "weights.safetensors").write_bytes(b"half")
    of_the_living = run.path / f".config.yaml.tmp-{os.getppid()}"
    of_a_person = run.path / "notes.tmp-draft"
    for path in (of_the_living, of_a_person):
        path.write_text("kept")
    with run.own():
        assert not Path(dead).exists()
        assert not half_checkpoint.exists()
        assert of_the_living.exists()
        assert of_a_person.exists()
        assert run.config_path.read_text() == "seed: 0\n"


def test_the_reserve_is_given_up_once_and_can_be_set_aside_again(run: RunFolder) -> None:
    assert run.release_ballast()
    assert not run.release_ballast()
    run.allocate_ballast()
    assert run.ballast_path.stat().st_size == 4 << 20


def test_runs_are_listed_newest_first_whatever_their_names(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    runs = [make(tmp_path, name=name) for name in ("m", "z", "a")]
    (tmp_path / "not a run").mkdir()
    broken = make(tmp_path, name="broken")
    broken.journal_path.write_bytes(b"")
    assert list_runs(tmp_path) == [*runs[::-1], broken]


def test_a_run_is_found_by_name_path_or_beginning(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="none yet"):
        find_run(tmp_path, "x")
    first, second = make(tmp_path, name="digits-one"), make(tmp_path, name="digits-two")
    assert find_run(tmp_path, "digits-one") == first
    assert find_run(tmp_path / "elsewhere", str(second.path)) == second
    assert find_run(tmp_path, "digits-t") == second
    with pytest.raises(RunError, match="may be any of digits-two, digits-one"):
        find_run(tmp_path, "digits")
    with pytest.raises(RunError, match="newest there is digits-two"):
        find_run(tmp_path, "faces")


def test_a_folder_without_a_journal_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_a_worker_is_started_in_a_session_of_its_own_with_its_output_in_the_log(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(
        '#!/bin/sh\necho "$@"\nps -o sid= -p $$ | tr -d " "\necho $$\nreadlink /proc/$$/fd/0\n'
        "echo oops >&2\n"
    )
    stand_in.chmod(0o755)
    run.log_path.write_text("before\n")
    monkeypatch.setattr("sys.executable", str(stand_in))
    process = start_worker(run)
    assert process.wait(timeout=60) == 0
    before, arguments, *rest = run.log_path.read_text().splitlines()
    assert (before, arguments) == ("before", f"-P -B -m engine.worker {run.path}")
    assert rest[-1] == "oops"
    if len(rest) == 4:  # where ps and /proc are
        assert rest[0] == rest[1] == str(process.pid)
        assert rest[2] == "/dev/null"


def test_a_worker_that_dies_before_it_begins_leaves_a_lost_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "false")
    start_worker(run).wait(timeout=60)
    status = run.status()
    assert status.state == "lost"
    assert "worker.log" in status.reason


def test_a_number_that_another_process_got_is_no_worker_about_to_begin(
    run: RunFolder, spawn: Spawn
) -> None:
    """After a reboot the number of a worker that was just started may be anybody's."""
    launch = run.path / "launch.json"
    launch.write_text(json.dumps({"pid": spawn("import sys; sys.stdin.read()").pid}))
    assert run.state() == "queued"
    an_hour_ago = time.time() - 3600
    os.utime(launch, (an_hour_ago, an_hour_ago))
    assert run.state() == "lost"
