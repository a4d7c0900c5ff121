"""A listener with an outbox on an event loop under test, in one of the ways to use one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, ClassVar

from pgnotify.listener.gap import Listening
from pgnotify.message import AsyncBatch
from tests.ledger.async_listeners import AsyncParticipant
from tests.ledger.outbox.effects import insertion
from tests.ledger.outbox.participant import BATCH, Storing


class StoringAsyncListener(Storing, AsyncParticipant):
    """An `AsyncListener` with an outbox, and another one on a new event loop if it has a name."""

    WAYS: ClassVar = {
        "async outbox iterate": "async iterate",
        "async outbox run": "async run",
        "async outbox coroutine": "async coroutine",
        "async outbox streams": "async streams",
        "async outbox durable": "async iterate",
        "async outbox durable coroutine": "async coroutine",
        "async outbox durable streams": "async streams",
        "async outbox batches": "async batches",
    }
    MODES = tuple(WAYS)
    OWN = (*AsyncParticipant.OWN, "async batches")

    _connection: Any = None

    async def _users(self, stack: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
        if self.way != "async batches":
            return await super()._users(stack)
        self._hang_up()  # what belongs to the loop before
        await stack.enter_async_context(self.listener)
        return [self._batches()]

    async def _on_listening(self, event: Listening) -> None:
        self._count(event)
        await super()._on_listening(event)

    async def _batches(self) -> None:
        batches = self.listener.batches(BATCH)
        while True:
            try:
                batch = await self._perhaps_cancelled(batches.__anext__)
            except StopAsyncIteration:
                self._hang_up()
                return
            if batch is not None:
                await self._process(batch)

    async def _process(self, batch: AsyncBatch) -> None:
        """Do the work for a batch, exactly once: if this fails, the next batch begins with the same messages."""
        try:
            await (self._do if self.setting.connect_async is None else self._do_natively)(batch)
        except Exception:  # of whichever driver, and Superseded
            self._hang_up()
            return
        except asyncio.CancelledError:
            self._hang_up()
            raise
        for message in batch:
            self._write(message, self.books[0])
        await self._pause()

    async def _do(self, batch: AsyncBatch) -> None:
        if self._connection is None:
            self._connection = await asyncio.to_thread(self.setting.connect)
        await asyncio.to_thread(self._connection.cursor().execute, insertion(self.mode, batch))
        await batch.acknowledge(self._connection)
        await asyncio.to_thread(self._connection.commit)

    async def _do_natively(self, batch: AsyncBatch) -> None:
        assert self.setting.connect_async is not None, "the caller has looked"
        if self._connection is None:
            self._connection = await self.setting.connect_async()
        connection = self._connection
        has_commit = hasattr(connection, "commit")
        if not has_commit:
            await connection.execute("BEGIN")
        await connection.execute(insertion(self.mode, batch))
        await batch.acknowledge(connection)
        await (connection.commit() if has_commit else connection.execute("COMMIT"))

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.setting.connect_async is None:
            close = connection.close
        else:
            close = connection.terminate if hasattr(connection, "terminate") else connection.pgconn.finish
        with suppress(Exception):  # of whichever driver: it is lost
            close()

    def _tell_of_end(self) -> None:
        """Write down that another listener goes on, which delivers again what was not acknowledged."""
        self.listens = True
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            for book in self.books:
                book.lives.append(len(book.entries))
