"""What the command's options do, each seen in the app that it starts."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.terminals import HOUSE

# the command as it is started, up to where the app would take the terminal
PROGRAM = """
import json, sys
import tui.cli, tui.targets

def find_target(options):
    from tui.app import DiffoptApp  # not before the environment is prepared for it
    DiffoptApp.run = run
    return tui.targets.Target()

def run(app, mouse):
    from textual import screen
    print(json.dumps({
        "mouse": mouse,
        "colours": app.console.color_system,
        "no colour": app.no_color,
        "frames": round(1 / screen.UPDATE_PERIOD),
        "ascii": app.options.is_ascii,
        "plain": app.options.is_low,
        "lean": app.is_lean,
        "theme": app.theme,
    }))

tui.cli.why_not_here = lambda: None
tui.targets.find_target = find_target
sys.exit(tui.cli.main(sys.argv[1:]))
"""


def started(*words: str, **environment: str) -> dict[str, Any]:
    """Return what the app is like that these words start on a terminal of 16 colours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "TEXTUAL_"))}
    settings = {"TERM": "xterm", "COLORTERM": "", "LANG": "C.UTF-8", "PYTHONPATH": str(HOUSE)}
    kept.pop("NO_COLOR", None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        check=True,
        env=kept | {"FORCE_COLOR": "1"} | settings | environment,
    )
    return json.loads(done.stdout)


PLAIN = {
    "mouse": True,
    "colours": "standard",
    "no colour": False,
    "frames": 60,
    "ascii": False,
    "plain": False,
    "lean": True,
    "theme": "sixteen",
}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), {}),
        (("--no-mouse",), {"mouse": False}),
        (("--color", "256"), {"colours": "256", "theme": "midnight"}),
        (("--color", "truecolor"), {"colours": "truecolor", "theme": "midnight"}),
        (("--color", "none"), {"no colour": True, "theme": "mono"}),
        (("--low",), {"frames": 5, "ascii": True, "plain": True}),
        (("--no-cell-diff",), {"lean": False}),
        (("--theme", "fjord"), {"theme": "fjord"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_does_what_it_says_and_nothing_else(
    words: tuple[str, ...], what: dict[str, Any]
) -> None:
    assert started(*words) == PLAIN | what


def test_fewer_colours_than_the_terminal_has_can_be_asked_for() -> None:
    rich = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    assert started(**rich)["colours"] == "truecolor"
    assert started("--color", "256", **rich)["colours"] == "256"
    assert started("--color", "16", **rich)["colours"] == "standard"


def test_a_colour_that_is_asked_for_wins_over_no_color() -> None:
    assert started(NO_COLOR="1")["no colour"]
    told = started("--color", "256", NO_COLOR="1")
    assert (told["colours"], told["no colour"]) == ("256", False)
