"""Which file system a path is on.

SQLite's WAL needs shared memory and locks that network file systems do not give.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.run.fact import Fact

NETWORK_TYPES = frozenset({
    "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.ceph",
    "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs",
    "fuse.mfs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs",
    "fuse.vmhgfs-fuse", "fusefs.sshfs", "glusterfs", "gpfs", "lustre", "macfuse", "ncpfs",
    "nfs", "nfs4", "osxfuse", "prl_fs", "smb3", "smbfs", "sshfs", "vboxsf", "virtiofs",
    "webdav",
})  # fmt: skip


class Mount(Fact):
    """A folder where a file system hangs, and that file system's type as the system calls it."""

    point: str
    kind: str


def mounted() -> list[Mount]:
    """Return this machine's mounts, in the order they were made.

    [] where the system does not tell.
    """
    if sys.platform == "darwin":
        listing = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, check=False, errors="replace"
        ).stdout
        return parse_mount_listing(listing)
    try:
        return parse_proc_mounts(
            Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        )
    except OSError:
        return []


def parse_proc_mounts(text: str) -> list[Mount]:
    """Return the mounts of Linux's table, where blanks in names are written as octal."""
    rows = [line.split() for line in text.splitlines()]
    return [Mount(_unescape(row[1]), row[2]) for row in rows if len(row) >= 3]


def parse_mount_listing(text: str) -> list[Mount]:
    """Return the mounts of macOS's ``mount``.

    ``//user@host/share on /Volumes/share (smbfs, nodev)``.
    """
    rows = (
        re.match(r".+? on (?P<point>/.*) \((?P<kind>[^,)]+)", line) for line in text.splitlines()
    )
    return [Mount(row["point"], row["kind"].strip()) for row in rows if row]


def network_file_system(path: Path, mounts: Sequence[Mount] | None = None) -> Mount | None:
    """Return the network mount that `path` is, or will be, on; None for a local one."""
    target = str(path.absolute() if mounts is not None else path.resolve())
    on_the_way = [
        mount
        for mount in (mounted() if mounts is None else mounts)
        if target == mount.point or target.startswith(mount.point.rstrip("/") + "/")
    ]
    # the longest point is the nearest; of two at one point the later lies on top
    nearest = max(
        enumerate(on_the_way), key=lambda item: (len(item[1].point), item[0]), default=None
    )
    return nearest[1] if nearest and nearest[1].kind in NETWORK_TYPES else None


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
