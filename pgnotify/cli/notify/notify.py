"""``pgnotify notify``: one notification, or one for each line of standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pgnotify.cli.command_line import CannotBegin
from pgnotify.cli.options import Driver, Dsn, Embedded

if TYPE_CHECKING:
    from pgnotify.connection import Connection

Channel = Annotated[str, typer.Argument(metavar="CHANNEL", show_default=False, help="As written.")]
Payload = Annotated[
    str, typer.Argument(metavar="PAYLOAD|-", show_default=False, help="With -, each line of standard input is one.")
]
Place = Annotated[str | None, typer.Argument(metavar="DSN", show_default=False, help="The same as --dsn.")]
Stop = Annotated[bool, typer.Option("--stop", help="Send to the handler's stop channel, stop_CHANNEL.")]


def notify(
    channel: Channel,
    payload: Payload = "",
    place: Place = None,
    stop: Stop = False,
    dsn: Dsn = None,
    embedded: Embedded = False,
    driver: Driver = None,
) -> None:
    """Send a notification, or one for each line of standard input.

    Lines end with LF or CR LF, and an empty line is an empty payload. They are sent as they come, up to 1,000 in one
    transaction. A file is checked as a whole before anything is sent. If sending fails, the error says how many were
    sent.
    """
    from pgnotify.cli.notify.input_lines import InputLines
    from pgnotify.cli.notify.sending import send_all
    from pgnotify.cli.target import refuse_secrets, server, split_dsn
    from pgnotify.handler.face import default_stop_event
    from pgnotify.limits import check_channel, check_payload

    further, dsn = split_dsn([] if place is None else [place], dsn)
    if further:
        raise CannotBegin(f"{further[0]!r} is not a connection string; quote a payload that has spaces")
    refuse_secrets(channel, payload)
    try:
        channel = check_channel(default_stop_event(channel) if stop else channel)
        check_payload(payload)
    except ValueError as error:
        raise CannotBegin(str(error)) from error
    lines = InputLines() if payload == "-" else None
    total = None if lines is None else lines.check()
    with server(dsn, embedded) as where, _connected(where, driver) as connection:
        if lines is None:
            connection.notify(channel, payload)
        else:
            send_all(connection, channel, lines, total)


def _connected(dsn: str, driver: str | None) -> Connection:
    from pgnotify.connection import connect
    from pgnotify.errors import UnknownBackend

    try:
        return connect(dsn, driver)
    except (UnknownBackend, ValueError) as error:
        raise CannotBegin(str(error)) from error
