"""The errors of pgnotify, and nothing else.

    PgNotifyError
    ├── ChannelError             a channel that PostgreSQL would refuse or cut    (also ValueError)
    ├── PayloadError             a payload that PostgreSQL would refuse or cut    (also ValueError)
    │   └── UndecodablePayload   one has arrived that the driver cannot decode; the connection is fine
    ├── TransactionError         the connection is inside an open transaction
    ├── UnexpectedNotification   the handler was notified of a third channel      (also the driver's DatabaseError)
    ├── ConnectionLost           the server is gone; the driver's error is the __cause__
    │   ├── Unanswered           it did not answer in time, and the connection was given up
    │   └── NotPrimary           it is a standby, on which nobody can listen
    ├── SourceError              a listener's source did not return a new, live connection
    ├── HandlerClosed            the handler was closed, or belongs to another process
    ├── ListenerClosed           the listener was stopped, or belongs to another process
    ├── OutboxError              an outbox is not there, or not as it should be
    │   ├── VoidPosition         the positions in it belong to another server, of which it is a copy
    │   └── Superseded           another process has taken over a durable subscription
    └── UnknownBackend           no backend fits an object                        (also TypeError)

SQL errors of a driver pass through pgnotify unchanged and are not in this tree.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, cast


class PgNotifyError(Exception):
    """The base of every error that pgnotify itself raises."""


class ChannelError(PgNotifyError, ValueError):
    """A channel name that PostgreSQL would refuse or cut; raised before anything is sent."""


class PayloadError(PgNotifyError, ValueError):
    """A payload that PostgreSQL would refuse or cut; raised before anything is sent."""


class UndecodablePayload(PayloadError):
    """One notification has arrived and is lost, because the driver cannot decode it. The connection is fine.

    The next `fetch` continues after it. Neither the message nor the driver's error, the ``__cause__``, shows it whole.

    Attributes:
        channel: its channel; None if the driver does not say.
        undecodable: the bytes that could not be decoded; None if the driver does not show them.
    """

    def __init__(self, message: str, channel: str | None = None, undecodable: bytes | None = None) -> None:
        super().__init__(message)
        self.channel = channel
        self.undecodable = undecodable


class TransactionError(PgNotifyError):
    """The connection is inside a transaction of the user's, in which it cannot listen."""


class ConnectionLost(PgNotifyError):
    """The server is gone, or the connection was closed; the driver's own error is the ``__cause__``."""


class Unanswered(ConnectionLost):
    """The server did not answer in time; the connection was given up."""


class NotPrimary(ConnectionLost):
    """The server is a standby, on which nobody can listen; the connection was given up."""


class SourceError(PgNotifyError):
    """The source of a `Listener` returned a dead connection, or the same connection again."""


class HandlerClosed(PgNotifyError):
    """The handler was closed, or it belongs to the process that this one was forked from."""


class ListenerClosed(PgNotifyError):
    """The listener was stopped, or it belongs to the process that this one was forked from."""


class OutboxError(PgNotifyError):
    """An outbox is not there, has another version, or may not be used by this role. The message names the remedy."""


class VoidPosition(OutboxError):
    """The positions in an outbox mean nothing: it is a copy of another one, or the server has lost transactions."""


class Superseded(OutboxError):
    """Another process has taken over a durable subscription, so this batch cannot be acknowledged. It comes again."""


class UnknownBackend(PgNotifyError, TypeError):
    """No backend fits the object that was passed as a connection."""


class UnexpectedNotification(PgNotifyError):
    """The documented handler was notified of a channel that is neither its event nor its stop event.

    The error raised is always an instance of the driver's own ``DatabaseError``, too (see
    `unexpected_for`), so ``except pg.DatabaseError`` in older code keeps working.
    """

    _database_error: ClassVar[Any] = PgNotifyError

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the driver's class in a pickle, because there is no module that has the class for the driver."""
        _, arguments, *state = cast("tuple[Any, ...]", super().__reduce__())
        return _unexpected, (self._database_error, arguments), *state


@functools.cache  # one class for each driver in the process
def unexpected_for(database_error: type[Exception]) -> type[UnexpectedNotification]:
    """Return an `UnexpectedNotification` that is also a ``database_error``."""
    if issubclass(UnexpectedNotification, database_error):
        return UnexpectedNotification
    return type(
        "UnexpectedNotification",
        (UnexpectedNotification, database_error),
        {
            "__doc__": UnexpectedNotification.__doc__,
            "__module__": __name__,
            "_database_error": database_error,
        },
    )


def _unexpected(database_error: Any, arguments: tuple[object, ...]) -> UnexpectedNotification:
    return unexpected_for(database_error)(*arguments)
