"""The commands of the command line. Needs the extra ``[cli]``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pgnotify.cli import outbox_replicate as outbox_replicate  # it adds a command
from pgnotify.cli.demo import demonstrate
from pgnotify.cli.outbox import outbox_app
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="PostgreSQL's LISTEN and NOTIFY on any driver.",
    pretty_exceptions_show_locals=False,  # one of them is the password
)
app.add_typer(outbox_app, name="outbox")
# highlight=False and markup=False: a payload is shown exactly as it arrived.
_console = Console(highlight=False, markup=False, soft_wrap=True)


@app.callback()
def _commands() -> None:
    """Keep `demo` a subcommand, although it is the only command so far."""


@app.command()
def demo(
    dsn: Annotated[
        str | None,
        typer.Option(envvar="PGNOTIFY_DSN", help="A libpq connection string; without it, a PostgreSQL is started."),
    ] = None,
) -> None:
    """Send notifications through a real PostgreSQL, and show how a callback receives them."""
    if dsn:
        demonstrate(dsn, _console.print)
        return
    try:
        server = TemporaryPostgreSQL()
    except NoPostgreSQL as error:
        _console.print(f"pgnotify: {error}")
        raise typer.Exit(1) from error
    with server:
        _console.print(f"started PostgreSQL {server.version} on port {server.port}")
        demonstrate(server.dsn, _console.print)
