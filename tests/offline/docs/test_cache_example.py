"""The cache of the examples never keeps a value that is too old."""

from __future__ import annotations

import asyncio

import pytest

import pgnotify
from tests.helpers.web import example

Cache = example("cache.py").Cache


class Customers:
    """A table whose reads are counted."""

    def __init__(self):
        self.rows = {"42": "Ann"}
        self.reads = []
        self.during_read = lambda: None

    async def read(self, key):
        value = self.rows[key]
        self.reads.append(key)
        self.during_read()
        await asyncio.sleep(0)
        return value


async def change(server, cache, customers, name):
    """Change a value, and return when the listener has the notification."""
    arrived = asyncio.Event()
    with cache._listener.subscribe("customers", lambda notification: arrived.set()):
        customers.rows["42"] = name
        await pgnotify.notify_async(await server.connect_async(), "customers", "42")
        await arrived.wait()


def test_it_reads_a_value_once_until_it_changes(server):
    customers = Customers()

    async def use():
        async with Cache(server.connect_async, "customers", customers.read) as cache:
            assert await asyncio.gather(*(cache.get("42") for _ in range(3))) == ["Ann"] * 3
            await change(server, cache, customers, "Bob")
            assert [await cache.get("42"), await cache.get("42")] == ["Bob", "Bob"]

    asyncio.run(use())
    assert customers.reads == ["42", "42"]


def test_it_is_empty_after_a_gap_and_reads_each_value_while_it_is_deaf(server):
    customers = Customers()

    async def use():
        async with Cache(server.connect_async, "customers", customers.read) as cache:
            await cache.get("42")
            async with cache._listener.subscription("other") as stream:
                customers.rows["42"] = "Bob"  # nobody is told
                server.restart()
                assert isinstance(await anext(stream), pgnotify.Gap)
            assert await cache.get("42") == "Bob"
            await cache._listener.stop()
            assert [await cache.get("42"), await cache.get("42")] == ["Bob", "Bob"]

    asyncio.run(use())
    assert customers.reads == ["42"] * 4


def test_a_value_that_changes_while_it_is_read_is_not_kept(server):
    customers = Customers()

    async def use():
        async with Cache(server.connect_async, "customers", customers.read) as cache:
            reading = asyncio.ensure_future(cache.get("42"))
            begun = asyncio.Event()
            customers.during_read = begun.set
            await begun.wait()
            await change(server, cache, customers, "Bob")
            assert await reading == "Ann"
            assert await cache.get("42") == "Bob"

    asyncio.run(use())


def test_a_failure_is_not_kept(server):
    customers = Customers()
    row = customers.rows.pop("42")

    async def use():
        async with Cache(server.connect_async, "customers", customers.read) as cache:
            with pytest.raises(KeyError):
                await cache.get("42")
            customers.rows["42"] = row
            assert await cache.get("42") == "Ann"

    asyncio.run(use())
