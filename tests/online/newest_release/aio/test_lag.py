"""A link that swallows everything never holds up the event loop, whatever is asked on it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress

import pytest

import pgnotify
from pgnotify.registry import ASYNC_DRIVERS, DRIVERS
from tests.helpers.network import silent_server, through
from tests.helpers.waiting import PATIENCE

TICK = 0.002
SECONDS = 0.4
"""How long each call waits in vain."""

every_driver = pytest.mark.parametrize(
    "driver",
    [
        *(pytest.param(name, marks=pytest.mark.drivers(name)) for name in DRIVERS),
        *(pytest.param(name, marks=pytest.mark.drivers(name.removesuffix("_async"))) for name in ASYNC_DRIVERS),
    ],
)


class Ticker:
    """A task that has its turn every two milliseconds, if it is let."""

    def __init__(self):
        self.ticks = 0
        self.worst = 0.0

    async def run(self):
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            self.ticks += 1
            self.worst = max(self.worst, time.perf_counter() - before - TICK)

    async def during(self, awaitable):
        """Await something; return how many ticks it took, and the worst delay of one in seconds."""
        self.ticks, self.worst = 0, 0.0
        await awaitable
        return self.ticks, self.worst


class Waits:
    """Calls that wait in vain, each for `SECONDS` at most."""

    def __init__(self, driver, proxy, address, stack):
        self.driver = driver
        self.proxy = proxy
        self.dsn = through(proxy, address).dsn
        self.silent = address._replace(port=stack.enter_context(silent_server()))
        self.stack = stack

    async def prepare(self):
        self.connections = {
            name: await pgnotify.connect_async(self.dsn, self.driver)
            for name in ("listen", "unlisten", "notify", "wait", "close")
        }
        for name in ("unlisten", "wait"):
            await self.connections[name].listen("jobs")
        options = {"driver": self.driver, "answer_timeout": SECONDS / 2}
        self.heartbeats = pgnotify.AsyncListener(self.dsn, "jobs", heartbeat=0.05, **options)
        self.stopped = pgnotify.AsyncListener(self.dsn, "jobs", **options)
        self.connecting = pgnotify.AsyncListener(self.silent.dsn, "jobs", **options)
        db = await pgnotify.connect_async(self.dsn, self.driver)
        self.handler = db.notification_handler("jobs", print)
        await self.handler.listen()
        for each in (self.heartbeats, self.stopped):
            await self.stack.enter_async_context(each)

    def calls(self):
        """Return coroutines of which each would wait for ever."""
        connections = self.connections
        return {
            "connect": pgnotify.connect_async(self.silent.dsn, self.driver),
            "listen": connections["listen"].listen("other"),
            "unlisten": connections["unlisten"].unlisten("jobs"),
            "notify": connections["notify"].notify("jobs"),
            "wait": connections["wait"].wait(),
            "close": connections["close"].close(),
            "heartbeat": self.heartbeats.wait_or_poll(PATIENCE, PATIENCE),
            "subscribe": self.heartbeats.subscribe("other", print).wait_listening(),
            "stop": self.stopped.stop(SECONDS),
            "start": self.connecting.start(),
            "handler": self.handler.unlisten(),
        }

    async def close(self):
        for each in self.connections.values():
            with suppress(Exception):
                await each.close()
        with suppress(Exception):
            await self.handler.close()
        await self.connecting.stop()


async def given_up(awaitable):
    with suppress(Exception):  # of the driver, or of the time-out
        await asyncio.wait_for(awaitable, SECONDS)


@every_driver
def test_no_call_holds_up_the_loop(driver, address, proxy, record_property):
    async def main():
        ticker = Ticker()
        ticking = asyncio.ensure_future(ticker.run())
        async with AsyncExitStack() as stack:
            waits = Waits(driver, proxy, address, stack)
            await waits.prepare()
            free, _ = await ticker.during(asyncio.sleep(SECONDS))
            proxy.freeze()
            ticks, worst = await ticker.during(asyncio.gather(*map(given_up, waits.calls().values())))
            record_property("worst lag", worst)
            assert ticks > free / 4, f"the loop was held up for {worst:.3f} s"
            proxy.thaw()
            await waits.close()
        ticking.cancel()

    asyncio.run(main())
