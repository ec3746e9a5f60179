"""Terminals of few colours and of none, and a locale without UTF-8: what is sent fits them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.terminals import OnTerminal, dashboard
from tests.tui.every_state import every_state
from tui.format import glyph

SGR = re.compile(rb"\x1b\[([0-9;]*)m")


class Seen(NamedTuple):
    """What was seen on a walk over all screens, with a run in each state."""

    runs: str
    headers: dict[str, str]  # Live's first line, by run
    help: str
    sent: bytes


@pytest.fixture
def states(tmp_path: Path) -> Iterator[dict[str, str]]:
    with every_state(tmp_path / "runs") as told:
        yield told


@pytest.fixture
def seen(tmp_path: Path, states: dict[str, str]) -> Callable[..., Seen]:
    """Walk over all screens of a dashboard with these words and environment."""

    def walk(*words: str, is_live_walked: bool = True, **environment: str) -> Seen:
        is_ascii = environment.get("LANG") == "C"
        settings = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLORTERM": ""} | environment
        command = dashboard(tmp_path / "runs", *words)
        with OnTerminal(command, 120, 36, environment=settings) as terminal:
            terminal.until("Palette", 60)
            terminal.press("1")
            terminal.until(lambda: not untold(terminal.text, states, is_ascii))
            runs, headers = terminal.text, dict[str, str]()
            for _ in states if is_live_walked else ():
                terminal.press("\r")
                terminal.until(lambda: any(name in _top(terminal) for name in states))
                (name,) = (name for name in states if f" {name} " in _top(terminal))
                wanted = states[name].upper()
                terminal.until(lambda wanted=wanted: wanted in _top(terminal))
                headers[name] = _top(terminal)
                terminal.press("1j")
                terminal.until("Runs (")
            for key in "2341":
                terminal.press(key)
                terminal.settle(0.2)
            terminal.press("?")
            terminal.until("choose a recipe for a new run")
            terminal.press("sign")
            terminal.until("stuck")
            terminal.settle(0.2)
            sent = b"".join(data for _, data in terminal.chunks)
            return Seen(runs, headers, terminal.text, sent)

    return walk


def _top(terminal: OnTerminal) -> str:
    return terminal.text.partition("\n")[0]


def untold(runs: str, states: dict[str, str], is_ascii: bool) -> list[str]:
    """Return the runs whose row has not sign and word of their state: they are read in turn."""
    told = [
        name
        for name, state in states.items()
        for row in runs.splitlines()
        if f" {name} " in row and f"{glyph(state, is_ascii)} {state}" in row
    ]
    return sorted(states.keys() - set(told))


def check_states(seen: Seen, states: dict[str, str], *, is_ascii: bool = False) -> None:
    """Every state has sign and word, on Runs, on Live and in help."""
    assert seen.headers.keys() == states.keys()
    assert not untold(seen.runs, states, is_ascii)
    for name, state in states.items():
        sign = glyph(state, is_ascii)
        assert f"{name}  {sign} {state.upper()}" in seen.headers[name]
        assert f"{sign} {state}" in seen.help


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
    ("environment", "kinds"),
    [
        ({"TERM": "xterm-256color"}, {"256"}),
        ({"TERM": "xterm"}, {"16"}),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, set()),
    ],
)
def test_with_few_colours_or_none_every_state_keeps_sign_and_word(
    seen: Callable[..., Seen],
    states: dict[str, str],
    environment: dict[str, str],
    kinds: set[str],
) -> None:
    told = seen(**environment)
    assert colours(told.sent) == kinds
    check_states(told, states)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "kinds"),
    [((), {"truecolor"}), (("--color", "16"), {"16"}), (("--color", "none"), set())],
)
def test_a_terminal_of_all_colours_is_sent_those_that_are_asked_for(
    seen: Callable[..., Seen], words: tuple[str, ...], kinds: set[str]
) -> None:
    rich = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    assert colours(seen(*words, is_live_walked=False, **rich).sent) == kinds


@pytest.mark.slow
def test_a_locale_without_utf_8_gets_ascii_and_every_state_keeps_sign_and_word(
    seen: Callable[..., Seen], states: dict[str, str]
) -> None:
    told = seen(LANG="C", LC_ALL="")
    assert told.sent.isascii()
    check_states(told, states, is_ascii=True)
