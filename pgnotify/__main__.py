"""`python -m pgnotify`: the command line, if its dependencies are installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        from pgnotify.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f'pgnotify: the command line needs {error.name}: pip install "pgnotify-handler[cli]"')
    app()


if __name__ == "__main__":
    main()
