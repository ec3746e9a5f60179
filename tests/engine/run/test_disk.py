"""Nothing is ever half-written, and a full disk is said before it is met."""

import errno
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run import DiskFull, ensure_room, free_bytes, write_atomically
from engine.run.disk import clear_leftovers, is_alive
from engine.run.mounts import Mount, network_file_system, parse_mount_listing, parse_proc_mounts

Spawn = Callable[..., subprocess.Popen[str]]


def test_writing_replaces_text_and_bytes_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, "ü\n")
    assert path.read_bytes() == b"\xc3\xbc\n"
    write_atomically(path, b"\0")
    assert path.read_bytes() == b"\0"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_between_writing_and_renaming_keeps_the_old_content(
    tmp_path: Path, spawn: Spawn
) -> None:
    path = tmp_path / "a"
    write_atomically(path, "old")
    process = spawn(
        """
        import os, pathlib, signal, sys
        from engine.run import write_atomically
        pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_atomically(pathlib.Path(sys.argv[1]), "new")
        """,
        path,
    )
    assert process.wait() == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_atomically(path, "newer")
    assert path.read_text() == "newer"


def test_leftovers_of_the_dead_are_cleared_and_told(tmp_path: Path) -> None:
    dead = tmp_path / ".a.tmp-999999999.png"
    dead.write_text("half")
    assert clear_leftovers(tmp_path) == [dead]
    assert clear_leftovers(tmp_path) == []


def test_a_process_that_began_after_the_file_did_not_write_it(tmp_path: Path, spawn: Spawn) -> None:
    """Numbers are given out again, after a reboot from the first."""
    other = spawn("import sys; sys.stdin.read()")
    of_the_living, of_the_dead = (
        tmp_path / f".{name}.tmp-{other.pid}.png" for name in ("new", "old")
    )
    for path in (of_the_living, of_the_dead):
        path.write_text("half")
    an_hour_ago = time.time() - 3600
    os.utime(of_the_dead, (an_hour_ago, an_hour_ago))
    assert clear_leftovers(tmp_path) == [of_the_dead]


@pytest.mark.parametrize("is_refused", [False, True])
def test_on_a_mac_a_file_is_forced_past_the_drive_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    asked: list[object] = []

    def control(descriptor: int, what: object) -> None:
        asked.append(what)
        if is_refused:  # as some file systems do
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))
    write_atomically(tmp_path / "a", "text")
    sync = [51, "fsync"] if is_refused else [51]
    assert asked == sync * 2, "the file, and the folder that names it"


def test_room_is_asked_for_in_plain_figures(tmp_path: Path) -> None:
    ensure_room(tmp_path / "not" / "there" / "yet", 1, "A checkpoint")
    with pytest.raises(DiskFull, match=r"A checkpoint at .* needs .* MB and .* MB are free"):
        ensure_room(tmp_path, free_bytes(tmp_path) * 2, "A checkpoint")


def test_a_process_is_alive_until_it_was_waited_for(spawn: Spawn) -> None:
    process = spawn("input()")
    assert is_alive(process.pid)
    process.kill()
    process.wait()
    assert not is_alive(process.pid)
    assert is_alive(1)


LINUX = parse_proc_mounts(
    "/dev/sda / ext4 rw 0 0\n"
    "server:/home /home nfs4 rw 0 0\n"
    "/dev/sdb /home/me/local xfs rw 0 0\n"
    "me@far:/x /mnt/my\\040share fuse.sshfs rw 0 0\n"
    "/dev/sdc /stick fuseblk rw 0 0\n"
    "tmpfs /twice tmpfs rw 0 0\n"
    "server:/y /twice nfs rw 0 0\n"
)
MAC = parse_mount_listing(
    "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
    "/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)\n"
    "//me@nas/runs on /Volumes/my (odd) runs (smbfs, nodev, nosuid, mounted by me)\n"
    "me@far: on /Volumes/far (macfuse, nodev)\n"
)


@pytest.mark.parametrize(
    ("mounts", "path", "kind"),
    [
        (LINUX, "/var/runs", None),
        (LINUX, "/home/me/diffopt/runs", "nfs4"),
        (LINUX, "/home", "nfs4"),
        (LINUX, "/homeless", None),
        (LINUX, "/home/me/local/runs", None),
        (LINUX, "/mnt/my share/runs", "fuse.sshfs"),
        (LINUX, "/stick/runs", None),
        (LINUX, "/twice", "nfs"),
        (MAC, "/Users/me/diffopt/runs", None),
        (MAC, "/Volumes/my (odd) runs/x", "smbfs"),
        (MAC, "/Volumes/far/x", "macfuse"),
        ([], "/anywhere", None),
    ],
)
def test_the_nearest_mount_tells_a_network_file_system(
    mounts: list[Mount], path: str, kind: str | None
) -> None:
    found = network_file_system(Path(path), mounts)
    assert (found.kind if found else None) == kind


def test_this_machine_tells_its_mounts(tmp_path: Path) -> None:
    network_file_system(tmp_path)
