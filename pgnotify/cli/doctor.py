"""The command `pgnotify doctor`: whether notifications arrive, and everything that may prevent it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from pgnotify.cli.command_line import FAILED, MISUSED, CannotBegin
from pgnotify.cli.drawing import draw
from pgnotify.cli.options import Driver, Dsn, Embedded, Json, checked_seconds

if TYPE_CHECKING:
    from pgnotify.cli.examination.facts import Facts
    from pgnotify.cli.findings import Found

TIMEOUT = 10.0

Place = Annotated[str | None, typer.Argument(metavar="DSN", help="The same as --dsn.", show_default=False)]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Look only whether a notification arrives, and print a line if not.")
]
Timeout = Annotated[float, typer.Option(help="Give up after this many seconds.")]


def doctor(
    place: Place = None,
    dsn: Dsn = None,
    embedded: Embedded = False,
    driver: Driver = None,
    as_json: Json = False,
    quiet: Quiet = False,
    timeout: Timeout = TIMEOUT,
) -> None:
    """Say whether notifications arrive, and name faults of the server and of the way to it, with a remedy each.

    The exit code is 1 if something is broken, and 2 if the doctor could not look.
    """
    from pgnotify.cli.examination.gathering import gather
    from pgnotify.cli.findings import examine
    from pgnotify.cli.target import server

    timeout = checked_seconds("--timeout", timeout)
    if place and dsn and dsn != os.environ.get("PGNOTIFY_DSN"):
        raise CannotBegin("there are two connection strings: leave out --dsn, or the argument")
    with server(place or dsn, embedded) as where:
        facts = gather(where, driver, timeout, quiet)
    report = examine(facts)
    code = _code_of(facts, report)
    if as_json:
        typer.echo(json.dumps(_document(facts, report, code), indent=2))
    elif quiet:
        _print_line(report)
    else:
        draw_report(facts, report)
    raise typer.Exit(code)


def _code_of(facts: Facts, report: list[Found]) -> int:
    from pgnotify.cli.findings import State

    if not facts.is_connected:
        return MISUSED
    states = {found.name: found.verdict.state for found in report}
    if State.BROKEN in states.values():
        return FAILED
    return MISUSED if states["delivery"] is State.UNKNOWN else 0


def _document(facts: Facts, report: list[Found], code: int) -> dict[str, object]:
    from pgnotify.cli.findings import worst
    from pgnotify.cli.inventory import own_version

    return {
        "pgnotify": own_version(),
        "is_connected": facts.is_connected,
        "exit_code": code,
        "state": str(worst(report)),
        "findings": [found.as_dict() for found in report],
    }


def _print_line(report: list[Found]) -> None:
    """Print the fault that keeps notifications from arriving, or the doctor from trying."""
    from pgnotify.cli.findings import State
    from pgnotify.cli.lines import printable

    bad = [found for found in report if found.verdict.state is State.BROKEN]
    bad += [found for found in report if found.name == "delivery" and found.verdict.state is State.UNKNOWN]
    for name, (_, text, remedy, _) in bad[:1]:
        typer.echo(printable(f"pgnotify: {name}: {text} {remedy}"), err=True)


def draw_report(facts: Facts, report: list[Found]) -> None:
    """Draw the report as a table. Without a connection, it has only the findings that need none."""
    from rich.table import Table
    from rich.text import Text

    from pgnotify.cli.findings import State
    from pgnotify.cli.lines import printable  # others choose the names of sessions, channels and schemas

    colours = {
        State.OK: "green",
        State.NOTE: "cyan",
        State.UNKNOWN: "magenta",
        State.WARNING: "yellow",
        State.BROKEN: "bold red",
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, (state, text, remedy, _) in report:
        if facts.is_connected or state is not State.UNKNOWN:
            table.add_row(Text(str(state), colours[state]), Text.assemble((name, "bold"), printable(f": {text}")))
            if remedy:
                table.add_row("", printable(f"→ {remedy}"))
    draw(table)
