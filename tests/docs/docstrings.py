"""What the examples in docstrings use, and do not show. A page has this in a comment; a docstring has no comments."""

from __future__ import annotations

_ONE_MESSAGE = """
import pgnotify
import psycopg

outbox = pgnotify.Outbox()
with psycopg.connect(dsn) as sender:
    outbox.install(sender)
    outbox.notify(sender, "orders", "1")
"""

_BATCHES = f"""
{_ONE_MESSAGE}
class UntilOneBatch(pgnotify.Listener):
    def batches(self):
        yield next(super().batches())
        self.stop()

listener = UntilOneBatch(dsn, "orders", outbox=outbox, durable="billing", start="all")
connection = psycopg.connect(dsn, autocommit=True)
"""

_ASYNC_BATCHES = f"""
{_ONE_MESSAGE}
class UntilOneBatch(pgnotify.AsyncListener):
    async def batches(self):
        async for batch in super().batches():
            yield batch
            break
        await self.stop()

listener = UntilOneBatch(dsn, "orders", outbox=outbox, durable="billing", start="all")
connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
"""

SETUP = {
    "pgnotify/listener/listener.py": _BATCHES,
    "pgnotify/aio/listener.py": _ASYNC_BATCHES,
    "pgnotify/testing/conformance/__init__.py": "from pgnotify.testing import BackendConformance",
    "pgnotify/testing/async_conformance/__init__.py": "from pgnotify.testing import AsyncBackendConformance",
}
"""By path: the code that runs before the examples of a module."""
