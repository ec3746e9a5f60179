"""A program on a terminal of its own: started, typed at, resized, hung up, and read cell by cell.

Used by the tests of the dashboard and by benchmarks/terminal.py.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyte
import pyte.modes

from engine.run.closing import Closing

HOUSE = Path(__file__).resolve().parents[1]


def _take_terminal() -> None:
    """Make the standard input this session's terminal, so that its end hangs the program up."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class OnTerminal(Closing):
    """A program whose standard streams are a pseudo-terminal that is emulated."""

    def __init__(
        self,
        command: Sequence[str],
        width: int = 120,
        height: int = 36,
        *,
        environment: dict[str, str] | None = None,
        is_emulated: bool = True,
    ) -> None:
        """Start `command`; without `is_emulated` bytes are counted and kept only."""
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        self._is_emulated = is_emulated
        self.chunks: list[tuple[float, bytes]] = []  # monotonic time, what was written
        self._master, slave = pty.openpty()
        self._set_size(width, height)
        settings = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "SSH_"))}
        inherited.pop("NO_COLOR", None)
        own = {"PYTHONPATH": str(HOUSE)}
        self.process = subprocess.Popen(
            list(command),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            cwd=HOUSE,
            env=inherited | own | settings | (environment or {}),
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self.started = time.monotonic()

    def pump(self, seconds: float) -> int:
        """Read for so long; returns the number of bytes."""
        deadline = time.monotonic() + seconds
        total = 0
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._master], [], [], left)[0]:
                break
            total += self._read()
        return total

    def pump_once(self, limit: float) -> None:
        """Read what comes first, within `limit` seconds."""
        if select.select([self._master], [], [], limit)[0]:
            self._read()

    def settle(self, quiet: float = 0.4, limit: float = 20.0) -> None:
        """Read until nothing has come for `quiet` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if not self.pump(quiet):
                return

    def until(self, words: str | Callable[[], bool], limit: float = 30.0) -> None:
        """Read until the screen shows `words` and the rest of that frame has come as well.

        AssertionError with the screen if it never does.
        """
        test = words if callable(words) else lambda: words in self.text
        deadline = time.monotonic() + limit
        while not test():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.pump(0.2)
                if test():
                    return
                raise AssertionError(f"{words!r} never came:\n{self.text}")
            self.pump(0.05)
        self.settle(0.05, 1.0)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def resize(self, width: int, height: int) -> None:
        """Change the terminal's size."""
        self.pump(0.0)
        self.screen.resize(height, width)
        self._set_size(width, height)

    def hang_up(self) -> None:
        """Take the terminal away, as a dropped connection does."""
        os.close(self._master)
        self._master = -1

    @property
    def text(self) -> str:
        """The screen, a line each row."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def cells(self) -> list[list[Any]]:
        """What can be seen: of a blank without lines through it only the ground."""
        return [
            [_seen(self.screen.buffer[y][x]) for x in range(self.screen.columns)]
            for y in range(self.screen.lines)
        ]

    def close(self) -> None:
        """End the program, and its terminal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self._master >= 0:
            os.close(self._master)

    def _read(self) -> int:
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # the program is gone
            time.sleep(0.01)
            return 0
        self.chunks.append((time.monotonic(), data))
        if self._is_emulated:
            self._stream.feed(data)
        return len(data)

    def _set_size(self, width: int, height: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def dashboard(runs_dir: Path, *words: str) -> list[str]:
    """Return the command that starts the dashboard."""
    return [sys.executable, "-P", "-m", "tui.cli", "--runs-dir", str(runs_dir), *words]


def _seen(cell: Any) -> Any:
    if cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough):
        return (" ", cell.bg)
    return tuple(cell)
