"""The commands `pgnotify outbox …`: the tables of an outbox, and their upkeep."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from pgnotify.cli.command_line import Group
from pgnotify.cli.drawing import draw
from pgnotify.cli.options import Dsn
from pgnotify.cli.streams import write_exactly
from pgnotify.connection import connect

if TYPE_CHECKING:
    from rich.table import Table

    from pgnotify.outbox.outbox import Outbox
    from pgnotify.outbox.status import OutboxStatus, SubscriptionStatus

outbox_app = typer.Typer(
    cls=Group,
    help="The outbox: messages that are stored with the sender's transaction.",
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Option(help="The name of the outbox.")]
Schema = Annotated[str, typer.Option(help="The schema of the outbox.")]
Senders = Annotated[list[str] | None, typer.Option("--sender", help="A role that may send; repeat it for more.")]
Readers = Annotated[list[str] | None, typer.Option("--reader", help="A role that may listen; repeat it for more.")]
MaxAge = Annotated[str, typer.Option(help="How long messages are kept, such as 7d, 12h, 30m or 10s.")]
MaxRows = Annotated[int, typer.Option(min=1, help="How many messages one transaction removes at most.")]

_AGE = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


@outbox_app.command()
def sql(
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    sender: Senders = None,
    reader: Readers = None,
    upgrade_from: Annotated[int | None, typer.Option(help="Print the upgrade from this version instead.")] = None,
    uninstall: Annotated[bool, typer.Option(help="Print the statements that remove it instead.")] = False,
) -> None:
    """Print the statements that make an outbox, for a migration."""
    outbox = _outbox(name, schema)
    if uninstall:
        text = outbox.uninstall_sql()
    elif upgrade_from is not None:
        text = outbox.upgrade_sql(upgrade_from)
    else:
        text = outbox.install_sql(sender or (), reader or ())
    write_exactly(text)


@outbox_app.command()
def install(
    dsn: Dsn = None,
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    sender: Senders = None,
    reader: Readers = None,
) -> None:
    """Make an outbox, or upgrade it; and give roles their rights. It may be repeated."""
    outbox = _outbox(name, schema)
    with connect(dsn or "") as connection:
        outbox.install(connection, sender or (), reader or ())
        version = outbox.status(connection).version
    typer.echo(f"the outbox {schema}.{name} is installed, version {version}")


@outbox_app.command()
def status(dsn: Dsn = None, name: Name = "pgnotify_outbox", schema: Schema = "public") -> None:
    """Show how much is in an outbox, and how far each subscription is. The exit code is 2 if positions are void."""
    outbox = _outbox(name, schema)
    with connect(dsn or "") as connection:
        found = outbox.status(connection)
    draw(_table_of(f"{schema}.{name}", found))
    if found.subscriptions:
        draw(_table_of_subscriptions(found))
    if found.is_void or any(each.is_void for each in found.subscriptions):
        typer.echo("pgnotify: positions are void, as this is a copy: run `pgnotify outbox rebase`", err=True)
        raise typer.Exit(2)


@outbox_app.command()
def prune(
    dsn: Dsn = None,
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    max_age: MaxAge = "7d",
    max_rows: MaxRows = 10_000,
) -> None:
    """Remove messages that are older than --max-age, in several transactions if there are many."""
    outbox = _outbox(name, schema, max_age=_age(max_age))
    with connect(dsn or "") as connection:
        total = count = outbox.prune(connection, max_rows)
        while count == max_rows:
            count = outbox.prune(connection, max_rows)
            total += count
    typer.echo(f"removed {total} messages older than {max_age}")


@outbox_app.command()
def rebase(
    dsn: Dsn = None,
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    subscription: Annotated[str | None, typer.Option(help="Move this one only.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make void positions valid again, after a dump and restore or a copy: messages come a second time."""
    if not yes:
        typer.confirm("Messages of the subscriptions that are moved will be delivered again. Continue?", abort=True)
    outbox = _outbox(name, schema)
    with connect(dsn or "") as connection:
        done = outbox.rebase(connection, subscription)
    typer.echo(
        f"{'marked the copy as an outbox of its own, ' if done.new_home else ''}moved {done.subscriptions} "
        f"subscriptions to the beginning, and {done.messages} messages to this server's transactions"
    )


def _outbox(name: str, schema: str, max_age: timedelta = timedelta(days=7)) -> Outbox:
    from pgnotify.outbox.outbox import Outbox

    return Outbox(name, schema, max_age=max_age)


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if found is None:
        raise ValueError(f"--max-age must be a number and d, h, m or s, such as 7d, not {text!r}")
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


def _table_of(name: str, found: OutboxStatus) -> Table:
    from rich.table import Table

    from pgnotify.outbox.status import MOST_COUNTED

    table = Table(title=f"outbox {name}", show_header=False)
    for field, value in (
        ("version", str(found.version)),
        ("messages", f"{'about ' if found.messages > MOST_COUNTED else ''}{found.messages:,}"),
        ("size", f"{found.size:,} bytes"),
        ("oldest message", "-" if found.oldest is None else f"{_shown(found.oldest)} ago"),
        ("dead rows", f"about {found.dead:,}"),
    ):
        table.add_row(field, value)
    return table


def _table_of_subscriptions(found: OutboxStatus) -> Table:
    from rich.table import Table

    table = Table()
    columns: dict[str, Callable[[SubscriptionStatus], str]] = {
        "subscription": lambda each: each.name,
        "channels": lambda each: ", ".join(each.channels),
        "unread": lambda each: f"{each.unread:,}{'+' if each.has_more else ''}",
        "moved": lambda each: f"{_shown(each.moved)} ago",
        "expired": lambda each: f"{each.expired:,}",
        "state": lambda each: "void" if each.is_void else "active" if each.is_active else "away",
    }
    for title in columns:
        table.add_column(title, overflow="fold")
    for each in found.subscriptions:
        table.add_row(*(show(each) for show in columns.values()))
    return table


def _shown(age: timedelta) -> str:
    """Return an age in its largest unit, such as ``3.2 h``."""
    seconds = age.total_seconds()
    unit = next((unit for unit, size in _SECONDS.items() if seconds >= size), "s")
    return f"{seconds / _SECONDS[unit]:.1f} {unit}"
