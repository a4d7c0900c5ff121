"""The errors of pgnotify, and nothing else.

    PgNotifyError
    ├── ChannelError             a channel that PostgreSQL would refuse or cut    (also ValueError)
    ├── PayloadError             a payload that PostgreSQL would refuse or cut    (also ValueError)
    ├── TransactionError         an open transaction stands in the way
    ├── UnexpectedNotification   the handler was notified of a third channel      (also the driver's DatabaseError)
    ├── ConnectionLost           the server is gone; the driver's error is the __cause__
    │   ├── Unanswered           it did not answer within the deadline, and was given up
    │   └── NotPrimary           it is a standby, where nobody can listen
    ├── SourceError              a listener's source gave no fresh, live connection
    ├── HandlerClosed            the handler was closed, or belongs to another process
    ├── ListenerClosed           the listener was stopped, or belongs to another process
    └── UnknownBackend           no backend fits an object                        (also TypeError)

SQL errors of a driver pass through pgnotify unchanged and are not in this tree.
"""

from __future__ import annotations

import functools


class PgNotifyError(Exception):
    """The base of every error that pgnotify itself raises."""


class ChannelError(PgNotifyError, ValueError):
    """A channel name that PostgreSQL would refuse or cut; raised before anything is sent."""


class PayloadError(PgNotifyError, ValueError):
    """A payload that PostgreSQL would refuse or cut; raised before anything is sent.

    One driver raises it also for a payload that came in and that it cannot decode: see its backend.
    """


class TransactionError(PgNotifyError):
    """The connection is inside a transaction of the user's, where nothing can be listened to."""


class ConnectionLost(PgNotifyError):
    """The server is gone, or the connection was closed; the driver's own error is the ``__cause__``."""


class Unanswered(ConnectionLost):
    """The server did not answer within the deadline; the connection was given up."""


class NotPrimary(ConnectionLost):
    """The server is a standby, on which nobody can listen; the connection was given up."""


class SourceError(PgNotifyError):
    """What a `Listener` was told to connect with gave a dead connection, or the same one once more."""


class HandlerClosed(PgNotifyError):
    """The handler was closed, or it belongs to the process that this one was forked from."""


class ListenerClosed(PgNotifyError):
    """The listener was stopped, or it belongs to the process that this one was forked from."""


class UnknownBackend(PgNotifyError, TypeError):
    """No backend fits the object that was passed as a connection."""


class UnexpectedNotification(PgNotifyError):
    """The documented handler was notified of a channel that is neither its event nor its stop event.

    What is raised is always an instance of the driver's own ``DatabaseError`` too (see
    `unexpected_for`), so that ``except pg.DatabaseError`` in older code goes on working.
    """


@functools.cache  # one class for each driver in the process
def unexpected_for(database_error: type[Exception]) -> type[UnexpectedNotification]:
    """Return an `UnexpectedNotification` that is also a ``database_error``."""
    if issubclass(UnexpectedNotification, database_error):
        return UnexpectedNotification
    return type(
        "UnexpectedNotification",
        (UnexpectedNotification, database_error),
        {"__doc__": UnexpectedNotification.__doc__, "__module__": __name__},
    )
