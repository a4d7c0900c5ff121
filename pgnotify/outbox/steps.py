"""The upkeep of an outbox as steps, for blocking and asynchronous connections alike: which statements to run.

Each task is a generator. It yields statements, gets their rows or their error, and does no I/O itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import TypeAlias, TypeVar

from pgnotify.outbox.rows import Rows
from pgnotify.protocol import Backend, query

T = TypeVar("T")

Steps: TypeAlias = Generator[tuple[str, tuple[str | None, ...]], Rows, T]
"""Yields statements, each with its parameters; gets the rows of each, or its error; returns the result of a task."""


def one_step(sql: str, parameters: tuple[str | None, ...]) -> Steps[Rows]:
    """Run one statement, and return its rows."""
    return (yield sql, parameters)


def script(text: str) -> str:
    """Return statements as one, of which all or none takes effect: a backend need not run several at a time."""
    tags = (f"$script{number}$" for number in itertools.count())
    inner, outer = itertools.islice(filter(lambda tag: tag not in text, tags), 2)
    return f"DO {outer} BEGIN EXECUTE {inner}{text}{inner}; END {outer}"


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
