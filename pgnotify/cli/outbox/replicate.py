"""``pgnotify outbox replicate``: the SQL that has the messages copied to a further server."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from pgnotify.cli.command_line import CannotBegin
from pgnotify.cli.outbox.outbox import Name, Schema, outbox_app

ANY_SOURCE = "host=FIRST dbname=DATABASE user=ROLE"


class Server(str, enum.Enum):
    """Where the statements are to be run."""

    FIRST = "first"
    SECOND = "second"


@outbox_app.command()
def replicate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL. Nothing else is possible: you run it.")] = False,
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    source: Annotated[
        str, typer.Option(help="A connection string of the first server, as the second one sees it.")
    ] = ANY_SOURCE,
    subscription: Annotated[
        str | None, typer.Option(help="Another one for each further server; the outbox's name if not given.")
    ] = None,
    on: Annotated[Server | None, typer.Option(help="Print only what is for this server.")] = None,
) -> None:
    """Print the SQL that has PostgreSQL copy the messages to a second server, with listeners of its own."""
    from pgnotify.outbox.outbox import Outbox

    if not sql:
        raise CannotBegin("replicate prints SQL for two servers and runs nothing: add --sql")
    outbox = Outbox(name, schema)
    parts = {
        Server.FIRST: outbox.publication_sql(),
        Server.SECOND: outbox.install_sql() + outbox.subscription_sql(source, subscription),
    }
    if on is not None:
        typer.echo(parts[on], nl=False)
        return
    typer.echo("-- On the first server, which needs wal_level = logical.")
    typer.echo(parts[Server.FIRST])
    typer.echo("-- On the second server. The last statement cannot run in a transaction.")
    typer.echo(parts[Server.SECOND], nl=False)
