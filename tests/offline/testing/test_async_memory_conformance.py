"""The memory server's asynchronous connections in the class that every asynchronous backend must pass."""

from __future__ import annotations

from contextlib import suppress

from pgnotify.testing import Address, AsyncBackendConformance
from pgnotify.testing.memory import DatabaseError, MemoryServer
from tests.offline.testing import test_memory_conformance as blocking


class TestAsyncMemory(AsyncBackendConformance):
    """A connection to the memory server is its own backend."""

    implicit_transactions = False
    cannot = blocking.TestMemory.cannot

    def setup_method(self):
        super().setup_method()
        self.address = Address("memory", 0)
        self.server = self._at_end.enter_context(MemoryServer())

    async def connect(self, address):
        return await self.server.connect_async()

    def open_session(self, address):
        return blocking.Session(self.server)

    async def begin(self, connection):
        await connection.begin()

    async def commit(self, connection):
        await connection.commit()

    async def rollback(self, connection):
        await connection.rollback()

    async def fail(self, connection):
        with suppress(DatabaseError):
            await connection.fail()

    async def pid_of(self, connection):
        return connection.pid
