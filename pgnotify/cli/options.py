"""The options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from pgnotify.cli.command_line import CannotBegin


def _driver_names(incomplete: str) -> list[str]:
    """Return the names that a shell completes."""
    import warnings

    from pgnotify.registry import driver_names

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a plug-in; they would stand in the line that is being edited
        return [name for name in driver_names() if name.startswith(incomplete)]


Dsn = Annotated[str | None, typer.Option(envvar="PGNOTIFY_DSN", help="A connection string; PG… variables complete it.")]
Embedded = Annotated[bool, typer.Option("--embedded", help="Start a PostgreSQL for this command, instead of --dsn.")]
Driver = Annotated[
    str | None,
    typer.Option(help="The driver to connect with; see `pgnotify drivers`.", autocompletion=_driver_names),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Channels = Annotated[
    list[str],
    typer.Argument(metavar="CHANNEL", show_default=False, help="As written. After them, there may be the DSN."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on standard error, except for errors.")]


def checked_seconds(option: str, seconds: float) -> float:
    """Return the value of an option.

    Raises:
        CannotBegin: it is not positive, or infinite.
    """
    from pgnotify.limits import check_seconds

    try:
        return check_seconds(option, seconds)
    except ValueError as error:
        raise CannotBegin(str(error)) from error
