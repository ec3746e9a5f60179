"""The terminal is hung up while settings are typed: nothing is lost, and it is offered again."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

TEXT = "model_path: bundled:digits  # mine\ntarget_steps: 4\n"


def _until(terminal: int, words: bytes, seconds: float = 60.0) -> bytes:
    seen, deadline = b"", time.monotonic() + seconds
    while words not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
    return seen


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_hangup_keeps_what_is_being_typed(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT)
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.cli", str(file), "--runs-dir", str(tmp_path / "runs")],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env=os.environ
        | {
            "TERM": "xterm-256color",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "DIFFOPT_STATE_DIR": str(tmp_path / "state"),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
        },
    )
    os.close(slave)
    try:
        assert b"target_steps" in _until(master, b"target_steps")
        os.write(master, b"jjj")  # model_path, optimization_stages, target_steps
        assert b"Sampling steps wanted" in _until(master, b"Sampling steps wanted")
        os.write(master, b"\r\x158")  # open the box, empty it, type 8
        assert b"modified" in _until(master, b"modified")
        os.close(master)  # the line drops
        assert process.wait(60) == 128 + 1
    finally:
        process.kill()
        process.wait()
    assert file.read_text() == TEXT
    draft = file.with_name(".mine.yaml.draft").read_text()
    assert draft.partition("\n")[2] == TEXT.replace("target_steps: 4", "target_steps: 8")
