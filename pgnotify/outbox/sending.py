"""Why a message could not be stored, if that is due to the outbox and not to the message or the transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgnotify.connecting.retryable import message_of, sqlstate_of
from pgnotify.errors import OutboxError
from pgnotify.outbox.tables import Tables

_UNDEFINED_TABLE = "42P01"
_UNDEFINED_COLUMN = "42703"
_INSUFFICIENT_PRIVILEGE = "42501"


@contextmanager
def naming_remedies(tables: Tables) -> Iterator[None]:
    """Raise an `OutboxError` from the server's error if there is no outbox to send to, or no right to do so."""
    try:
        yield
    except Exception as error:
        if (told := _not_sent(error, tables)) is None:
            raise
        raise told from error


def _not_sent(error: Exception, tables: Tables) -> OutboxError | None:
    """Return the error that names the remedy; None if the server's own says all.

    The server's error may come from a trigger of the user's. Then it does not have the name of the outbox.
    """
    state, message = sqlstate_of(error), message_of(error)
    if tables.name not in message and tables.schema not in message:
        return None
    if state == _UNDEFINED_TABLE:
        return OutboxError(f"there is no outbox {tables} in this database: run `pgnotify outbox install`")
    if state == _UNDEFINED_COLUMN:
        return OutboxError(f"the table {tables} is not an outbox: choose another name, or another schema")
    if state == _INSUFFICIENT_PRIVILEGE:
        return OutboxError(
            f"the role may not send to the outbox {tables} ({message}): "
            "have the owner run `pgnotify outbox install --sender` with the name of the role"
        )
    return None
