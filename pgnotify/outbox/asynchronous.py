"""What an outbox does on connections of an event loop. It imports `pgnotify.aio`, and so is imported on first use."""

from __future__ import annotations

from typing import Any, TypeVar

from pgnotify.aio.connection import wrap_async
from pgnotify.async_protocol import query
from pgnotify.outbox.steps import Steps

T = TypeVar("T")


async def run(connection: Any, steps: Steps[T], joins: bool = False) -> T:
    """Do the same as `pgnotify.outbox.steps.run`, on a connection of any kind; one that blocks is used in a thread."""
    wrapped = wrap_async(connection)
    wrapped.check_here()
    try:
        sql, parameters = next(steps)
        while True:
            try:
                rows = await query(wrapped.backend, sql, parameters, joins=joins)
            except Exception as error:
                sql, parameters = steps.throw(error)
            else:
                sql, parameters = steps.send(rows)
    except StopIteration as end:
        result: T = end.value
        return result
