"""Each operation of a listener is cancelled at each turn of the loop: nothing is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest

import pgnotify
from pgnotify.testing.memory import MemoryServer
from tests.helpers.turns import SLOW, at_each_turn, cancelled_after, turning
from tests.offline.aio.test_cancelled import PATIENCE, speeds

# No deadline of a real thread's may pass when the loop's clock jumps.
OPTIONS = {"heartbeat": None, "answer_timeout": 1e6}


def source_of(server, opener):
    if opener == "function":
        return server.connect
    if opener == "connection":
        return server.connect()

    async def connect():
        await asyncio.sleep(0)
        connection = server.connect()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            connection.close()
            raise
        return connection

    return connect


BEGINNINGS = {
    "async with": lambda listener: listener.__aenter__(),
    "start": lambda listener: listener.start(),
    "run": lambda listener: listener.run(),
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("opener", ["function", "coroutine function", "connection"])
@speeds
def test_a_beginning(beginning, opener, takes, eager):
    def play(turns):
        async def main(server):
            asyncio.get_running_loop().takes = takes
            source = source_of(server, opener)
            listener = pgnotify.AsyncListener(source, "jobs", **OPTIONS)
            if beginning == "run":
                listener.subscribe("jobs", lambda _: listener.stop())
                sender = server.connect()
                asyncio.get_running_loop().after_turns(60, lambda: sender.notify("jobs"))
            cancelled, result = await cancelled_after(turns, lambda: BEGINNINGS[beginning](listener))
            assert result is None or result is listener
            if cancelled and turns and takes != SLOW:  # otherwise it ends later
                assert listener.status().state == "closed"
            assert await listener.stop(None)
            while asyncio.all_tasks() - {asyncio.current_task()}:  # such as one that closes a connection
                await asyncio.sleep(1)
            await asyncio.sleep(SLOW)  # for what is opened in a thread
            mine = [each for each in server.connections if each.listening_channels]
            assert not mine
            assert len(server.connections) == (opener == "connection") + (beginning == "run")
            return cancelled

        with MemoryServer() as server, turning(eager) as loop:
            return loop.run_until_complete(main(server))

    assert at_each_turn(play)


async def stream_one(listener):
    async with listener.subscription("stream") as stream:
        return await anext(stream)


async def iterate(listener):
    return [each async for each in listener.notifications(timeout=5, stop_after=2)]


OPERATIONS = {
    "anext": lambda listener: anext(listener.notifications()),
    "notifications": iterate,
    "subscription": stream_one,
    "wait_or_poll": lambda listener: listener.wait_or_poll(20, 20),
    "probe": lambda listener: listener.probe(),
    "wait_listening": lambda listener: listener.subscribe("more", print).wait_listening(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@speeds
def test_an_operation_of_a_listener_that_reads(operation, takes, eager):
    def play(turns):
        async def main(server):
            loop, sender = asyncio.get_running_loop(), server.connect()
            got = []
            async with pgnotify.AsyncListener(server.connect, "jobs", **OPTIONS) as listener:
                loop.takes = takes
                sent = [str(number) for number in range(4)]
                for number, payload in enumerate(sent):
                    loop.after_turns(4 * number, lambda payload=payload: sender.notify("jobs", payload))
                    loop.after_turns(4 * number + 25, lambda: sender.notify("stream", "x"))
                cancelled, result = await cancelled_after(turns, lambda: OPERATIONS[operation](listener))
                assert not isinstance(result, BaseException), result
                if operation in ("anext", "wait_or_poll"):
                    got += [] if cancelled else [result.payload]
                elif operation == "notifications":
                    got += [] if cancelled else [each.payload for each in result]
                if operation == "notifications" and cancelled:  # what its block had got is gone with the block
                    first = await asyncio.wait_for(anext(listener.notifications()), PATIENCE)
                    got += [*sent[: sent.index(first.payload)], first.payload]
                while len(got) < len(sent):
                    got.append((await asyncio.wait_for(anext(listener.notifications()), PATIENCE)).payload)
                assert got == sent
                assert listener.status().gaps == 0
                async with listener.subscription("after") as stream:
                    sender.notify("after", "x")
                    assert (await asyncio.wait_for(anext(stream), PATIENCE)).payload == "x"
            await asyncio.sleep(2 * SLOW)
            assert server.connections == [sender]
            return cancelled

        with MemoryServer() as server, turning(eager) as loop:
            return loop.run_until_complete(main(server))

    assert at_each_turn(play) or eager


def test_a_step_that_was_cancelled_does_not_count():
    async def main(server):
        async with pgnotify.AsyncListener(server.connect, "jobs", **OPTIONS) as listener:
            iteration = listener.notifications(stop_after=2)
            assert await cancelled_after(5, iteration.__anext__) == (True, None)
            for payload in "abc":
                server.connect().notify("jobs", payload)
            assert [each.payload async for each in iteration] == ["a", "b"]

    with MemoryServer() as server, turning() as loop:
        loop.run_until_complete(main(server))


@speeds
def test_a_step_of_a_stream(takes, eager):
    def play(turns):
        async def main(server):
            loop, sender = asyncio.get_running_loop(), server.connect()
            listener = pgnotify.AsyncListener(server.connect, **OPTIONS)
            loop.takes = takes
            async with listener, listener.subscription("jobs", queue_size=2) as stream:
                for moment in range(5):
                    loop.after_turns(moment, lambda moment=moment: sender.notify("jobs", str(moment)))
                cancelled, result = await cancelled_after(turns, stream.__anext__)
                got, dropped = [], 0
                item = None if cancelled else result
                while True:
                    if isinstance(item, pgnotify.Gap):
                        dropped += item.dropped
                    elif item is not None:
                        got.append(item.payload)
                    if len(got) + dropped == 5:
                        break
                    item = await asyncio.wait_for(anext(stream), PATIENCE)
            await asyncio.sleep(2 * SLOW)
            return cancelled, got

        with MemoryServer() as server, turning(eager) as loop:
            cancelled, got = loop.run_until_complete(main(server))
            assert got[:2] == ["0", "1"]
            assert got == sorted(got)
            return cancelled

    assert at_each_turn(play) or eager


@pytest.mark.parametrize("drain", [False, True])
@speeds
def test_a_stop(drain, takes, eager):
    def play(turns):
        async def main(server):
            loop, sender = asyncio.get_running_loop(), server.connect()
            received = []

            async def callback(notification):
                await asyncio.sleep(0)
                received.append(notification.payload)

            async with pgnotify.AsyncListener(server.connect, **OPTIONS) as listener:
                await listener.subscribe("jobs", callback).wait_listening()
                loop.takes = takes
                for number in range(3):
                    sender.notify("jobs", str(number))

                async def stop():
                    return await listener.stop(None, drain)

                cancelled, result = await cancelled_after(turns, stop)
                assert cancelled or result is True
                assert await listener.stop(None, drain)
            assert received == ["0", "1", "2"][: len(received)]
            assert len(received) == 3 or not drain
            assert server.connections == [sender]
            return cancelled

        with MemoryServer() as server, turning(eager) as loop:
            return loop.run_until_complete(main(server))

    assert at_each_turn(play)
