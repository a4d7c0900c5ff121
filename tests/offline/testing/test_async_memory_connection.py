"""The memory server's asynchronous connections: in the asynchronous fronts, and under its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pgnotify import Backoff, ConnectionLost
from pgnotify.aio.handler import AsyncNotificationHandler
from pgnotify.aio.listener import AsyncListener
from pgnotify.aio.loop import Loop
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.testing.memory import DatabaseError, MemoryServer


@pytest.fixture
def run(memory_server: MemoryServer) -> Callable[[Callable[[MemoryServer], Coroutine[Any, Any, None]]], None]:
    """A function that runs a coroutine function of the server."""
    return lambda function: asyncio.run(function(memory_server))


async def turns() -> None:
    """Let other tasks go as far as they can without the network."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_handler_takes_one(run):
    done = []

    async def main(server):
        connection = await server.connect_async()
        async with AsyncNotificationHandler(connection, "jobs", lambda arg_dict: done.append(arg_dict["extra"])) as one:
            await one.listen()
            sender = await server.connect_async()
            await sender.notify_many([("jobs", "41"), ("jobs", "42"), ("stop_jobs", "enough")])
            await one()

    run(main)
    assert done == ["41", "42", "enough"]


def test_a_listener_connects_again_with_its_function(run):
    events = []

    async def main(server):
        def on_listening(event):
            events.append(event)
            server.connect().notify("cache", "there")

        source = server.connect_async
        async with AsyncListener(source, "cache", on_listening=on_listening, backoff=Backoff(0, 0)) as listener:
            async for _ in listener:
                if len(events) == 2:
                    break
                server.drop_connection(server.connections[0])

    run(main)
    assert [event.gap and event.gap.reason for event in events] == [None, "connection lost"]


def test_a_black_hole_holds_back_its_statements_and_not_the_loop(run):
    async def main(server):
        connection = await server.connect_async()
        server.blackhole(connection)
        listening = asyncio.ensure_future(connection.listen("x"))
        await turns()
        assert connection.busy
        assert connection.listening_channels == frozenset()

        server.heal(connection)
        await listening

        assert connection.listening_channels == {"x"}
        assert not connection.busy

    run(main)


def test_a_statement_that_is_cancelled_in_a_black_hole_is_not_carried_out(run):
    async def main(server):
        connection = await server.connect_async()
        server.blackhole(connection)
        listening = asyncio.ensure_future(connection.listen("x"))
        await turns()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        server.heal(connection)
        await connection.listen("y")

        assert connection.listening_channels == {"y"}

    run(main)


@pytest.mark.parametrize("end", ["drop_connection", "close"])
def test_the_end_of_the_connection_ends_what_waits(run, end):
    async def main(server):
        connection = await server.connect_async()
        waiting = asyncio.ensure_future(connection.wait(None, LoopWakeup(Loop())))
        await turns()
        server.blackhole(connection)
        stating = asyncio.ensure_future(connection.notify("x"))
        await turns()

        if end == "close":
            await connection.close()
        else:
            server.drop_connection(connection)

        assert await waiting is True
        with pytest.raises(ConnectionLost):
            await stating

    run(main)


def test_its_transactions_are_those_of_the_server(run):
    async def main(server):
        connection, other = await server.connect_async(), server.connect()
        other.listen("x")
        await connection.begin()
        await connection.notify("x", "kept")
        await connection.savepoint("s")
        await connection.notify("x", "undone")
        await connection.rollback_to("s")
        await connection.release("s")
        await connection.fail()
        with pytest.raises(DatabaseError):
            await connection.notify("x", "in a failed transaction")
        await connection.rollback()
        await connection.notify("x", "at once")
        assert [each.payload for each in other.fetch()] == ["at once"]

    run(main)


def test_it_shows_itself(run):
    async def main(server):
        connection = await server.connect_async("shop")
        assert repr(connection) == f"<AsyncMemoryConnection {connection.pid} to 'shop'>"
        assert (connection.database, connection.closed, connection.in_recovery) == ("shop", False, False)
        assert connection.connection is connection
        assert connection.server_pid == connection.pid
        assert server.connections == [connection.blocking]

    run(main)
