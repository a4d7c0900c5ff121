"""Functions of the user's raise errors beyond `Exception`, such as the CancelledError of something that they await."""

from __future__ import annotations

import asyncio
import sys

import pytest

import pgnotify
from pgnotify.connecting.backoff import Backoff
from pgnotify.testing.memory import MemoryServer
from tests.helpers.waiting import IN_MEMORY

MESSAGE = "{} has raised CancelledError, although nobody cancelled its task"

tasks_know = pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="not applicable: there a task does not know whether it was cancelled",
)


def play(main):
    with MemoryServer() as server:
        return asyncio.run(asyncio.wait_for(main(server), IN_MEMORY))


async def await_what_is_cancelled(*_):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@tasks_know
def test_a_coroutine_function_that_awaits_what_is_cancelled_has_failed_once():
    async def main(server):
        failures, got = [], asyncio.Queue()

        async def callback(notification):
            if notification.payload == "1":
                await await_what_is_cancelled()
            got.put_nowait(notification.payload)

        on_error = lambda error, notification: failures.append((str(error), notification.payload))  # noqa: E731
        async with pgnotify.AsyncListener(server.connect_async, on_error=on_error) as listener:
            await listener.subscribe("jobs", callback).wait_listening()
            await (await server.connect_async()).notify_many([("jobs", "1"), ("jobs", "2")])

            assert await got.get() == "2"
            assert failures == [(MESSAGE.format("a callback"), "1")]

    play(main)


@tasks_know
def test_a_function_that_raises_it_ends_the_listener_with_an_error():
    async def main(server):
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        listener = pgnotify.AsyncListener(server.connect_async)
        await listener.start()
        await listener.subscribe("jobs", lambda _: cancelled.result()).wait_listening()
        await (await server.connect_async()).notify("jobs")

        with pytest.raises(RuntimeError, match=MESSAGE.format("a callback")) as caught:
            await listener.run()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert listener.status().state == "closed"

    play(main)


@tasks_know
def test_an_on_listening_that_raises_it_is_called_again():
    async def main(server):
        failures, calls = [], []

        async def on_listening(listening):
            calls.append(listening)
            if len(calls) == 1:
                await await_what_is_cancelled()

        options = {"on_listening": on_listening, "on_error": lambda error, _: failures.append(str(error))}
        async with pgnotify.AsyncListener(server.connect_async, "jobs", backoff=Backoff(0.001, 0.001), **options):
            assert len(calls) == 2
            assert failures == [MESSAGE.format("on_listening")]

    play(main)


@tasks_know
def test_a_source_that_raises_it_has_failed_once(caplog):
    async def main(server):
        calls = []

        async def source():
            calls.append(None)
            if len(calls) == 1:
                await await_what_is_cancelled()
            return await server.connect_async()

        async with pgnotify.AsyncListener(source, "jobs", backoff=Backoff(0.001, 0.001)):
            assert len(calls) == 2

    play(main)
    assert MESSAGE.format("the source") in caplog.text


@tasks_know
def test_an_on_error_that_raises_it_is_logged(caplog):
    async def main(server):
        def fail(notification):
            raise ValueError

        async with pgnotify.AsyncListener(server.connect_async, on_error=await_what_is_cancelled) as listener:
            await listener.subscribe("jobs", fail).wait_listening()
            await (await server.connect_async()).notify("jobs")
            await listener.stop(None, drain=True)

    play(main)
    assert MESSAGE.format("on_error") in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
def test_after_any_other_the_listener_has_ended(is_async):
    async def main(server):
        def callback(notification):
            raise GeneratorExit

        async def coroutine_function(notification):
            raise GeneratorExit

        listener = pgnotify.AsyncListener(server.connect_async)
        await listener.start()
        await listener.subscribe("jobs", coroutine_function if is_async else callback).wait_listening()
        await (await server.connect_async()).notify("jobs")

        with pytest.raises(GeneratorExit):
            await listener.run()
        assert await listener.stop()
        assert listener.status().state == "closed"

    play(main)
