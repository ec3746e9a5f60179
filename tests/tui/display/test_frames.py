"""The whole dashboard through the cell diff: on every screen what Textual's own frames show."""

from pathlib import Path
from typing import Any

import pytest

from tests.terminals import OnTerminal, dashboard

# name, keys, what then stands on the screen
STORY = (
    ("runs", "", "Runs"),
    ("config", "2", "Config"),
    ("live", "3", "Live"),
    ("compare", "4", "Compare"),
    ("zoom", "z", "Compare"),
    ("back", "\x1b", "Compare"),
    ("help", "?", "Keys here"),
    ("found", "theme", "theme"),
    ("closed", "\x1b", "Compare"),
    ("palette", "\x10", "Search"),
    ("typed", "he", "Help"),
    ("away", "\x1b", "Compare"),
    ("toast", "\x03", "q detaches"),
    ("theme", "1t", "Runs"),
)


def snapshots(runs_dir: Path, size: tuple[int, int], *words: str) -> dict[str, Any]:
    """Walk through the story; returns the cells after each step."""
    seen: dict[str, Any] = {}
    with OnTerminal(dashboard(runs_dir, *words), *size) as terminal:
        terminal.until("Palette", 60)
        for name, keys, words_there in STORY:
            for key in keys:
                terminal.press(key)
                terminal.settle(0.1)
            terminal.until(words_there)
            terminal.settle(0.2)
            seen[name] = terminal.cells()
        terminal.press("q")
        terminal.until(lambda: terminal.process.poll() is not None)
        assert terminal.process.returncode == 0
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("size", [(100, 30)])
def test_every_screen_and_what_lies_over_it_are_as_textual_draws_them(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "lean"))
    lean = snapshots(tmp_path / "runs", size)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "stock"))
    stock = snapshots(tmp_path / "runs", size, "--no-cell-diff")
    for name in lean:
        assert lean[name] == stock[name], name


@pytest.mark.slow
def test_a_storm_of_resizes_and_a_foreign_line_leave_no_wrong_cell(tmp_path: Path) -> None:
    with OnTerminal(dashboard(tmp_path / "runs"), 120, 36) as terminal:
        terminal.until("Palette", 60)
        terminal.settle()
        for round_ in range(3):
            for size in ((80, 24), (160, 48), (97, 31), (120, 36), (60, 15), (120, 36)):
                terminal.resize(*size)
                terminal.pump(0.02 * round_)
        terminal.until("Palette")
        terminal.settle()
        stormed = terminal.cells()
        terminal.screen.cursor_position(5, 5)
        terminal.screen.draw("another program's line")
        terminal.press("\x0c")  # ctrl+l
        terminal.settle()
        assert terminal.cells() == stormed


@pytest.mark.slow
def test_a_terminal_that_is_too_small_says_what_it_needs(tmp_path: Path) -> None:
    with OnTerminal(dashboard(tmp_path / "runs"), 60, 15) as terminal:
        terminal.until("need 80x24, have 60x15", 60)
        terminal.resize(79, 24)
        terminal.until("have 79x24")
        terminal.resize(80, 24)
        terminal.until("Palette")
        assert "need" not in terminal.text
