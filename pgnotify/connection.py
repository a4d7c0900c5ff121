"""A connection of any driver, with the five verbs: `connect` and `wrap` return it.

Also `notify` and `notify_many`, for a caller that only sends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pgnotify.errors import UnknownBackend
from pgnotify.handler.handler import NotificationHandler
from pgnotify.limits import check_channel, check_payload, check_timeout, is_async
from pgnotify.notification import Notification
from pgnotify.program.forks import forget_after_fork, keep_for_ever
from pgnotify.protocol import Backend, NotifiesMany
from pgnotify.registry import backend_for, connect_with, one_driver
from pgnotify.sending import sent
from pgnotify.uncopyable import Uncopyable

if TYPE_CHECKING:
    from pgnotify.connecting.dialect import ConnectionString


class Connection(Uncopyable):
    """A driver's connection that listens and notifies, whatever the driver.

    Make one with `connect` or `wrap`. Names and payloads are checked here, before anything is sent.
    One thread at a time may use it, as with the driver's own object.

    Attributes:
        connection: the driver's own connection, for everything else.
        backend: implements the verbs on it.
    """

    def __init__(self, connection: Any, backend: Backend) -> None:
        self.connection = connection
        self.backend = backend
        self._process = os.getpid()
        forget_after_fork(self)

    def listen(self, channel: str) -> None:
        """Listen to a channel, named as written; in force on return.

        Raises:
            ChannelError: PostgreSQL would refuse or cut the name.
            TransactionError: the connection is inside a transaction.
            ConnectionLost: the server is gone.
        """
        self.backend.listen(check_channel(channel))

    def unlisten(self, channel: str) -> None:
        """Stop listening to a channel; in force on return. Notifications that have arrived can still be fetched.

        Raises:
            ChannelError, TransactionError, ConnectionLost: as for `listen`.
        """
        self.backend.unlisten(check_channel(channel))

    def wait(self, timeout: float | None = None, wakeup: int | None = None) -> bool:
        """Block until `fetch` may have something to return.

        Args:
            timeout: seconds; None waits for ever, 0 only looks.
            wakeup: a descriptor that ends the wait when it becomes readable.

        Returns:
            False if the timeout passed first. True may be a false alarm.

        Raises:
            TransactionError: the connection is inside a transaction, where nothing can arrive.
            ConnectionLost: the server is gone.
        """
        return self.backend.wait(check_timeout(timeout), wakeup)

    def fetch(self) -> list[Notification]:
        """Return the notifications that have arrived, in order, without waiting; only a part of a long backlog.

        Raises:
            UndecodablePayload: the driver cannot decode one notification, and it is lost; see `Backend.fetch`.
            ConnectionLost: the server is gone, and every earlier notification was returned.
        """
        return self.backend.fetch()

    def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification; see `pgnotify.notify`."""
        pair = check_channel(channel), check_payload(payload)
        self.backend.notify(*pair)
        sent(self.connection, (pair,))

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """Send any number of notifications in one round trip; see `pgnotify.notify_many`."""
        checked = [(check_channel(channel), check_payload(payload)) for channel, payload in notifications]
        if not isinstance(self.backend, NotifiesMany):
            raise NotImplementedError(f"{type(self.backend).__qualname__} does not offer notify_many")
        if checked:
            self.backend.notify_many(checked)
            sent(self.connection, checked)

    def notification_handler(
        self,
        event: str,
        callback: Callable[[Any], object],
        arg_dict: dict[str, Any] | None = None,
        timeout: float | None = None,
        stop_event: str | None = None,
    ) -> NotificationHandler:
        """Make a `NotificationHandler` on this connection, as PyGreSQL's ``DB`` does."""
        return NotificationHandler(self, event, callback, arg_dict, timeout, stop_event)

    def connection_handler(
        self,
        event: str,
        callback: Callable[[Any], object],
        arg_dict: dict[str, Any] | None = None,
        timeout: float | None = None,
        stop_event: str | None = None,
    ) -> NotificationHandler:
        """Do the same as `notification_handler`, by the name that PyGreSQL's documentation of 5.0 has for it."""
        return self.notification_handler(event, callback, arg_dict, timeout, stop_event)

    def close(self) -> None:
        """Close the connection. May be called twice, and on a dead connection.

        In a process that was forked from the one that made this object, do nothing: the connection is the parent's.
        """
        if self._process == os.getpid():
            self.backend.close()

    def forget_in_child(self) -> None:
        """Keep the end of a forked child from ending the parent's session. Called in the child after the fork."""
        keep_for_ever(self.connection, self.backend)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        # Not the repr() of the driver's own object: one driver's shows the connection string.
        cls = type(self.connection)
        return f"<{type(self).__name__} of a {cls.__module__}.{cls.__qualname__} at {id(self.connection):#x}>"


def connect(dsn: ConnectionString = "", driver: str | None = None, **options: Any) -> Connection:
    """Open a connection, in autocommit mode, and return it wrapped.

    Args:
        dsn: a libpq connection string, as a URI or as key=value pairs; missing parameters come
            from the PG… environment variables and libpq's defaults, on every driver. A URI may name the
            driver, as in ``postgresql+driver://``, as SQLAlchemy's do. SQLAlchemy's URL objects are taken, too.
        driver: its name, as in `pgnotify.registry.DRIVERS`; None takes the one that the URI names, or
            the first of these that is installed.
        options: libpq's connection parameters, such as ``application_name="jobs"``; they override
            those in the string.

    Raises:
        UnknownBackend: the driver is unknown or not installed.
        ValueError: the string cannot be read, has a parameter that the driver cannot express, has an sslmode
            other than verify-full beside sslrootcert=system, or names another driver than ``driver``.

    If the server cannot be reached or refuses, the driver's own error is raised.
    """
    from pgnotify.connecting import conninfo, dialect  # a third of the time to import pgnotify; only connect() needs it

    dsn = dialect.written_out(dsn)
    parameters = conninfo.ready(conninfo.merge(dsn, options))
    return wrap(connect_with(one_driver(dialect.driver_in(dsn), driver))(parameters))


def wrap(connection: Any) -> Connection:
    """Wrap a connection of any supported driver; a wrapped connection is returned as it is.

    Nothing is sent, and the connection's mode does not change.

    Raises:
        UnknownBackend: no backend fits.
        TypeError: another object of a driver was passed, such as a cursor or a pool.
    """
    if issubclass(type(connection), Connection):  # isinstance() fails on some closed connections
        wrapped: Connection = connection
        return wrapped
    return Connection(connection, backend_for(connection))


def notify(db: Any, channel: str, payload: str = "") -> None:
    """Send a notification through any supported connection.

    It is sent at once. Inside a transaction of the user's it is sent when that commits. Within one
    transaction PostgreSQL sends equal pairs of channel and payload once.

    Raises:
        ChannelError, PayloadError: PostgreSQL would refuse or cut it; nothing is sent.
        ConnectionLost: the server is gone.
    """
    wrap(db).notify(channel, payload)


def notify_many(db: Any, notifications: Iterable[tuple[str, str]]) -> None:
    """Send any number of (channel, payload) pairs, in order, in one round trip: all or none.

    They share a transaction: the user's if one is open, otherwise one of their own. So PostgreSQL
    sends equal pairs once.

    Raises:
        ChannelError, PayloadError: PostgreSQL would refuse or cut one of them; nothing is sent.
        ConnectionLost: the server is gone.
    """
    wrap(db).notify_many(notifications)


def own_backend(connection: Any) -> Backend:
    """Return the backend of a `Connection`, or a backend itself.

    Raises:
        UnknownBackend: it is another object of pgnotify.
    """
    if isinstance(connection, Connection):
        return connection.backend
    if isinstance(connection, Backend) and not is_async(connection.listen):
        return connection
    raise UnknownBackend(f"pass a connection, not a {type(connection).__module__}.{type(connection).__qualname__}")
