"""Thousands of notifications that arrive at once, and consumers that are quick, with short queues."""

from __future__ import annotations

import asyncio

import pytest

import pgnotify
from pgnotify.aio.delivery import TURN
from pgnotify.testing.memory import MemoryServer

PAYLOADS = [str(number) for number in range(20 * TURN)]


async def in_a_coroutine_function(listener, send, take):
    async def callback(notification):
        take(notification)

    await listener.subscribe("jobs", callback).wait_listening()
    await send()
    assert await listener.stop(timeout=20)


async def in_a_stream(listener, send, take):
    async with listener.subscription("jobs") as stream:
        await send()
        while take(await anext(stream)):
            pass


async def in_the_iteration(listener, send, take):
    await listener.subscribe("other", print).wait_listening()
    await send()
    async for notification in listener:
        if not take(notification):
            break


@pytest.mark.parametrize(
    ("consume", "channels"), [(in_a_coroutine_function, ()), (in_a_stream, ()), (in_the_iteration, ("jobs",))]
)
def test_a_quick_consumer_with_a_short_queue_gets_all(consume, channels):
    taken = []

    async def main(server):
        ended = asyncio.Event()

        async def send():
            await (await server.connect_async()).notify_many([("jobs", payload) for payload in PAYLOADS])
            if consume is in_a_coroutine_function:
                await asyncio.wait_for(ended.wait(), 20)

        def take(item):
            taken.append(getattr(item, "payload", item))
            if taken[-1] == PAYLOADS[-1]:
                ended.set()
            return not ended.is_set()

        gaps = []
        async with pgnotify.AsyncListener(
            server.connect_async, *channels, queue_size=TURN, on_listening=gaps.append
        ) as listener:
            await asyncio.wait_for(consume(listener, send, take), 30)
            assert listener.status().dropped == 0

    with MemoryServer() as server:
        asyncio.run(main(server))
    assert taken == PAYLOADS
