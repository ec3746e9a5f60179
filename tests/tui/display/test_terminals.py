"""Terminals of few colours and of none, and a locale without UTF-8: what is sent fits them."""

import re
from pathlib import Path

import pytest

from tests.terminals import OnTerminal, dashboard

SGR = re.compile(rb"\x1b\[([0-9;]*)m")


def drawn(tmp_path: Path, *words: str, **environment: str) -> tuple[str, bytes]:
    """Walk over all screens; returns the last screen, help over Runs, and all that was sent."""
    settings = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLORTERM": ""} | environment
    command = dashboard(tmp_path / "runs", *words)
    with OnTerminal(command, 120, 36, environment=settings) as terminal:
        terminal.until("Palette", 60)
        for key in "2341":
            terminal.press(key)
            terminal.settle(0.2)
        terminal.press("?")
        terminal.until("choose a recipe for a new run")
        help_ = terminal.text
        terminal.press("sign")
        terminal.until("stuck")
        terminal.settle(0.2)
        return help_ + terminal.text, b"".join(data for _, data in terminal.chunks)


def colours(sent: bytes) -> set[str]:
    """Which kinds of colour were sent: truecolor, 256, 16."""
    kinds: set[str] = set()
    for codes in SGR.findall(sent):
        parts = iter(codes.decode().split(";"))
        for part in parts:
            if part in ("38", "48"):
                kinds.add({"2": "truecolor", "5": "256"}[next(parts)])
                for _ in range(3 if "truecolor" in kinds and part else 0):
                    next(parts, None)
            elif part and int(part) in {*range(30, 38), *range(40, 48), *range(90, 108)}:
                kinds.add("16")
    return kinds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "words", "kinds"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, (), {"truecolor"}),
        ({"TERM": "xterm-256color"}, (), {"256"}),
        ({"TERM": "xterm"}, (), {"16"}),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, (), set()),
        ({"TERM": "xterm-256color"}, ("--color", "none"), set()),
    ],
)
def test_only_colours_that_the_terminal_has_are_sent(
    tmp_path: Path, environment: dict[str, str], words: tuple[str, ...], kinds: set[str]
) -> None:
    text, sent = drawn(tmp_path, *words, **environment)
    assert colours(sent) == kinds
    assert "● running" in text


@pytest.mark.slow
def test_a_locale_without_utf_8_gets_ascii_and_every_state_keeps_sign_and_word(
    tmp_path: Path,
) -> None:
    text, sent = drawn(tmp_path, LANG="C", LC_ALL="")
    assert sent.isascii()
    for state in ("* running", "= paused", "o queued", "+ done", "x failed", "? lost", "! stuck"):
        assert state in text
