"""What an outbox does on connections of an event loop. It imports `pgnotify.aio`, and so is imported on first use."""

from __future__ import annotations

from typing import Any

from pgnotify.aio.connection import wrap_async
from pgnotify.async_protocol import query
from pgnotify.outbox.rows import Rows


async def run(connection: Any, sql: str, parameters: tuple[str | None, ...]) -> Rows:
    """Run a statement of the user's transaction on a connection of any kind; one that blocks is used in a thread."""
    wrapped = wrap_async(connection)
    wrapped.check_here()
    return await query(wrapped.backend, sql, parameters, joins=True)
