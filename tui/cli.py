"""The command `diffopt-tui`: says that this version has no dashboard yet, and what works."""

import argparse
import sys
from collections.abc import Sequence

from engine import __version__

NOT_YET = (
    "diffopt-tui: the dashboard is not in this version yet; `diffopt run demo` does the work "
    "on the command line."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return exit code 2: past --help and --version there is no dashboard to open yet."""
    parser = argparse.ArgumentParser(
        prog="diffopt-tui",
        description="The dashboard of diffopt: watch diffusion models being distilled.",
        epilog="The dashboard is not in this version yet; `diffopt run demo` does the work.",
    )
    parser.add_argument("--version", action="version", version=f"diffopt-tui {__version__}")
    parser.parse_args(arguments)
    print(NOT_YET, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
