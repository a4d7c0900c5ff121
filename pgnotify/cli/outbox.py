"""The commands `pgnotify outbox …`: the tables of an outbox, and their upkeep."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pgnotify.connecting.conninfo import parse
from pgnotify.connecting.keywords import SECRETS
from pgnotify.connection import connect
from pgnotify.outbox.outbox import Outbox
from pgnotify.outbox.status import MOST_COUNTED, OutboxStatus, SubscriptionStatus

outbox_app = typer.Typer(
    no_args_is_help=True, help="The outbox: messages that are stored with the sender's transaction."
)
# highlight=False and markup=False: names are shown exactly as they are.
_console = Console(highlight=False, markup=False, soft_wrap=True)
_errors = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)

Dsn = Annotated[str, typer.Option(envvar="PGNOTIFY_DSN", help="A libpq connection string; PG… variables complete it.")]
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
    with _told():
        outbox = Outbox(name, schema)
        if uninstall:
            text = outbox.uninstall_sql()
        elif upgrade_from is not None:
            text = outbox.upgrade_sql(upgrade_from)
        else:
            text = outbox.install_sql(sender or (), reader or ())
        typer.echo(text, nl=False)


@outbox_app.command()
def install(
    dsn: Dsn = "",
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    sender: Senders = None,
    reader: Readers = None,
) -> None:
    """Make an outbox, or upgrade it; and give roles their rights. It may be repeated."""
    with _told(dsn):
        outbox = Outbox(name, schema)
        with connect(dsn) as connection:
            outbox.install(connection, sender or (), reader or ())
            version = outbox.status(connection).version
    _console.print(f"the outbox {schema}.{name} is installed, version {version}")


@outbox_app.command()
def status(dsn: Dsn = "", name: Name = "pgnotify_outbox", schema: Schema = "public") -> None:
    """Show how much is in an outbox, and how far each subscription is. The exit code is 2 if positions are void."""
    with _told(dsn):
        outbox = Outbox(name, schema)
        with connect(dsn) as connection:
            found = outbox.status(connection)
    _console.print(_table_of(f"{schema}.{name}", found))
    if found.subscriptions:
        _console.print(_table_of_subscriptions(found))
    if found.is_void or any(each.is_void for each in found.subscriptions):
        _errors.print("pgnotify: positions are void, as this is a copy: run `pgnotify outbox rebase`")
        raise typer.Exit(2)


@outbox_app.command()
def prune(
    dsn: Dsn = "",
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    max_age: MaxAge = "7d",
    max_rows: MaxRows = 10_000,
) -> None:
    """Remove messages that are older than --max-age, in several transactions if there are many."""
    with _told(dsn):
        outbox = Outbox(name, schema, max_age=_age(max_age))
        with connect(dsn) as connection:
            total = count = outbox.prune(connection, max_rows)
            while count == max_rows:
                count = outbox.prune(connection, max_rows)
                total += count
    _console.print(f"removed {total} messages older than {max_age}")


@outbox_app.command()
def rebase(
    dsn: Dsn = "",
    name: Name = "pgnotify_outbox",
    schema: Schema = "public",
    subscription: Annotated[str | None, typer.Option(help="Move this one only.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make void positions valid again, after a dump and restore or a copy: messages come a second time."""
    if not yes:
        typer.confirm("Messages of the subscriptions that are moved will be delivered again. Continue?", abort=True)
    with _told(dsn):
        outbox = Outbox(name, schema)
        with connect(dsn) as connection:
            done = outbox.rebase(connection, subscription)
    _console.print(
        f"{'marked the copy as an outbox of its own, ' if done.new_home else ''}moved {done.subscriptions} "
        f"subscriptions to the beginning, and {done.messages} messages to this server's transactions"
    )


@contextmanager
def _told(dsn: str = "") -> Iterator[None]:
    """Print an error in one line, and exit."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        _errors.print(f"pgnotify: {_without_secrets(lines[0], dsn)}")
        raise typer.Exit(1) from None


def _without_secrets(message: str, dsn: str) -> str:
    """Return a message without the secrets of a connection string, should a driver quote one."""
    try:
        parameters = parse(dsn)
    except ValueError:
        return message  # which is about the string, and quotes nothing of it that may be a secret
    for secret in filter(None, map(parameters.get, SECRETS)):
        message = message.replace(secret, "***")
    return message


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if found is None:
        raise ValueError(f"--max-age must be a number and d, h, m or s, such as 7d, not {text!r}")
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


def _table_of(name: str, found: OutboxStatus) -> Table:
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
