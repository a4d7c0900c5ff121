"""Asynchronous pools as the source of an AsyncListener: a connection is taken out, and never goes back listening."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from pgnotify import AsyncListener, Backoff, Gap, SourceError
from tests.helpers.waiting import PATIENCE, eventually

QUICK = {"backoff": Backoff(0.0, 0.0), "heartbeat": None}


class Asyncpg:
    """asyncpg's pool, with two connections."""

    def __init__(self, address):
        self.pool = __import__("asyncpg").create_pool(address.dsn, min_size=2, max_size=2)
        self.lend = self.pool.acquire

    async def channels(self):
        """Return what each connection that is not lent listens to."""
        async with self.pool.acquire(timeout=PATIENCE) as one, self.pool.acquire(timeout=PATIENCE) as other:
            query = "SELECT pg_catalog.pg_listening_channels()"
            return [*await one.fetch(query), *await other.fetch(query)]

    async def closed(self):
        await self.pool.close()


class Psycopg:
    """psycopg's pool, with two connections."""

    def __init__(self, address):
        pools = pytest.importorskip("psycopg_pool")
        self.pool = pools.AsyncConnectionPool(address.dsn, min_size=2, max_size=2, open=False)
        self.lend = self.pool.getconn

    async def channels(self):
        """Return what each connection that is not lent listens to."""
        async with self.pool.connection(PATIENCE) as one, self.pool.connection(PATIENCE) as other:
            query = "SELECT pg_catalog.pg_listening_channels()"
            rows = [await (await each.execute(query)).fetchall() for each in (one, other)]
            return [*rows[0], *rows[1]]

    async def closed(self):
        await self.pool.close()


@pytest.fixture(params=[Asyncpg, Psycopg])
def made(request, address):
    """A function that opens a pool for a block."""
    pytest.importorskip(request.param.__name__.lower())

    @asynccontextmanager
    async def opened():
        its = request.param(address)
        async with its.pool:
            yield its

    return opened


@pytest.mark.parametrize("source", ["pool", "method"])
async def test_no_slot_is_lost_and_no_connection_goes_back_listening(made, session, channel, source):
    async with made() as its:
        given = its.pool if source == "pool" else its.lend
        async with AsyncListener(given, channel, **QUICK) as listener:
            session.notify(channel, "1")
            assert (await anext(aiter(listener))).payload == "1"
            for _ in range(3):
                session.terminate(listener.status().server_pid)
                assert isinstance(await listener.wait_or_poll(PATIENCE, PATIENCE), Gap)
            session.notify(channel, "2")
            assert (await anext(aiter(listener))).payload == "2"
            pid = listener.status().server_pid

        eventually(lambda: session.state_of(pid) is None)
        assert await its.channels() == []


async def test_a_probe_takes_another_one_and_gives_it_back(made, channel):
    async with made() as its:
        async with AsyncListener(its.pool, channel, **QUICK) as listener:
            assert (await listener.probe(PATIENCE)).delivering == "yes"

        assert await its.channels() == []


async def test_a_start_that_is_cancelled_loses_no_slot(made, channel):
    async with made() as its:
        for turns in range(0, 60, 3):
            listener = AsyncListener(its.pool, channel, **QUICK)
            starting = asyncio.ensure_future(listener.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait((starting,))
            assert await listener.stop()

        assert await its.channels() == []


async def test_one_that_is_closed_is_refused(made, channel):
    async with made() as its:
        await its.closed()
        with pytest.raises(SourceError, match="the pool is closed"):
            await AsyncListener(its.pool, channel, **QUICK).start()
