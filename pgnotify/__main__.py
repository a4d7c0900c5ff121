"""`python -m pgnotify`: the command line, if its dependencies are installed."""

from __future__ import annotations

import os
import sys

NAMES = ("pgnotify", "pgnotify-handler")
"""The names of the script. Help, and a shell's completion, show the one that it was called by."""


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from pgnotify.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        print('pgnotify: the command line is not installed: pip install "pgnotify-handler[cli]"', file=sys.stderr)
        sys.exit(2)
    called, _ = os.path.splitext(os.path.basename(sys.argv[0]))
    app(prog_name=called if called in NAMES else NAMES[0])


if __name__ == "__main__":
    main()
