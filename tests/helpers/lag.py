"""A task that is to have its turn again and again, and calls that wait in vain beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import pgnotify
from pgnotify.testing._proxy import Proxy
from pgnotify.testing.address import Address
from tests.helpers.network import silent_server, through
from tests.helpers.waiting import PATIENCE

TICK = 0.002
SECONDS = 0.3
"""How long the calls wait in vain."""


class Ticker:
    """Has its turn every two milliseconds, if it is let."""

    def __init__(self) -> None:
        self.ticks = 0
        self.worst = 0.0

    async def run(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            self.ticks += 1
            self.worst = max(self.worst, time.perf_counter() - before - TICK)

    async def during(self, seconds: float) -> tuple[int, float]:
        """Return how many turns it has in this time, and by how many seconds the latest one is late."""
        self.ticks, self.worst = 0, 0.0
        await asyncio.sleep(seconds)
        return self.ticks, self.worst


class Waits:
    """Connections, a handler and listeners by way of a proxy, and calls on them that would wait for ever."""

    def __init__(self, driver: str, proxy: Proxy, address: Address, stack: AsyncExitStack) -> None:
        self.driver = driver
        self.dsn = through(proxy, address).dsn
        self.silent = address._replace(port=stack.enter_context(silent_server())).dsn
        self.stack = stack

    async def prepare(self) -> None:
        self.connections = [await pgnotify.connect_async(self.dsn, self.driver) for _ in range(6)]
        await self.connections[1].listen("jobs")
        await self.connections[3].listen("jobs")
        self.handler = self.connections[5].notification_handler("jobs", print)
        await self.handler.listen()
        options = {"driver": self.driver, "answer_timeout": SECONDS / 2}
        self.reading = pgnotify.AsyncListener(self.dsn, "jobs", heartbeat=0.05, **options)
        self.stopped = pgnotify.AsyncListener(self.dsn, "jobs", **options)
        self.connecting = pgnotify.AsyncListener(self.silent, "jobs", **options)
        for each in (self.reading, self.stopped):
            await self.stack.enter_async_context(each)

    def calls(self) -> dict[str, Callable[[], Coroutine[Any, Any, object]]]:
        listening, unlistening, notifying, waiting, closing, _ = self.connections
        return {
            "connect": lambda: pgnotify.connect_async(self.silent, self.driver),
            "listen": lambda: listening.listen("other"),
            "unlisten": lambda: unlistening.unlisten("jobs"),
            "notify": lambda: notifying.notify("jobs"),
            "wait": lambda: _waited(waiting),
            "close": closing.close,
            "handler": self.handler.unlisten,
            "heartbeat": lambda: self.reading.wait_or_poll(PATIENCE, PATIENCE),
            "subscribe": lambda: self.reading.subscribe("other", print).wait_listening(),
            "start": self.connecting.start,
            "stop": self._stop,
        }

    async def _stop(self) -> None:
        await self.stopped.stop(SECONDS)


async def _waited(connection: pgnotify.AsyncConnection) -> None:
    while await connection.wait():
        connection.fetch()


async def ticks_under_a_black_hole(
    driver: str, proxy: Proxy, address: Address, notify: Callable[[str], object]
) -> tuple[int, int, float]:
    """Return how many turns a task has on a free loop, how many beside calls that wait, and the worst lag in seconds.

    Of a last notification only the first bytes arrive.

    Args:
        driver: its name.
        proxy: in front of the server.
        address: the server's.
        notify: sends a notification.
    """
    ticker = Ticker()
    ticking = asyncio.ensure_future(ticker.run())
    try:
        async with AsyncExitStack() as stack:
            waits = Waits(driver, proxy, address, stack)
            await waits.prepare()
            free, _ = await ticker.during(SECONDS)
            proxy.pass_only(7)
            notify("jobs")
            proxy.freeze()
            calls = [asyncio.ensure_future(call()) for call in waits.calls().values()]
            ticks, worst = await ticker.during(SECONDS)
            proxy.reset()
            proxy.refuse()
            await waits.connecting.stop()
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            for call in calls:
                with suppress(Exception, asyncio.CancelledError):
                    call.result()
            for each in (waits.handler, *waits.connections):
                with suppress(Exception):
                    await each.close()
            return free, ticks, worst
    finally:
        ticking.cancel()
