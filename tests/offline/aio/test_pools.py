"""A pool whose calls block gets back what a listener took, although the source does not show the pool."""

from __future__ import annotations

import asyncio
import threading

import pgnotify


class Pool:
    """Lends connections, which remember it, as those of psycopg_pool do."""

    def __init__(self, server):
        self._server = server
        self.lent = []
        self.returned_in = []

    def getconn(self):
        connection = self._server.connect()
        connection.pool = self
        self.lent.append(connection)
        return connection

    def putconn(self, connection):
        self.lent.remove(connection)
        self.returned_in.append(threading.current_thread())


def test_no_slot_is_lost_and_the_pool_never_holds_up_the_loop(server):
    pool = Pool(server)
    told = asyncio.Queue()

    async def use():
        source = lambda: pool.getconn()  # noqa: E731  # it does not show the pool
        async with pgnotify.AsyncListener(source, "jobs", on_listening=told.put) as listener:
            await told.get()
            for _ in range(3):
                server.restart()
                await told.get()
                assert len(pool.lent) == 1
            assert (await listener.probe()).delivering == "yes"

    asyncio.run(asyncio.wait_for(use(), 20))

    assert pool.lent == []
    assert len(pool.returned_in) >= 4
    assert threading.current_thread() not in pool.returned_in
