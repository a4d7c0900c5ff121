"""A link that swallows everything never holds up the event loop, whatever is asked on it."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

import pgnotify
from tests.helpers.lag import ticks_under_a_black_hole
from tests.helpers.network import refused


def test_no_call_holds_up_the_loop(driver, address, proxy, session):
    free, ticks, worst = asyncio.run(ticks_under_a_black_hole(driver, proxy, address, session.notify))
    print(f"{driver}: {ticks} turns, {free} on a free loop; worst lag {worst * 1000:.1f} ms")  # noqa: T201  # the figure
    assert ticks > free / 4, f"the loop was held up for {worst:.3f} s"


def test_no_address_is_looked_up_in_the_thread_of_the_loop(driver, monkeypatch):
    looked_up_in, look_up = [], socket.getaddrinfo

    def getaddrinfo(*arguments, **options):
        looked_up_in.append(threading.current_thread())
        return look_up(*arguments, **options)

    async def main(dsn):
        with suppress(Exception):
            await pgnotify.connect_async(dsn, driver)
        listener = pgnotify.AsyncListener(dsn, "jobs", driver=driver)
        await listener.start()
        await listener.stop()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with refused() as port:
        asyncio.run(main(f"host=localhost,localhost port={port},{port} dbname=x user=x password=x"))
    assert looked_up_in  # by us, as there are several hosts; by some drivers in C, too
    assert threading.current_thread() not in looked_up_in
