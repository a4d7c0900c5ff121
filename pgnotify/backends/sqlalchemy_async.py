"""SQLAlchemy, from 2.0: its AsyncConnection, and the pool-proxied connection of `await engine.raw_connection()`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.util import greenlet_spawn

from pgnotify.backends._async_holder import AsyncHolderBackend
from pgnotify.backends.sqlalchemy import (
    begin_by_statement,
    below_connection,
    below_proxy,
    check_database,
    driver_backend,
    is_adapted,
    is_idle,
)


def wrap(connection: Any) -> AsyncHolderBackend | None:
    """Return the backend of a connection of SQLAlchemy's to PostgreSQL, with an asynchronous driver.

    None for an object that blocks.

    Raises:
        TypeError: it is an engine, a session, or a connection to another database, or has not been started.
    """
    if isinstance(connection, AsyncConnection):
        if connection.sync_connection is None:
            raise TypeError("the AsyncConnection has not been started: async with engine.connect() as connection")
        check_database(connection)
        return _AsyncConnectionBackend(connection, _below, driver_backend)
    if isinstance(connection, AsyncEngine):
        raise TypeError("pass an AsyncConnection, not an AsyncEngine: async with engine.connect() as connection")
    if isinstance(connection, AsyncSession):
        raise TypeError("pass an AsyncConnection, not an AsyncSession: await session.connection()")
    if hasattr(connection, "driver_connection") and is_adapted(connection):
        return _AsyncProxyBackend(connection, below_proxy, driver_backend)
    return None


class _AsyncConnectionBackend(AsyncHolderBackend):
    async def end(self) -> None:  # type: ignore[override]
        """Close the connection, and have the pool open another one in its place."""
        if not self._holder.closed:
            await self._holder.invalidate()

    async def _close(self) -> None:
        await self._holder.close()

    def _holds_on(self) -> bool:
        return not self._holder.closed and not self._holder.invalidated and super()._holds_on()

    async def _now_inside(self, joins: bool = False) -> Any:
        backend = self._now()
        if joins or self._holder.in_transaction():
            await _begin_below(backend, self._holder.sync_connection)
        return backend


class _AsyncProxyBackend(AsyncHolderBackend):
    async def _now_inside(self, joins: bool = False) -> Any:
        backend = self._now()
        if joins:
            await _begin_below(backend, self._holder)
        return backend

    async def end(self) -> None:  # type: ignore[override]
        """Close the connection, and have the pool open another one in its place."""
        if self._holder.is_valid:
            await greenlet_spawn(self._holder.invalidate)

    async def _close(self) -> None:
        if self._holder.is_valid:
            await greenlet_spawn(self._holder.close)


async def _begin_below(backend: Any, holder: Any) -> None:
    if not is_idle(backend):
        return
    try:
        await greenlet_spawn(begin_by_statement, holder)
    except Exception:
        await backend.query("SELECT 1")  # raises ConnectionLost if that is the reason
        raise


def _below(connection: AsyncConnection) -> Any:
    below = connection.sync_connection
    # Asking an invalidated one for its connection would open a new one, outside the greenlet that it needs.
    return None if below is None or below.invalidated else below_connection(below)
