"""A connection of any driver on the event loop: `connect_async` and `wrap_async` return it.

Also `notify_async` and `notify_many_async`, for a caller that only sends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pgnotify.aio.backend import unbound
from pgnotify.aio.handler import AsyncNotificationHandler
from pgnotify.aio.loop import Loop
from pgnotify.aio.opening import open_in_thread
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.async_protocol import AsyncBackend
from pgnotify.errors import PgNotifyError
from pgnotify.limits import check_channel, check_payload, check_timeout, is_async
from pgnotify.notification import Notification
from pgnotify.program.forks import forget_after_fork, keep_for_ever
from pgnotify.registry import connect_async_with, one_driver
from pgnotify.sending import sent
from pgnotify.uncopyable import Uncopyable

if TYPE_CHECKING:
    from pgnotify.connecting.dialect import ConnectionString


class AsyncConnection(Uncopyable):
    """A driver's connection that listens and notifies on the event loop, whatever the driver.

    Make one with `connect_async` or `wrap_async`. Names and payloads are checked here, before anything is sent. One
    task at a time may use it. A call that is cancelled loses nothing, and leaves the connection usable. In a forked
    child every call except `close` raises a PgNotifyError.

    Attributes:
        connection: the driver's own connection, for everything else.
        backend: implements the verbs on it.
    """

    def __init__(self, connection: Any, backend: AsyncBackend, loop: Loop) -> None:
        self.connection = connection
        self.backend = backend
        self._loop = loop
        self._wakeup = LoopWakeup(loop)
        self._process = os.getpid()
        forget_after_fork(self)

    async def listen(self, channel: str) -> None:
        """Listen to a channel, named as written; in force on return.

        Raises:
            ChannelError: PostgreSQL would refuse or cut the name.
            TransactionError: the connection is inside a transaction.
            ConnectionLost: the server is gone.
        """
        self.check_here()
        await self.backend.listen(check_channel(channel))

    async def unlisten(self, channel: str) -> None:
        """Stop listening to a channel; in force on return. Notifications that have arrived can still be fetched.

        Raises:
            ChannelError, TransactionError, ConnectionLost: as for `listen`.
        """
        self.check_here()
        await self.backend.unlisten(check_channel(channel))

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until `fetch` may have something to return.

        Args:
            timeout: seconds; None waits for ever, 0 only looks.

        Returns:
            False if the timeout passed first. True may be a false alarm.

        Raises:
            TransactionError: the connection is inside a transaction, where nothing can arrive.
            ConnectionLost: the server is gone.
        """
        self.check_here()
        return await self.backend.wait(check_timeout(timeout), self._wakeup)

    def fetch(self) -> list[Notification]:
        """Return the notifications that have arrived, in order, without waiting; only a part of a long backlog.

        Raises:
            UndecodablePayload: the driver cannot decode one notification, and it is lost; see `Backend.fetch`.
            ConnectionLost: the server is gone, and every earlier notification was returned.
        """
        self._check_process()
        return self.backend.fetch()

    async def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification; see `pgnotify.notify`."""
        channel, payload = check_channel(channel), check_payload(payload)
        self.check_here()
        await self.backend.notify(channel, payload)
        sent(self.connection, ((channel, payload),))

    async def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """Send any number of notifications in one round trip; see `pgnotify.notify_many`."""
        checked = [(check_channel(channel), check_payload(payload)) for channel, payload in notifications]
        self.check_here()
        many = getattr(self.backend, "notify_many", None)
        if many is None:
            raise NotImplementedError(f"{type(self.backend).__qualname__} does not offer notify_many")
        if checked:
            await many(checked)
            sent(self.connection, checked)

    def notification_handler(
        self,
        event: str,
        callback: Callable[[Any], object],
        arg_dict: dict[str, Any] | None = None,
        timeout: float | None = None,
        stop_event: str | None = None,
    ) -> AsyncNotificationHandler:
        """Make an `AsyncNotificationHandler` on this connection."""
        return AsyncNotificationHandler(self, event, callback, arg_dict, timeout, stop_event)

    def connection_handler(
        self,
        event: str,
        callback: Callable[[Any], object],
        arg_dict: dict[str, Any] | None = None,
        timeout: float | None = None,
        stop_event: str | None = None,
    ) -> AsyncNotificationHandler:
        """Do the same as `notification_handler`, by the name that PyGreSQL's documentation of 5.0 has for it."""
        return self.notification_handler(event, callback, arg_dict, timeout, stop_event)

    async def close(self) -> None:
        """Close the connection. May be called twice, and on a dead connection.

        In a process that was forked from the one that made this object, do nothing: the connection is the parent's.
        """
        if self._process == os.getpid():
            try:
                await self.backend.close()
            finally:
                self._wakeup.forget()

    def __del__(self) -> None:
        """Stop watching the socket, which is the driver's to close."""
        wakeup = getattr(self, "_wakeup", None)  # there is none if __init__ raised
        if wakeup is not None and self._process == os.getpid():
            wakeup.forget()

    def check_here(self) -> None:
        """Refuse a use on another event loop than its own, and in a forked child."""
        self._check_process()
        self._loop.check_is_running("this connection")

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise PgNotifyError(
                f"this connection belongs to process {self._process}, from which {os.getpid()} was forked; "
                "make a new one in the child"
            )

    def forget_in_child(self) -> None:
        """Keep the end of a forked child from ending the parent's session. Called in the child after the fork."""
        keep_for_ever(self.connection, self.backend)
        self._wakeup.forget_in_child()

    async def __aenter__(self) -> AsyncConnection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        # Not the repr() of the driver's own object: one driver's shows the connection string.
        cls = type(self.connection)
        return f"<{type(self).__name__} of a {cls.__module__}.{cls.__qualname__} at {id(self.connection):#x}>"


async def connect_async(dsn: ConnectionString = "", driver: str | None = None, **options: Any) -> AsyncConnection:
    """Open a connection, in autocommit mode, and return it wrapped. The event loop is never held up.

    Args:
        dsn: a libpq connection string, as a URI or as key=value pairs; missing parameters come
            from the PG… environment variables and libpq's defaults, on every driver. A URI may name the
            driver, as in ``postgresql+driver://``, as SQLAlchemy's do. SQLAlchemy's URL objects are taken, too.
        driver: its name, as in `pgnotify.registry.DRIVERS` or `pgnotify.registry.ASYNC_DRIVERS`; None takes the one
            that the URI names, or the first of these that is installed.
        options: libpq's connection parameters, such as ``application_name="jobs"``; they override
            those in the string.

    Raises:
        UnknownBackend: the driver is unknown or not installed.
        ValueError: the string cannot be read, has a parameter that the driver cannot express, or names another driver
            than ``driver``.

    If the server cannot be reached or refuses, the driver's own error is raised. If it is cancelled, a connection that
    is opened by then is closed.
    """
    from pgnotify.connecting import conninfo, dialect

    dsn = dialect.written_out(dsn)
    parameters = conninfo.ready(conninfo.merge(dsn, options))
    connect, is_coroutine_function = connect_async_with(one_driver(dialect.driver_in(dsn), driver))
    if is_coroutine_function:
        return wrap_async(await connect(parameters))
    return wrap_async(await open_in_thread(Loop(), lambda: connect(parameters), lambda opened: opened.close()))


def wrap_async(connection: Any) -> AsyncConnection:
    """Wrap a connection of any driver, asynchronous or not, for the event loop that runs now.

    Nothing is sent, and the connection's mode does not change. A wrapped connection is returned as it is.

    Raises:
        UnknownBackend: no backend fits.
        TypeError: another object of a driver was passed, such as a cursor or a pool.
        RuntimeError: no event loop runs in this thread.
    """
    if issubclass(type(connection), AsyncConnection):  # isinstance() fails on some closed connections
        wrapped: AsyncConnection = connection
        return wrapped
    loop = Loop()
    return AsyncConnection(connection, unbound(connection).bound(loop), loop)


async def notify_async(db: Any, channel: str, payload: str = "") -> None:
    """Send a notification through a connection of any driver, asynchronous or not, without holding up the event loop.

    See `pgnotify.notify`, whose arguments and errors it has.
    """
    await wrap_async(db).notify(channel, payload)


async def notify_many_async(db: Any, notifications: Iterable[tuple[str, str]]) -> None:
    """Send any number of (channel, payload) pairs, in order, in one round trip: all or none.

    See `pgnotify.notify_many`, whose arguments and errors it has.
    """
    await wrap_async(db).notify_many(notifications)


def own_backend(connection: Any) -> AsyncBackend | None:
    """Return the backend of an `AsyncConnection`, or an asynchronous backend itself; None for one that blocks."""
    if isinstance(connection, AsyncConnection):
        connection._check_process()
        return connection.backend
    if isinstance(connection, AsyncBackend) and is_async(connection.listen):
        return connection
    return None
