"""`pgnotify demo`: see notifications arrive."""

from __future__ import annotations

import typer

from pgnotify.cli.options import Driver, Dsn


def demo(dsn: Dsn = None, driver: Driver = None) -> None:
    """Send notifications through a real PostgreSQL, and show how a callback receives them.

    Without --dsn, a PostgreSQL is started for it. The exit code is 1 if a notification does not arrive.
    """
    from pgnotify.cli.demonstration import demonstrate
    from pgnotify.cli.target import server
    from pgnotify.registry import connect_with

    connect_with(driver)  # an error of this one comes before a server is started
    with server(dsn, embedded=not dsn) as place:
        if not dsn:
            typer.echo("started a PostgreSQL")
        demonstrate(place, typer.echo, driver)
