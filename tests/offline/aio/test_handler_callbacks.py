"""What a callback of the asynchronous handler finds around it."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from pgnotify import AsyncNotificationHandler

REQUEST = contextvars.ContextVar("REQUEST")


@pytest.mark.parametrize("callback", ["plain", "coroutine"])
def test_a_callback_sees_the_context_variables_of_the_task_that_runs_the_loop(server, callback):
    async def main():
        seen = []

        def plain(arg_dict):
            seen.append((REQUEST.get(), arg_dict["extra"]))

        async def coroutine_function(arg_dict):
            plain(arg_dict)

        async def run_as(name):
            REQUEST.set(name)
            await handler()

        async def has_seen(count):
            while len(seen) < count:
                await asyncio.sleep(0)

        handler = AsyncNotificationHandler(
            server.connect(), "jobs", plain if callback == "plain" else coroutine_function
        )
        sender = server.connect()
        await handler.listen()
        for name in ("first", "second"):
            task = asyncio.create_task(run_as(name))
            for payload in "12":  # the second one comes to a loop that waits
                sender.notify("jobs", payload)
                await has_seen(len(seen) + 1)
            task.cancel()
            await asyncio.wait({task})
        await handler.close()
        sender.close()
        return seen

    assert asyncio.run(main()) == [("first", "1"), ("first", "2"), ("second", "1"), ("second", "2")]
