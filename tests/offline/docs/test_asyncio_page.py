"""The mistakes on the asyncio page have the messages that it shows."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import pgnotify

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "asyncio.md").read_text()
SHOWN = re.findall(r"^\| .*? \| `(\w+: .*)` \|$", PAGE, re.MULTILINE)


class ClosedPool:
    """A pool of which nothing else is asked."""

    closed = True

    async def getconn(self): ...
    async def putconn(self, connection): ...


async def store(notification): ...


async def give_a_connection_to_blocking_code(server):
    pgnotify.wrap(await server.connect_async())


async def give_a_coroutine_function_to_a_blocking_listener(server):
    pgnotify.Listener(server.connect, "orders").subscribe("orders", store)


async def run_a_handler_twice(server):
    async with pgnotify.AsyncNotificationHandler(await server.connect_async(), "jobs", print) as handler:
        await handler.listen()
        running = asyncio.create_task(handler(), name="Task-2")
        await asyncio.sleep(0)
        try:
            await handler()
        finally:
            handler.stop()
            await running


async def use_a_listener_on_a_second_loop(server):
    async with pgnotify.AsyncListener(server.connect_async) as listener:
        await asyncio.to_thread(lambda: asyncio.run(listener.run()))


async def use_a_handler_after_its_loop(server):
    def on_a_loop_of_its_own():
        handler = pgnotify.AsyncNotificationHandler(server.connect(), "jobs", print, timeout=0)
        asyncio.run(handler.notify())
        return handler

    handler = await asyncio.to_thread(on_a_loop_of_its_own)
    await handler()


async def use_a_listener_after_stop(server):
    listener = pgnotify.AsyncListener(server.connect_async)
    await listener.start()
    await listener.stop()
    listener.subscription("orders")


async def use_a_closed_pool(server):
    await pgnotify.AsyncListener(ClosedPool()).start()


async def take_from_a_stream_that_is_not_open(server):
    async with pgnotify.AsyncListener(server.connect_async) as listener:
        await anext(listener.subscription("room:7"))


MISTAKES = [
    give_a_connection_to_blocking_code,
    give_a_coroutine_function_to_a_blocking_listener,
    run_a_handler_twice,
    use_a_listener_on_a_second_loop,
    use_a_handler_after_its_loop,
    use_a_listener_after_stop,
    use_a_closed_pool,
    take_from_a_stream_that_is_not_open,
]
# The last row is Django's, which is not installed here: tests/online/web/test_django.py.


def test_each_mistake_is_tested():
    assert len(MISTAKES) + 1 == len(SHOWN)


@pytest.mark.parametrize(("mistake", "shown"), [*zip(MISTAKES, SHOWN, strict=False)])
def test_a_mistake_has_the_message_that_is_shown(server, mistake, shown):
    kind, message = shown.split(": ", 1)

    with pytest.raises(Exception, match=".*".join(map(re.escape, message.split("…")))) as raised:
        asyncio.run(asyncio.wait_for(mistake(server), 20))

    assert type(raised.value).__name__ == kind
