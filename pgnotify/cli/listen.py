"""``pgnotify listen``: one line for each notification."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pgnotify.cli.command_line import CannotBegin
from pgnotify.cli.options import Driver, Dsn, Embedded, Quiet

if TYPE_CHECKING:
    from pgnotify.cli.lines import Form

Names = Annotated[list[str], typer.Argument(metavar="CHANNEL... [DSN]", show_default=False, help="Names as written.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object for each notification and each gap.")]
Timestamps = Annotated[bool, typer.Option("--timestamps", help="Begin each line with the time.")]
Timeout = Annotated[float | None, typer.Option(help="End after this many seconds without a notification.")]
Count = Annotated[int | None, typer.Option(min=1, help="End after this many. Exit code 1 if --timeout comes first.")]
Exec = Annotated[
    str | None,
    typer.Option("--exec", metavar="CMD", help="Run a command (no shell) with each payload on its standard input."),
]


def listen(
    channels: Names,
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
    """Print a line for each notification, until Ctrl-C. Reconnect after a loss, and report the gap."""
    from pgnotify.cli.execute import Command
    from pgnotify.cli.interruption import Interruption
    from pgnotify.cli.listening import arriving
    from pgnotify.cli.messages import Messages
    from pgnotify.cli.output import Output, when_unread
    from pgnotify.cli.printer import Printer
    from pgnotify.cli.target import server, split_dsn

    names, place = split_dsn(channels, dsn)
    _check(names, timeout)
    code: int | None = 0
    with Interruption() as interruption:
        messages = Messages(quiet)
        # With --exec, standard output is the command's, unless JSON is wanted there.
        output = Output(to_errors=exec_ is not None and not json, encoding="utf-8" if json else None)
        command = None if exec_ is None else Command(exec_, interruption, output_to_errors=json)
        printer = Printer(output, _form(json, timestamps, exec_ is not None and quiet), command, messages)
        with server(place, embedded, messages.say) as where, arriving(where, names, driver, messages) as arrivals:
            when_unread(lambda: arrivals.end(BrokenPipeError()))
            code = interruption.run(lambda: printer.print_all(arrivals, timeout, count))
    raise typer.Exit(code or 0)


def _check(names: list[str], timeout: float | None) -> None:
    from pgnotify.limits import check_seconds

    if not names:
        raise CannotBegin("name a channel, before the connection string")
    try:
        check_seconds("--timeout", timeout, may_be_none=True)
    except ValueError as error:
        raise CannotBegin(str(error)) from error


def _form(json: bool, timestamps: bool, silent: bool) -> Form:
    from pgnotify.cli.lines import json_line, plain

    if json:
        return json_line
    if silent:
        return lambda item: None
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return plain(timestamps, colours=is_terminal and not os.environ.get("NO_COLOR"))
