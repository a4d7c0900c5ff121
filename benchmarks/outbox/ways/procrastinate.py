"""procrastinate, a queue of jobs."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.outbox.ways import Callback, Read, Send, Store
from pgnotify.testing.address import Address

CONCURRENCY = 10


class Stored(Store):
    """Its tables, with one task."""

    tables = ("public", "procrastinate")

    def install(self, address: Address) -> None:
        """Make them."""
        app, _ = _app(address)
        app.connector = app.connector.get_sync_connector()
        with app.open():
            app.schema_manager.apply_schema()

    def fill(self, address: Address, count: int) -> None:
        """Defer them in one batch."""

        async def defer() -> None:
            app, task = _app(address)
            async with app.open_async():
                await task.batch_defer_async(*({"payload": f"payload{number:07}"} for number in range(count)))

        asyncio.run(defer())

    def sender(self, address: Address) -> Send:
        """Defer one."""
        loop = asyncio.new_event_loop()
        app, task = _app(address)
        loop.run_until_complete(app.open_async().__aenter__())
        return lambda payload: loop.run_until_complete(task.defer_async(payload=payload))

    def reader(self, address: Address) -> Read:
        """Run its worker."""

        async def run(callback: Callback) -> None:
            done = asyncio.Event()
            app, _ = _app(address, lambda payload: callback(payload) and done.set())
            async with app.open_async():
                worker = asyncio.ensure_future(
                    app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)
                )
                await done.wait()
                worker.cancel()
                await asyncio.wait([worker])

        return lambda callback: asyncio.run(run(callback))


def _app(address: Address, callback: Any = print) -> Any:
    import logging

    import procrastinate

    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address.dsn))

    @app.task(name="bench")
    async def task(payload: str) -> None:
        callback(payload)

    return app, task
