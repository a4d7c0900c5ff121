"""The driver that a connection URI names, on an event loop."""

from __future__ import annotations

import asyncio

import pgnotify
from tests.helpers.waiting import PATIENCE


async def test_a_uri_names_the_driver_of_a_connection_and_of_a_listener(native, channel):
    dsn = native.address.dsn.replace("postgresql:", f"postgresql+{native.driver}:", 1)
    events = asyncio.Queue()

    async with await pgnotify.connect_async(dsn) as connection:
        pass
    async with pgnotify.AsyncListener(dsn, channel, on_listening=events.put):
        event = await asyncio.wait_for(events.get(), PATIENCE)

    expected = type(await native.connect())
    assert [type(connection.connection), type(event.connection)] == [expected, expected]
