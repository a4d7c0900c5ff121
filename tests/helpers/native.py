"""Connections of asynchronous drivers, for tests that block: coroutines run on the event loop of the handlers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.kinds import Kind


class NativeConnection:
    """A connection of an asynchronous driver, with the methods that the tests use of one that blocks.

    Args:
        front: the front of the handlers on it, whose event loop it belongs to.
        kind: opens it.
        address: where to connect to.
    """

    def __init__(self, front: Any, kind: Kind, address: Any) -> None:
        self.front = front
        self.kind = kind
        self.native = front.run(lambda: kind.connect(address))
        front.connections.append(self)  # closed by the front, as its loop is closed first

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        rows: list[tuple[Any, ...]] = self.front.run(lambda: self._rows(statement))
        return rows

    def commit(self) -> None:
        """End the transaction."""
        self.front.run(self.native.commit)

    def rollback(self) -> None:
        """End the transaction, and take back what it did."""
        self.front.run(self.native.rollback)

    def close(self) -> None:
        """Close the connection."""
        self.front.run(self.native.close)

    @property
    def autocommit(self) -> bool | None:
        """Whether it is in autocommit mode, for psycopg."""
        return getattr(self.native, "autocommit", None)

    async def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        if self.kind.name == "asyncpg":
            return [tuple(row) for row in await self.native.fetch(statement)]
        cursor = await self.native.execute(statement)
        return await cursor.fetchall() if cursor.description else []


def errors_of_asyncpg() -> Any:
    """Return asyncpg's exceptions by the names that they have in the DB-API."""
    import asyncpg

    return SimpleNamespace(
        __name__="asyncpg",
        DatabaseError=asyncpg.PostgresError,
        # The last one comes if the end of the connection meets the beginning of a statement.
        Error=(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    )
