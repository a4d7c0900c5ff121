"""Runs a statement on an asynchronous connection of which only the methods are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgnotify.testing.conformance._statements import HasNone, cannot_run


async def run_statement(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement with whichever coroutine function the connection has for that; return its rows.

    Tried in this order: ``exec_driver_sql()``, ``fetch()`` beside ``fetchrow()``, then a cursor.

    Raises:
        TypeError: the connection has none of them, or they do not do what these names stand for.
    """
    try:
        return [tuple(row) for row in await _rows(connection, statement)]
    except (AttributeError, TypeError) as error:
        tried = "cursor(), fetchrow() or exec_driver_sql()"
        raise TypeError(cannot_run(connection, tried, "AsyncBackendConformance", error)) from error


async def _rows(connection: Any, statement: str) -> Iterable[Any]:
    if hasattr(connection, "exec_driver_sql"):
        result = await connection.exec_driver_sql(statement)
        return result if result.returns_rows else ()
    if hasattr(connection, "fetchrow"):
        rows: Iterable[Any] = await connection.fetch(statement)
        return rows
    if hasattr(connection, "cursor"):
        return await _rows_of_cursor(connection.cursor(), statement)
    raise HasNone


async def _rows_of_cursor(cursor: Any, statement: str) -> Iterable[Any]:
    try:
        await cursor.execute(statement)
        rows: Iterable[Any] = await cursor.fetchall() if cursor.description else ()
        return rows
    finally:
        await cursor.close()
