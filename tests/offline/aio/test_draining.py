"""An AsyncListener that is stopped with ``drain=True``, and its coroutine functions."""

from __future__ import annotations

import asyncio

import pgnotify
from pgnotify.aio import rest
from pgnotify.testing.memory import MemoryServer


def test_a_stop_that_drains_for_ever_waits_for_a_slow_coroutine_function(monkeypatch):
    monkeypatch.setattr(rest, "LOOK_EACH_SECONDS", 0.001)
    done: list[str] = []

    async def main(server: MemoryServer) -> bool:
        go_on = asyncio.Event()

        async def callback(notification: pgnotify.Notification) -> None:
            await go_on.wait()
            done.append(notification.payload)

        async with pgnotify.AsyncListener(server.connect_async) as listener:
            await listener.subscribe("jobs", callback).wait_listening()
            sender = await server.connect_async()
            await sender.notify_many([("jobs", "41"), ("jobs", "42")])
            stopping = listener.stop(timeout=None, drain=True)
            asyncio.get_running_loop().call_later(0.05, go_on.set)  # it has looked often by then
            return await stopping

    with MemoryServer() as server:
        assert asyncio.run(main(server))
    assert done == ["41", "42"]
