"""Runs a statement on a connection of which only the methods are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def run_statement(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement with whichever method the connection has for that; return its rows.

    Tried in this order: ``exec_driver_sql()``, ``run()``, ``query()``, then a cursor as in DB-API 2.0.

    Raises:
        TypeError: the connection has none of them, or they do not do what these names stand for.
    """
    try:
        return [tuple(row) for row in _rows(connection, statement)]
    except (AttributeError, TypeError) as error:
        raise TypeError(cannot_run(connection, "cursor(), run() or query()", "BackendConformance", error)) from error


def cannot_run(connection: Any, methods: str, conformance: str, error: Exception) -> str:
    """Return what the author of a backend is told if none of these methods runs a statement."""
    name = type(connection).__name__
    why = (
        "" if isinstance(error, HasNone) else f" that runs a statement and gives rows ({type(error).__name__}: {error})"
    )
    return f"a {name} has no {methods}{why}: derive a class from {conformance} and define execute()"


class HasNone(TypeError):
    """A connection has none of the methods."""


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
    raise HasNone


def _rows_of_cursor(cursor: Any, statement: str) -> Iterable[Any]:
    try:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else ()
    finally:
        cursor.close()
