"""pgqueuer, a queue of jobs, on asyncpg as in its own documentation."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.outbox.ways import Callback, Read, Send, Store
from pgnotify.testing.address import Address

BATCH = 100
"""The best of 10, which is the default, 100 and 1,000."""


class Stored(Store):
    """Its tables, with one entrypoint."""

    tables = ("public", "pgqueuer")

    def install(self, address: Address) -> None:
        """Make them."""

        async def make() -> None:
            await (await _queries(address)).install()

        asyncio.run(make())

    def fill(self, address: Address, count: int) -> None:
        """Enqueue them in batches."""

        async def enqueue() -> None:
            queries = await _queries(address)
            for first in range(0, count, 10_000):
                payloads = [b"payload%07d" % number for number in range(first, min(count, first + 10_000))]
                await queries.enqueue(["bench"] * len(payloads), payloads, [0] * len(payloads))

        asyncio.run(enqueue())

    def sender(self, address: Address) -> Send:
        """Enqueue one."""
        loop = asyncio.new_event_loop()
        queries = loop.run_until_complete(_queries(address))
        return lambda payload: loop.run_until_complete(queries.enqueue("bench", payload.encode()))

    def reader(self, address: Address) -> Read:
        """Run its worker."""

        async def run(callback: Callback) -> None:
            from pgqueuer import PgQueuer
            from pgqueuer.db import AsyncpgDriver

            manager = PgQueuer(AsyncpgDriver(await _connected(address))).qm

            @manager.entrypoint("bench")
            async def handle(job: Any) -> None:
                if callback(job.payload.decode()):
                    manager.shutdown.set()

            await manager.run(batch_size=BATCH)

        return lambda callback: asyncio.run(run(callback))


async def _queries(address: Address) -> Any:
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    return Queries(AsyncpgDriver(await _connected(address)))


async def _connected(address: Address) -> Any:
    import asyncpg

    return await asyncpg.connect(address.dsn)
