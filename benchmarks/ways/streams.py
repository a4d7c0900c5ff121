"""The ways to give each notification to many consumers on one event loop, such as the clients of a web server.

There is a consumer for each of the channels that a way is passed, and these may be equal. A consumer calls back with
whatever it takes out of its queue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import pgnotify
from benchmarks.ways import event_loops
from benchmarks.ways.ours_async import AsyncKind, Loop, Prepare, source
from pgnotify.testing.address import Address

if TYPE_CHECKING:
    import asyncio


class Users:
    """Holds the callback, which the benchmark passes when all consumers wait."""

    callback: Callable[[Any], object] = print


Consume = Callable[["asyncio.Queue[Any]", Users], Coroutine[Any, Any, None]]


def subscriptions(kind: AsyncKind) -> Prepare:
    """Open a stream for each consumer, on one AsyncListener."""

    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        import asyncio

        events = event_loops.new()
        users = Users()
        opened = 0

        async def consume(listener: pgnotify.AsyncListener, channel: str) -> None:
            nonlocal opened
            async with listener.subscription(channel) as stream:
                opened += 1
                async for item in stream:
                    users.callback(item)

        async def listening() -> tuple[pgnotify.AsyncListener, asyncio.Future[None], list[asyncio.Task[None]]]:
            listener = pgnotify.AsyncListener(source(kind, address))
            ended: asyncio.Future[None] = events.create_future()
            listener.subscribe(stop, lambda _: ended.set_result(None))
            await listener.start()
            tasks = [events.create_task(consume(listener, channel)) for channel in channels]
            while opened < len(channels):
                await asyncio.sleep(0.01)
            return listener, ended, tasks

        listener, ended, tasks = events.run_until_complete(listening())

        def loop(callback: Callable[[Any], object]) -> None:
            users.callback = callback
            events.run_until_complete(ended)
            events.run_until_complete(_stopped(listener, tasks))

        return loop

    return prepare


async def _stopped(listener: pgnotify.AsyncListener, tasks: list[asyncio.Task[None]]) -> None:
    import asyncio

    await listener.stop()
    await asyncio.wait(tasks)


def queues(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Put each notification of asyncpg into each of the queues of its channel, in a dict; nothing bounds them."""

    async def consume(queue: asyncio.Queue[Any], users: Users) -> None:
        while True:
            item = await queue.get()
            users.callback(item)

    return _queues(address, channels, stop, consume)


def sse_starlette(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Do the same with a response of sse-starlette as the consumer of each queue.

    That is the way of its examples. The part of the ASGI server, which would send, does nothing here.
    """
    import asyncio

    from sse_starlette import EventSourceResponse, ServerSentEvent

    async def consume(queue: asyncio.Queue[Any], users: Users) -> None:
        async def events_of_queue() -> AsyncIterator[ServerSentEvent]:
            while True:
                yield ServerSentEvent(data=await queue.get())

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                users.callback(message["body"])

        await EventSourceResponse(events_of_queue())({"type": "http", "method": "GET"}, asyncio.Event().wait, send)

    return _queues(address, channels, stop, consume)


def _queues(address: Address, channels: Sequence[str], stop: str, consume: Consume) -> Loop:
    import asyncio

    import asyncpg

    events = event_loops.new()
    users = Users()
    queues_of: dict[str, list[asyncio.Queue[Any]]] = {}
    ended: asyncio.Future[None] = events.create_future()

    def listener(_: Any, pid: int, channel: str, payload: Any) -> None:
        for queue in queues_of[channel]:
            queue.put_nowait(payload)

    async def listening() -> tuple[Any, list[asyncio.Task[None]]]:
        db = await asyncpg.connect(address.dsn)
        tasks = []
        for channel in channels:
            queue: asyncio.Queue[Any] = asyncio.Queue()
            queues_of.setdefault(channel, []).append(queue)
            tasks.append(events.create_task(consume(queue, users)))
        for channel in queues_of:
            await db.add_listener(channel, listener)
        await db.add_listener(stop, lambda *_: ended.set_result(None))
        await asyncio.sleep(0.1)  # for all consumers to begin to wait
        return db, tasks

    db, tasks = events.run_until_complete(listening())

    def loop(callback: Callable[[Any], object]) -> None:
        users.callback = callback
        events.run_until_complete(ended)
        db.terminate()
        for task in tasks:
            task.cancel()

    return loop
