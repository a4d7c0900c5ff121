"""Objects that hold a driver's connection and may replace it, such as those of an ORM."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pgnotify.backends._driver import DriverBackend, release_or_end
from pgnotify.backends._steps import SteppedBackend
from pgnotify.backends._transactions import TransactionStatus
from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification, Plain
from pgnotify.protocol import (
    Backend,
    Ends,
    FetchesWhole,
    Health,
    Releases,
    Versions,
    in_transaction,
    plain_fetch,
    unlisten_all,
)

T = TypeVar("T")


class HolderBackend:
    """A backend for the connection that an object holds at the moment.

    When the object replaces its connection, the LISTENs of the old one are gone. This is reported
    once, as a lost connection. After that you can listen on the new one.

    Args:
        holder: the object that the user passed; `close` closes it.
        unwrap: returns the driver's connection that the holder has now, None if it is closed.
        backend_of: returns the backend of such a connection.

    Raises:
        ConnectionLost: the holder has no connection.
    """

    def __init__(
        self,
        holder: Any,
        unwrap: Callable[[Any], Any],
        backend_of: Callable[[Any], Backend],
    ) -> None:
        self._holder = holder
        self._unwrap = unwrap
        self._backend_of = backend_of
        self._connection: Any = None
        self._backend: Backend | None = None
        self._channels: set[str] = set()
        self._current()

    def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`."""
        self._current().listen(channel)
        self._channels.add(channel)

    def listen_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        offered(self._current(), "listen_many")(channels)
        self._channels.update(channels)

    def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        self._current().unlisten(channel)
        self._channels.discard(channel)

    def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        offered(self._current(), "unlisten_many")(channels)
        self._channels.difference_update(channels)

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """See `pgnotify.protocol.Backend.wait`."""
        return self._current().wait(timeout, wakeup)

    def fetch(self) -> list[Notification]:
        """See `pgnotify.protocol.Backend.fetch`."""
        return self._left_behind(SteppedBackend.fetch) or self._current().fetch()

    def fetch_plain(self) -> Sequence[Plain]:
        """See `pgnotify.protocol.FetchesPlain.fetch_plain`."""
        return self._left_behind(SteppedBackend.fetch_plain) or plain_fetch(self._current())()

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`."""
        before = len(queue)
        self._left_behind(lambda ended: ended.fetch_into(queue))
        if len(queue) == before:
            current = self._current()
            into: Callable[[deque[Plain]], None] | None = getattr(current, "fetch_into", None)
            if into is None:
                queue.extend(plain_fetch(current)())
            else:
                into(queue)

    def fetch_whole(self, queue: deque[Plain]) -> bool:
        """See `pgnotify.protocol.FetchesWhole.fetch_whole`."""
        before = len(queue)
        self._left_behind(lambda ended: ended.fetch_into(queue))
        if len(queue) > before:
            return False
        current = self._current()
        if isinstance(current, FetchesWhole):
            return current.fetch_whole(queue)
        self.fetch_into(queue)
        return False

    def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`."""
        self._backend_inside().notify(channel, payload)

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        offered(self._backend_inside(), "notify_many")(notifications)

    def query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> list[tuple[str | None, ...]]:
        """See `pgnotify.protocol.Queries.query`. If it joins, it begins the holder's own transaction."""
        backend = self._current()
        if joins:
            self._begin_block(backend)
        rows: list[tuple[str | None, ...]]
        rows = offered(backend, "query")(sql, parameters, prepare, joins or self._in_block())
        return rows

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`."""
        health: Health = offered(self._current(), "check")()
        return health

    def name_session(self, name: str) -> None:
        """See `pgnotify.protocol.NamesSession.name_session`."""
        offered(self._current(), "name_session")(name)

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`: for the connection that the last verb used."""
        pid: int = offered(self._held(), "server_pid")
        return pid

    @property
    def versions(self) -> Versions:
        """See `pgnotify.protocol.NamesVersions.versions`: for the connection that the last verb used."""
        versions: Versions = offered(self._held(), "versions")
        return versions

    def fileno(self) -> int:
        """Return the descriptor of the connection that the last verb used.

        Raises:
            ConnectionLost: the holder has released it; from a pool, somebody else may use it by now.
        """
        descriptor: int = offered(self._held(), "fileno")()
        return descriptor

    @property
    def DatabaseError(self) -> type[Exception]:
        """See `pgnotify.protocol.NamesDatabaseError.DatabaseError`."""
        error: type[Exception] = getattr(self._backend, "DatabaseError", Exception)
        return error

    @property
    def connection(self) -> Any:
        """See `pgnotify.protocol.NamesConnection.connection`."""
        return getattr(self._backend, "connection", self._connection)

    @property
    def busy(self) -> bool:
        """See `pgnotify.protocol.Busy.busy`."""
        return bool(getattr(self._backend, "busy", False))

    @property
    def in_transaction(self) -> bool:
        """See `pgnotify.protocol.KnowsTransaction.in_transaction`."""
        return self._in_block() or in_transaction(self._backend)

    def limit_rest(self, seconds: float) -> None:
        """See `pgnotify.protocol.LimitsRest.limit_rest`."""
        limit_rest: Callable[[float], None] | None = getattr(self._backend, "limit_rest", None)
        if limit_rest is not None:
            limit_rest(seconds)

    def close(self) -> None:
        """Close the holder. If that returns the connection to a pool, it is released first, or ended."""
        try:
            if self._holds_on() and not self._closes_for_good():
                release_or_end(self)
        finally:
            self._channels.clear()
            self._close_holder()

    def release(self) -> None:
        """See `pgnotify.protocol.Releases.release`."""
        backend = self._held()
        if isinstance(backend, Releases):
            backend.release()
        else:
            unlisten_all(backend, sorted(self._channels))
            while backend.fetch():
                pass
        self._channels.clear()

    def end(self) -> None:
        """See `pgnotify.protocol.Ends.end`."""
        if self._backend is not None and self._holds_on():
            backend = self._backend
            backend.end() if isinstance(backend, Ends) else backend.close()

    def _closes_for_good(self) -> bool:
        """Whether closing the holder closes its connection; override it if no pool can be behind the holder."""
        return False

    def _close_holder(self) -> None:
        if self._unwrap(self._holder) is not None:
            self._holder.close()

    def _current(self) -> Backend:
        connection = self._unwrap(self._holder)
        if connection is None:
            raise self._lost("the connection is closed")
        if connection is not self._connection or self._backend is None:
            self._connection, self._backend = connection, self._backend_of(connection)
            if self._channels:
                self._channels.clear()
                raise self._lost("the connection was replaced by a new one, which does not listen to anything yet")
        return self._backend

    def _held(self) -> Backend:
        """Return the backend that the last verb used, without any I/O."""
        if self._backend is None or not self._holds_on():
            raise self._lost("the connection is closed, or was replaced by a new one")
        return self._backend

    def _holds_on(self) -> bool:
        """Whether the holder still has the connection of the last verb; override it if `unwrap` may reconnect."""
        return self._unwrap(self._holder) is self._connection

    def _in_block(self) -> bool:
        """Whether the user has begun a transaction on the holder; override it if the holder has such blocks.

        Such a block sends BEGIN only with its first statement. Until then the driver knows of no transaction.
        """
        return False

    def _begin_block(self, backend: Backend) -> None:
        """Begin a transaction on the holder, as a statement of the user's on it would.

        Override it if the holder has transactions that its driver's connection does not know of.
        """

    def _backend_inside(self) -> Backend:
        """Return the backend, in the transaction of the user's block if there is one."""
        backend = self._current()
        if isinstance(backend, DriverBackend) and self._in_block():
            self._begin(backend)
        return backend

    def _begin(self, backend: DriverBackend) -> None:
        if backend.transaction_status() is not TransactionStatus.IDLE or self._connection.autocommit:
            return
        cursor = self._connection.cursor()  # the driver's cursor: its first statement sends BEGIN
        try:
            cursor.execute("SELECT 1")
        except Exception:
            backend.query("SELECT 1")  # raises ConnectionLost if that is the reason
            raise
        cursor.close()

    def _left_behind(self, fetch: Callable[[SteppedBackend], T]) -> T | None:
        """Fetch the remaining notifications of a connection that has ended, so that the holder released it."""
        ended: Any = self._backend
        if not isinstance(ended, SteppedBackend) or self._unwrap(self._holder) is self._connection:
            return None
        if ended.transaction_status() is not TransactionStatus.UNKNOWN:
            return None  # alive, perhaps back in a pool, where another thread may use it by now
        try:
            return fetch(ended)
        except ConnectionLost:
            return None

    def _lost(self, why: str) -> ConnectionLost:
        error = ConnectionLost(why)
        error.__cause__ = self.DatabaseError(why)
        return error


def offered(backend: Backend, name: str) -> Any:
    """Return an attribute that a backend may offer beyond the verbs; a third party's backend may lack it.

    Raises:
        NotImplementedError: it does not offer it.
    """
    try:
        return getattr(backend, name)
    except AttributeError:
        raise NotImplementedError(f"{type(backend).__qualname__} does not offer {name}") from None
