"""A PostgreSQL in memory, for tests: connections that listen and notify, and faults on demand.

There is no process, no driver and no SQL. It does what PostgreSQL does with LISTEN, NOTIFY and
transactions, and nothing more: its connections offer no `query`, so an outbox needs a real server. A
connection is also a backend, so `pgnotify.wrap` and `pgnotify.NotificationHandler` take it as it is;
those of asyncio take an asynchronous one.
"""

from __future__ import annotations

import itertools
import threading
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from pgnotify.testing._memory_connection import MemoryConnection
from pgnotify.testing._memory_session import Cluster, DatabaseError, Session
from pgnotify.uncopyable import Uncopyable

if TYPE_CHECKING:
    from pgnotify.testing._memory_async import AsyncMemoryConnection

AnyConnection: TypeAlias = "MemoryConnection | AsyncMemoryConnection"
"""A connection of a `MemoryServer`."""

__all__ = ["DatabaseError", "MemoryConnection", "MemoryServer"]


class MemoryServer(Uncopyable):
    """A PostgreSQL in memory; use it as a context manager, or call close().

    A database exists as soon as it is named. All methods may be called from any thread, the faults
    also while a connection waits in another thread.
    """

    def __init__(self) -> None:
        # Reentrant, for signal handlers, and for handlers that the garbage collector deletes during a call.
        self._lock = threading.RLock()
        self._cluster = Cluster()
        self._pids = itertools.count(1001)
        self._connections: list[MemoryConnection] = []
        self._closed = False

    def connect(self, database: str = "postgres") -> MemoryConnection:
        """Open a connection, in autocommit mode.

        Raises:
            DatabaseError: the server is closed (sqlstate 57P03).
        """
        with self._lock:
            if self._closed:
                raise DatabaseError("the database system is shutting down", "57P03")
            made = MemoryConnection(self._lock, self._cluster, Session(self._cluster, next(self._pids), database))
            self._connections = [*self.connections, made]
            return made

    async def connect_async(self, database: str = "postgres") -> AsyncMemoryConnection:
        """Open an asynchronous connection; raise the same errors as `connect`."""
        from pgnotify.testing._memory_async import AsyncMemoryConnection  # it imports asyncio

        return AsyncMemoryConnection(self.connect(database))

    @property
    def connections(self) -> list[MemoryConnection]:
        """The connections that the server has, in the order in which they were opened.

        Of an asynchronous one, the one underneath: the faults take either.
        """
        with self._lock:
            return [each for each in self._connections if each._session.link.loss is None]

    @property
    def in_recovery(self) -> bool:
        """Whether it is a standby."""
        return self._cluster.in_recovery

    @property
    def queue_usage(self) -> float:
        """How full the notification queue is, as pg_notification_queue_usage() would return it: 0.0 until you set it.

        From 0 to 1. It is only a number: nothing fills the queue, and a full queue refuses nothing.
        """
        return self._cluster.queue_usage

    @queue_usage.setter
    def queue_usage(self, usage: float) -> None:
        if not 0 <= usage <= 1:
            raise ValueError(f"queue_usage must be from 0 to 1, not {usage!r}")
        self._cluster.queue_usage = usage

    def close(self) -> None:
        """End all connections as a shutdown does (57P01), and refuse new ones; may be called twice."""
        with self._lock:
            self._closed = True
            self._terminate_all()

    def __enter__(self) -> MemoryServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} connections={len(self.connections)}>"

    # Faults.

    def drop_connection(self, connection: AnyConnection) -> None:
        """End a connection, as pg_terminate_backend(), a crash or a firewall that resets does.

        Notifications that have arrived can still be fetched. After them, every call raises a
        ConnectionLost from a DatabaseError with sqlstate 57P01. An open transaction is rolled back.
        """
        with self._lock:
            for each in self._chosen(connection):
                each._session.end(_terminated())

    def blackhole(self, connection: AnyConnection | None = None) -> None:
        """Silently stop all traffic, as a firewall does that has forgotten the connection.

        A cable that was pulled, or a host that is gone without closing its connections, has the same
        effect. No notification arrives, wait() waits, and calls that need an answer, such as listen()
        or notify(), block until `heal`. They raise ConnectionLost if the connection is closed or
        dropped, or its socket is shut down.

        Args:
            connection: None means all connections that are open now. New ones work, as they do behind a firewall.
        """
        with self._lock:
            for each in self._chosen(connection):
                each._session.link.silent = True

    def heal(self, connection: AnyConnection | None = None) -> None:
        """End a `blackhole` of one connection, or of all (None): TCP sends again, so nothing is missing.

        Notifications that were sent in the meantime arrive in order, and calls that blocked are answered.
        """
        with self._lock:
            for each in self._chosen(connection):
                each._session.link.heal()

    def lose_subscription(self, connection: AnyConnection | None = None, channel: str | None = None) -> None:
        """Silently forget LISTENs: the client is connected and believes that it listens, but hears nothing.

        DISCARD ALL has the same effect. Another listen() works.

        Args:
            connection: None means all open connections.
            channel: None means all channels.
        """
        with self._lock:
            for each in self._chosen(connection):
                each._session.forget(channel)

    def swap_session(self, connection: AnyConnection | None = None) -> None:
        """Silently give a connection another session, as a pooler does between two statements.

        The connection is deaf as after `lose_subscription`, an open transaction is gone, and its `pid`
        has changed. Its `server_pid` has not, so that the swap can be noticed.

        Args:
            connection: None means all open connections.
        """
        with self._lock:
            for each in self._chosen(connection):
                each._session.move(next(self._pids))

    def restart(self) -> None:
        """Restart the server: all connections end with 57P01, and their LISTENs are gone; new connections work."""
        with self._lock:
            self._terminate_all()

    def become_standby(self, behind_pooler: bool = False) -> None:
        """Fail over, and become the standby: like restart(), but LISTEN and NOTIFY are refused afterwards.

        They raise a DatabaseError with sqlstate 25006. This happens to a client that reconnects to a
        fixed address and reaches the wrong server.

        Args:
            behind_pooler: the connections stay, but with a session of the standby: see `swap_session`.
        """
        with self._lock:
            self._cluster.in_recovery = True
            if behind_pooler:
                self.swap_session()
            else:
                self._terminate_all()

    def promote(self) -> None:
        """Make a standby the primary; its connections stay, and may now LISTEN and NOTIFY."""
        with self._lock:
            self._cluster.in_recovery = False

    def _chosen(self, connection: AnyConnection | None) -> list[MemoryConnection]:
        if connection is None:
            return self.connections
        connection = getattr(connection, "blocking", connection)
        if not isinstance(connection, MemoryConnection):
            raise TypeError(f"pass a connection that connect() has returned, not a {type(connection).__qualname__}")
        if connection._cluster is not self._cluster:
            raise ValueError(f"{connection!r} belongs to another server")
        return [connection]

    def _terminate_all(self) -> None:
        for each in self.connections:
            each._session.end(_terminated())


def _terminated() -> DatabaseError:
    return DatabaseError("terminating connection due to administrator command", "57P01")
