"""`python -m pgnotify`: the command line, if its dependencies are installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from pgnotify.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        print('pgnotify: the command line is not installed: pip install "pgnotify-handler[cli]"', file=sys.stderr)
        sys.exit(2)
    app(prog_name="pgnotify")


if __name__ == "__main__":
    main()
