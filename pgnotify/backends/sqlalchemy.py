"""SQLAlchemy, from 2.0: its Connection, and the pool-proxied connection of engine.raw_connection()."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.engine import AdaptedConnection, Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.pool import Pool
from sqlalchemy.util import await_only

from pgnotify.backends._holder import HolderBackend
from pgnotify.backends._steps import SteppedBackend
from pgnotify.backends._transactions import TransactionStatus
from pgnotify.errors import ConnectionLost, UnknownBackend
from pgnotify.protocol import Backend
from pgnotify.registry import async_backend_for, backend_for


def wrap(connection: Any) -> HolderBackend:
    """Return the backend of a SQLAlchemy connection to PostgreSQL.

    Inside `AsyncConnection.run_sync`, it can notify and query, and nothing else.

    Raises:
        TypeError: it is asynchronous, an engine, a session, a pool, a connection to another
            database, or anything else.
    """
    if isinstance(connection, Connection):
        check_database(connection)
        if connection.dialect.is_async:
            return _InRunSync(connection, below_connection, _InGreenlet)
        return _SQLAlchemyBackend(connection, below_connection, backend_for)
    if hasattr(connection, "driver_connection"):
        if is_adapted(connection):
            return _InRunSync(connection, below_proxy, _InGreenlet)
        return _SQLAlchemyBackend(connection, below_proxy, backend_for)
    raise TypeError(_instead_of(connection))


class _SQLAlchemyBackend(HolderBackend):
    def end(self) -> None:
        """Close the connection, and have the pool open another one in its place."""
        if _is_open(self._holder):
            self._holder.invalidate()

    def _close_holder(self) -> None:
        if _is_open(self._holder):
            self._holder.close()

    def _holds_on(self) -> bool:
        # Asking an invalidated one for its connection opens a new one.
        invalidated = isinstance(self._holder, Connection) and self._holder.invalidated
        return not invalidated and super()._holds_on()

    def _in_block(self) -> bool:
        return isinstance(self._holder, Connection) and self._holder.in_transaction()

    def _begin_block(self, backend: Backend) -> None:
        if isinstance(self._holder, Connection) and not self._holder.in_transaction():
            self._holder.begin()  # as a statement does; nothing is sent


class _InRunSync(_SQLAlchemyBackend):
    def query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> list[tuple[str | None, ...]]:
        """See `pgnotify.protocol.Queries.query`."""
        backend: Any = self._current()
        if joins or self._in_block():
            self._begin_below(backend)
        rows: list[tuple[str | None, ...]] = backend.query(sql, parameters, prepare)
        return rows

    def _backend_inside(self) -> Backend:
        backend: Any = self._current()
        if self._in_block():
            self._begin_below(backend)
        checked: Backend = backend
        return checked

    def _begin_below(self, backend: Any) -> None:
        if not is_idle(backend.asynchronous):
            return
        try:
            begin_by_statement(self._holder)
        except Exception:
            await_only(backend.asynchronous.query("SELECT 1"))  # raises ConnectionLost if that is the reason
            raise


class _InGreenlet:
    """A backend over a connection of an asynchronous driver, in the greenlet that SQLAlchemy has made to wait for it.

    Args:
        connection: the driver's.
    """

    def __init__(self, connection: Any) -> None:
        self.asynchronous = driver_backend(connection)
        self.DatabaseError = self.asynchronous.DatabaseError
        self.connection = connection

    def notify(self, channel: str, payload: str = "") -> None:
        await_only(self.asynchronous.notify(channel, payload))

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        await_only(self.asynchronous.notify_many(notifications))

    def query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False
    ) -> list[tuple[str | None, ...]]:
        rows: list[tuple[str | None, ...]] = await_only(self.asynchronous.query(sql, parameters, prepare))
        return rows

    def close(self) -> None:
        await_only(self.asynchronous.close())

    def _refuse(self, *_: object) -> Any:
        raise TypeError(
            "only notify(), notify_many() and query() are possible inside run_sync(): to listen, pass the "
            "AsyncConnection to pgnotify.AsyncNotificationHandler or pgnotify.AsyncListener"
        )

    listen = unlisten = wait = fetch = _refuse


def driver_backend(connection: Any) -> Any:
    """Return the asynchronous backend of a driver's connection."""
    backend = async_backend_for(connection)
    if backend is None:
        raise UnknownBackend(f"no asynchronous backend fits a {type(connection).__qualname__}")
    return backend


def is_idle(backend: Any) -> bool:
    """Return whether the backend of a driver's connection knows of no transaction."""
    return isinstance(backend, SteppedBackend) and backend.transaction_status() is TransactionStatus.IDLE


def begin_by_statement(holder: Any) -> None:
    """Begin a transaction on a Connection, or on a connection that a pool has lent, below which nobody knows of it.

    An asynchronous driver's BEGIN comes with the first statement.
    """
    if isinstance(holder, Connection):
        holder.exec_driver_sql("SELECT 1").close()
    else:
        cursor = holder.cursor()
        cursor.execute("SELECT 1")
        cursor.close()


def is_adapted(proxy: Any) -> bool:
    """Return whether the connection that a pool has lent is of an asynchronous driver."""
    return isinstance(getattr(proxy, "dbapi_connection", None), AdaptedConnection)


def _is_open(holder: Any) -> bool:
    return not holder.closed if isinstance(holder, Connection) else bool(holder.is_valid)


def below_connection(connection: Connection) -> Any:
    """Return the driver's connection of a Connection; None if it has none."""
    if connection.closed:
        return None
    try:
        return connection.connection.driver_connection
    except InvalidRequestError:  # invalidated inside a transaction
        return None
    except DBAPIError as error:
        raise ConnectionLost("the connection was invalidated, and no new one could be opened") from error.orig


def below_proxy(proxy: Any) -> Any:
    """Return the driver's connection that a pool has lent; None if it has been returned."""
    return proxy.driver_connection if proxy.is_valid else None


def check_database(connection: Any) -> None:
    """Refuse a connection to another database."""
    if connection.dialect.name != "postgresql":
        raise TypeError(f"pass a connection to PostgreSQL, not to {connection.dialect.name}")


def _instead_of(connection: object) -> str:
    name = f"{type(connection).__module__}.{type(connection).__qualname__}"
    if "ext.asyncio" in name:  # checked first, because its attributes raise all kinds of errors
        return f"a {name} cannot be used in blocking code: pass a sqlalchemy.Connection"
    if isinstance(connection, Engine):
        return "pass a SQLAlchemy Connection, not an Engine: engine.connect()"
    if isinstance(connection, Pool):
        return "pass a SQLAlchemy Connection, not a pool: engine.connect()"
    if hasattr(connection, "connection") and hasattr(connection, "get_bind"):
        return "pass a SQLAlchemy Connection, not a Session: session.connection()"
    return f"pass a sqlalchemy.Connection, not a {name}"
