"""``pgnotify listen``: one line for each notification."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pgnotify.cli.options import Channels, Driver, Dsn, Embedded, Quiet, checked_seconds

if TYPE_CHECKING:
    from pgnotify.cli.lines import Form

Json = Annotated[bool, typer.Option("--json", help="Print a JSON object for each notification and each gap.")]
Timestamps = Annotated[bool, typer.Option("--timestamps", help="Begin each line with the time.")]
Timeout = Annotated[float | None, typer.Option(help="End after this many seconds without a notification.")]
Count = Annotated[int | None, typer.Option(min=1, help="End after this many. Exit code 1 if --timeout comes first.")]
Exec = Annotated[
    str | None,
    typer.Option("--exec", metavar="CMD", help="Run a command (no shell) with each payload on its standard input."),
]


def listen(
    channels: Channels,
    dsn: Dsn = None,
    embedded: Embedded = False,
    driver: Driver = None,
    json: Json = False,
    timestamps: Timestamps = False,
    timeout: Timeout = None,
    count: Count = None,
    exec_: Exec = None,
    quiet: Quiet = False,
) -> None:
    r"""Print a line for each notification, until Ctrl-C. Reconnect after a loss, and report the gap.

    A line is the channel, a tab and the payload. Control characters are escaped, as in \n and \x1b: a payload neither
    ends the line nor steers a terminal.

    With --json, each line is an object with a "type", and holds the payload exactly. A "notification" has time,
    channel, payload and pid, the server process of the sender. "listening" comes first. A "gap" has reason, lost_at,
    restored_at, channels and dropped: notifications from that period may be missing.

    With --exec, the command also has PGNOTIFY_CHANNEL, PGNOTIFY_PID and PGNOTIFY_TIME in its environment. Standard
    output is the command's, and the lines go to standard error; with --json it is the other way round. After Ctrl-C
    or SIGTERM the command has 5 s to finish.

    The first attempt to connect must succeed. The exit code is 1 if --timeout comes before --count, or if the command
    of --exec has failed. It is 0 after Ctrl-C, SIGTERM and SIGHUP.
    """
    import logging

    from pgnotify.cli.interruption import Interruption
    from pgnotify.cli.listen.arrivals import Arrivals
    from pgnotify.cli.listen.execute import Command
    from pgnotify.cli.listen.printer import Printer
    from pgnotify.cli.listening import listening
    from pgnotify.cli.messages import Messages
    from pgnotify.cli.output import Output, when_unread
    from pgnotify.cli.target import channels_and_dsn, server

    names, place = channels_and_dsn(channels, dsn)
    timeout = None if timeout is None else checked_seconds("--timeout", timeout)
    code: int | None = 0
    with Interruption() as interruption:
        messages = Messages(logging.ERROR if quiet else logging.INFO)
        # With --exec, standard output is the command's, unless JSON is wanted there.
        output = Output(to_errors=exec_ is not None and not json, encoding="utf-8" if json else None)
        command = None if exec_ is None else Command(exec_, interruption, messages.say, output_to_errors=json)
        form = _form(json, timestamps, exec_ is not None and quiet, output.is_terminal)
        printer = Printer(output, form, command, messages)
        arrivals = Arrivals()
        with server(place, embedded, messages.say) as where, listening(where, names, driver, messages, arrivals) as it:
            arrivals.known_good_at = lambda: it.status().known_good_at
            when_unread(lambda: arrivals.end(BrokenPipeError()))
            code = interruption.run(lambda: printer.print_all(arrivals, timeout, count))
    raise typer.Exit(code or 0)


def _form(json: bool, timestamps: bool, silent: bool, is_terminal: bool) -> Form:
    from pgnotify.cli.lines import json_line, plain

    if json:
        return json_line
    if silent:
        return lambda item: None
    has_colours = is_terminal and os.environ.get("TERM") != "dumb"
    return plain(timestamps, colours=has_colours and not os.environ.get("NO_COLOR"))
