"""`pgnotify trigger`: print SQL for triggers that notify of changed rows."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from pgnotify.cli.command_line import CannotBegin
from pgnotify.cli.streams import write_exactly
from pgnotify.cli.trigger.names import names_in


class Operation(str, enum.Enum):
    """An operation that changes rows."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


def trigger(
    table: Annotated[str, typer.Argument(help="TABLE, or SCHEMA.TABLE.", show_default=False)],
    channel: Annotated[str | None, typer.Option(help="The channel to notify.", show_default=False)] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Columns that identify a row. By default the primary key, read at run time: 5 times slower."),
    ] = None,
    columns: Annotated[str, typer.Option(help="Columns to send, before and after: all, none or names.")] = "none",
    if_changed: Annotated[
        str | None, typer.Option(help="Notify of an update only if it changes one of these columns: all, or names.")
    ] = None,
    when: Annotated[
        str | None,
        typer.Option(help="An SQL condition on NEW and OLD, printed as it is: write schemas for what it uses."),
    ] = None,
    operation: Annotated[
        list[Operation] | None,
        typer.Option(help="Repeat it for more. By default those that have the rows which --when names."),
    ] = None,
    schema: Annotated[str | None, typer.Option(help="The table's schema; public if not given.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The name of the function, and the beginning of those of its triggers.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Print the statements that remove them instead.")] = False,
) -> None:
    """Print SQL for triggers that notify of each changed row, with a payload in JSON.

    {"schema": …, "table": …, "operation": "INSERT", "UPDATE" or "DELETE", "key": {column: value, …}}; and "old_key" if
    an update changes the key, "old" and "new" with --columns. The key is null if the table has no primary key.

    A payload that would be longer than the 7,999 bytes that PostgreSQL carries has "truncated": true instead of the
    columns, and of the key if that is too long. So the change of the row never fails because of its size. It fails, as
    with every NOTIFY, if the server's queue is full when the transaction commits, and in PREPARE TRANSACTION.

    Everybody who may connect to the database may listen, and so read these columns.

    Names are as written, with commas between them; one with a comma or a dot stands in double quotes.
    """
    from pgnotify.cli.target import is_dsn
    from pgnotify.cli.trigger.statements import Trigger
    from pgnotify.outbox.tables import DEFAULT_SCHEMA

    if is_dsn(table):
        raise CannotBegin("trigger connects to no server: name a TABLE, and run the statements that it prints")
    *schemas, table = names_in(table, ".")
    if schema is not None:
        schemas.append(schema)
    if len(schemas) > 1:
        raise CannotBegin("TABLE has too many dots: put a name that has one in double quotes")
    made = Trigger(table, schemas[0] if schemas else DEFAULT_SCHEMA, name)
    if drop:
        write_exactly(made.drop_sql())
        return
    if channel is None:
        raise CannotBegin("--channel is missing: which channel shall the triggers notify?")
    text = made.create_sql(
        channel,
        key=_chosen(key),
        columns=_chosen(columns),
        if_changed=_chosen(if_changed),
        when=when,
        operations=[each.value for each in operation or ()],
    )
    write_exactly(text)


def _chosen(columns: str | None) -> tuple[str, ...]:
    from pgnotify.cli.trigger.statements import ALL

    if columns in (None, "none"):
        return ()
    return ALL if columns == "all" else tuple(names_in(str(columns), ","))
