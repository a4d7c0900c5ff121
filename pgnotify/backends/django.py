"""Django's connection wrappers: django.db.connection and django.db.connections["…"]."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pgnotify.backends._holder import HolderBackend
from pgnotify.registry import backend_for


def wrap(connection: Any) -> HolderBackend:
    """Return the backend of a Django connection to PostgreSQL; connect it if necessary.

    Raises:
        TypeError: it is a cursor, a connection to another database, or anything else.
        RuntimeError: it is not open, and an event loop runs in this thread, where Django opens none.
    """
    wrapper = _wrapper(connection)
    if wrapper.vendor != "postgresql":
        raise TypeError(f"pass a connection to PostgreSQL; Django's {wrapper.alias!r} connects to {wrapper.vendor}")
    if wrapper.connection is None:
        _open(wrapper)
    return _DjangoBackend(wrapper, _below, backend_for)


class _DjangoBackend(HolderBackend):
    def _close_holder(self) -> None:
        # The thread that runs the handler closes it, but Django allows that only to the thread that opened it.
        self._holder.inc_thread_sharing()
        try:
            super()._close_holder()
        finally:
            self._holder.dec_thread_sharing()

    def _closes_for_good(self) -> bool:
        from django.db.backends.postgresql.base import DatabaseWrapper  # fails if there is no driver for PostgreSQL

        holder = type(self._holder)
        is_djangos = holder.close is DatabaseWrapper.close and holder._close is DatabaseWrapper._close
        return is_djangos and not getattr(self._holder, "pool", None)  # from Django 5.1

    def _in_block(self) -> bool:
        return bool(self._holder.in_atomic_block)


def _wrapper(connection: Any) -> BaseDatabaseWrapper:
    if isinstance(connection, BaseDatabaseWrapper):
        return connection
    if hasattr(connection, "alias") and hasattr(connection, "ensure_connection"):
        # django.db.connection is a different wrapper in each thread: choose this thread's.
        wrapper: BaseDatabaseWrapper = connections[connection.alias]
        return wrapper
    name = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise TypeError(f"pass django.db.connection, or one of django.db.connections, not a {name}")


def _open(wrapper: BaseDatabaseWrapper) -> None:
    try:
        wrapper.ensure_connection()
    except SynchronousOnlyOperation as error:
        raise RuntimeError(
            f"Django's {wrapper.alias!r} is not open in this thread, and Django opens no connection where an event "
            f"loop runs: pass one of connections.create_connection({wrapper.alias!r}) that sync_to_async() has opened, "
            "or to a listener a function that returns one"
        ) from error


def _below(wrapper: BaseDatabaseWrapper) -> Any:
    return wrapper.connection  # None after it is closed; Django opens another one by itself
