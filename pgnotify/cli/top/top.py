"""``pgnotify top``: a live screen of channels, rates, sizes, gaps, the server's queue, and the sessions that listen."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pgnotify.cli.options import Channels, Driver, Dsn, Embedded, checked_seconds

Once = Annotated[bool, typer.Option("--once", help="Print the tables once, after one interval.")]
Interval = Annotated[float, typer.Option(help="Seconds between two screens, or two tables without a terminal.")]


def top(
    channels: Channels,
    dsn: Dsn = None,
    embedded: Embedded = False,
    driver: Driver = None,
    once: Once = False,
    interval: Interval = 2.0,
) -> None:
    """Show the traffic of channels, the server's queue, and the sessions that listen, until q or Ctrl-C.

    Without a terminal, the tables are printed after each interval.

    PostgreSQL does not show which channels another session listens to. So a session is listed if its latest statement
    was a LISTEN, or the heartbeat of a Listener.
    """
    import logging
    from contextlib import closing
    from functools import partial

    from pgnotify.cli.interruption import Interruption
    from pgnotify.cli.listening import listening
    from pgnotify.cli.messages import Messages
    from pgnotify.cli.output import when_unread
    from pgnotify.cli.target import channels_and_dsn, server
    from pgnotify.cli.top.others import Others
    from pgnotify.cli.top.traffic import Traffic
    from pgnotify.cli.top.view import View

    names, place = channels_and_dsn(channels, dsn)
    interval = checked_seconds("--interval", interval)
    with Interruption() as interruption:
        messages, traffic = Messages(logging.WARNING), Traffic(names)
        with (
            server(place, embedded, messages.say) as where,
            listening(where, names, driver, messages, traffic, heartbeat=interval / 2) as listener,
            closing(Others(where, driver)) as others,
        ):
            when_unread(lambda: traffic.end(BrokenPipeError()))
            view = View(listener, traffic, others)
            is_terminal = sys.stdout is not None and sys.stdout.isatty()
            show = view.show_live if is_terminal and not once else partial(view.print_tables, once)
            interruption.run(partial(show, interval))
