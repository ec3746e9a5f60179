"""The command `diffopt-tui`: reads the words, looks at the terminal, opens the dashboard."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence

from engine import __version__
from engine.errors import DiffoptError
from engine.option_types import runs_folder
from tui.options import COLORS, Options, is_plain_terminal, prepare_environment, why_not_here

EPILOG = """\
alone: the run that is at work, else the table of runs. `diffopt-tui demo` trains the bundled model
and shows it. Leaving with q never stops training. Over ssh, `ssh -C` saves most of what is sent.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the dashboard and return its exit code; 2 for a mistake in what was given."""
    options = parse(arguments)
    if reason := why_not_here():
        return _refused(reason)
    prepare_environment(options)
    gc.disable()  # nothing to collect before the first paint; the app turns it on
    try:
        from tui.targets import find_target

        target = find_target(options)
    except DiffoptError as error:
        return _refused(str(error), error.exit_code)
    from tui.app import DiffoptApp

    app = DiffoptApp(options, target)
    app.run(mouse=options.has_mouse)
    for line in app.last_words:
        print(line)
    return app.return_code or 0


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="diffopt-tui",
        description="The dashboard of diffopt: watch and steer diffusion models being distilled.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"diffopt-tui {__version__}")
    parser.add_argument("target", nargs="?", metavar="RUN|CONFIG|demo", help="what to show first")
    parser.add_argument(
        "--runs-dir",
        type=runs_folder,
        default=os.environ.get("DIFFOPT_RUNS_DIR") or "~/diffopt/runs",
        help="folder of runs (~/diffopt/runs)",
    )
    parser.add_argument("--theme", metavar="NAME", help="a theme by name; kept by `t` in the app")
    parser.add_argument(
        "--low", action="store_true", help="for slow links: once a second, ASCII, no charts"
    )
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    parser.add_argument(
        "--color", choices=list(COLORS), default="auto", help="colours to use (auto)"
    )
    parser.add_argument("--ascii", action="store_true", help="ASCII only; so where LANG is C")
    parser.add_argument(
        "--no-cell-diff", action="store_true", help="draw as Textual does; costs more bytes"
    )
    read = parser.parse_args(arguments)
    return Options(
        runs_dir=read.runs_dir,
        theme=read.theme,
        is_low=read.low,
        has_mouse=not read.no_mouse,
        color=read.color,
        is_ascii=read.ascii or read.low or is_plain_terminal(),
        is_cell_diff=not read.no_cell_diff and os.environ.get("DIFFOPT_CELL_DIFF") != "0",
        target=read.target,
    )


def _refused(reason: str, code: int = 2) -> int:
    print(f"diffopt-tui: {reason}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
