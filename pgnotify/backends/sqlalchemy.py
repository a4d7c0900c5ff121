"""SQLAlchemy, from 2.0: its Connection, and the pool-proxied connection of engine.raw_connection()."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.pool import Pool

from pgnotify.backends._holder import HolderBackend
from pgnotify.errors import ConnectionLost
from pgnotify.registry import backend_for


def wrap(connection: Any) -> HolderBackend:
    """Return the backend of a SQLAlchemy connection to PostgreSQL.

    Raises:
        TypeError: it is asynchronous, an engine, a session, a pool, a connection to another
            database, or anything else.
    """
    if isinstance(connection, Connection):
        _check_database(connection)
        return _SQLAlchemyBackend(connection, _below_connection, backend_for)
    if hasattr(connection, "driver_connection"):
        return _SQLAlchemyBackend(connection, _below_proxy, backend_for)
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


def _is_open(holder: Any) -> bool:
    return not holder.closed if isinstance(holder, Connection) else bool(holder.is_valid)


def _below_connection(connection: Connection) -> Any:
    if connection.closed:
        return None
    try:
        return connection.connection.driver_connection
    except InvalidRequestError:  # invalidated inside a transaction
        return None
    except DBAPIError as error:
        raise ConnectionLost("the connection was invalidated, and no new one could be opened") from error.orig


def _below_proxy(proxy: Any) -> Any:
    return proxy.driver_connection if proxy.is_valid else None


def _check_database(connection: Connection) -> None:
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
