"""Runs a statement on a connection of which only the methods are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def run_statement(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement with whichever method the connection has for that; return its rows.

    Tried in this order: ``exec_driver_sql()``, ``run()``, ``query()``, then a cursor as in DB-API 2.0.

    Raises:
        TypeError: the connection has none of them.
    """
    return [tuple(row) for row in _rows(connection, statement)]


def _rows(connection: Any, statement: str) -> Iterable[Any]:
    if hasattr(connection, "exec_driver_sql"):
        result = connection.exec_driver_sql(statement)
        return result if result.returns_rows else ()
    if hasattr(connection, "run"):
        return connection.run(statement) or ()
    if hasattr(connection, "query"):
        result = connection.query(statement)
        return result.getresult() if hasattr(result, "getresult") else ()
    if hasattr(connection, "cursor"):
        return _rows_of_cursor(connection.cursor(), statement)
    raise TypeError(
        f"a {type(connection).__name__} has no cursor(), run() or query(): "
        "derive a class from BackendConformance and define execute()"
    )


def _rows_of_cursor(cursor: Any, statement: str) -> Iterable[Any]:
    try:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else ()
    finally:
        cursor.close()
