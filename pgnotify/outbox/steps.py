"""The upkeep of an outbox as steps, for blocking and asynchronous connections alike: which statements to run.

Each task is a generator. It yields statements, gets their rows or their error, and does no I/O itself.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from pgnotify.outbox.rows import Rows
from pgnotify.protocol import Backend, query

T = TypeVar("T")

Steps: TypeAlias = Generator[tuple[str, tuple[str | None, ...]], Rows, T]
"""Yields statements, each with its parameters; gets the rows of each, or its error; returns the result of a task."""


def run(backend: Backend, steps: Steps[T], joins: bool = False) -> T:
    """Run steps on a connection; see `pgnotify.protocol.Queries.query` for ``joins``."""
    try:
        sql, parameters = next(steps)
        while True:
            try:
                rows = query(backend, sql, parameters, joins=joins)
            except Exception as error:
                sql, parameters = steps.throw(error)
            else:
                sql, parameters = steps.send(rows)
    except StopIteration as end:
        result: T = end.value
        return result
