"""Rich, imported on first use: most commands draw nothing, and it takes longer to import than all the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def console() -> Console:
    """Return a console that shows names and payloads exactly as they are, on standard output."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # for the command line, which ends quietly; Rich would end the process with 1

    return PlainConsole(highlight=False, markup=False, emoji=False, soft_wrap=True)


def draw(what: RenderableType) -> None:
    """Print a table, for example, on standard output."""
    console().print(what)
